// dlse[i] = Σⱼ p ds and dy[i] = Σⱼ (p ds v[j] + p dv[j]) - dlse[i] y[i], over the keys that query i sees, with
// p = e^(scale q[i]·k[j] - lse[i]) and ds = scale (dq[i]·k[j] + q[i]·dk[j]). q, k and v hold the values, then the tangents,
// rows the two parts of lse.

#import attend

@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(5) var<storage, read> y: array<f32>;
@group(0) @binding(6) var<storage, read> rows: array<f32>;
@group(0) @binding(7) var<storage, read_write> dy: array<f32>;
@group(0) @binding(8) var<storage, read_write> dlse: array<f32>;

const Q: u32 = 0;
const K: u32 = 1;
const V: u32 = 2;

fn load(source: u32, i: u32) -> vec4f {
    if source == Q { return q[i]; }
    if source == K { return k[i]; }
    return v[i];
}

// The lane's first row, and dlse of its rows.
var<private> row: u32;
var<private> along: vec4f;

fn save(to: u32, i: u32, value: f32) {
    var v = value;
    if LAST { v -= along[i / (params.heads * params.d) % params.t - row] * y[i]; }
    dy[i] = v;
}

fn restore(source: u32, i: u32) -> f32 { return dy[i]; }

// Numbers of the lane's rows.
fn of_rows(at: vec4u) -> vec4f { return vec4f(rows[at.x], rows[at.y], rows[at.z], rows[at.w]); }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let mine = own(flat_group(group, groups), params.t, params.heads);
    if mine.n >= params.n { return; }
    let quad = lane / 8;
    let c = lane % 8;
    row = mine.first + 4 * quad;
    let i = min(row + vec4u(0, 1, 2, 3), vec4u(params.t - 1));
    let at = query_at(mine.n, i, mine.h);
    let dat = at + query_at(params.n, vec4u(), 0);
    let seen = visible(lengths[mine.n], i);
    let end = min(visible(lengths[mine.n], vec4u(min(mine.first + ROWS, params.t) - 1)).x, params.end);
    let keys = key_at(mine.n, vec4u(), mine.h / (params.heads / params.kv_heads)).x;
    let dkeys = keys + key_at(params.n, vec4u(), 0).x;
    let step = params.kv_heads * params.d;
    let number = at / params.d;
    let lse = of_rows(number);
    let rest = of_rows(number + params.rest);

    var sums = Sums();
    if !FIRST {
        along = vec4f(dlse[number.x], dlse[number.y], dlse[number.z], dlse[number.w]);
        sums = saved_sums(0, at, c);
    }
    for (var first = params.begin; first < end; first += COLUMNS) {
        let count = present(first, end);
        stage(K, keys, step, first, end, lane);
        let scores = add_products(Block(), Q, at, c);
        var ds = add_products(Block(), Q, dat, c);
        stage(K, dkeys, step, first, end, lane);
        ds = add_products(ds, Q, at, c);
        for (var slot = 0u; slot < SLOTS; slot++) {
            let column = c + 8 * slot;
            let p = exp4(scores[slot] * params.scale - lse - rest);
            let seen_p = select(vec4f(), p, vec4u(first + column) < seen);
            weights[weights_at(0, quad) + column] = seen_p * ds[slot] * params.scale;
            weights[weights_at(1, quad) + column] = seen_p;
        }
        stage(V, keys, step, first, end, lane);
        for (var column = 0u; column < count; column++) { along += weights[weights_at(0, quad) + column]; }
        weigh(&sums, 0, quad, c, count);
        stage(V, dkeys, step, first, end, lane);
        weigh(&sums, 1, quad, c, count);
    }
    if row >= params.t { return; }
    put(0, at, params.t - row, c, sums, vec4f(1.0));
    for (var r = c; r < min(params.t - row, 4); r += 8) { dlse[number[r]] = along[r]; }
}

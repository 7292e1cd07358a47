// dq[i] = scale Σⱼ ds k[j] over the keys that query i sees, with p = e^(scale q[i]·k[j] - lse[i]) and
// ds = p (ct[i]·v[j] - delta[i]); or its tangent, with q, k, v and ct followed by their tangents. rows holds the first part of
// lse, delta, then their tangents, and the second part of lse. Below, e is ct[i]·v[j] - delta[i] and a d leads what is a tangent.

#import attend

override TANGENT: bool = false;

@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(5) var<storage, read> rows: array<f32>;
@group(0) @binding(6) var<storage, read> ct: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dq: array<f32>;

const Q: u32 = 0;
const K: u32 = 1;
const V: u32 = 2;
const CT: u32 = 3;

fn load(source: u32, i: u32) -> vec4f {
    if source == Q { return q[i]; }
    if source == K { return k[i]; }
    if source == V { return v[i]; }
    return ct[i];
}

fn save(to: u32, i: u32, value: f32) { dq[i] = value; }

fn restore(source: u32, i: u32) -> f32 { return dq[i]; }

// Numbers of the lane's rows.
fn of_rows(at: vec4u) -> vec4f { return vec4f(rows[at.x], rows[at.y], rows[at.z], rows[at.w]); }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let mine = own(flat_group(group, groups), params.t, params.heads);
    if mine.n >= params.n { return; }
    let quad = lane / 8;
    let c = lane % 8;
    let row = mine.first + 4 * quad;
    let i = min(row + vec4u(0, 1, 2, 3), vec4u(params.t - 1));
    let at = query_at(mine.n, i, mine.h);
    let dat = at + query_at(params.n, vec4u(), 0);
    let seen = visible(lengths[mine.n], i);
    let end = min(visible(lengths[mine.n], vec4u(min(mine.first + ROWS, params.t) - 1)).x, params.end);
    let keys = key_at(mine.n, vec4u(), mine.h / (params.heads / params.kv_heads)).x;
    let dkeys = keys + key_at(params.n, vec4u(), 0).x;
    let step = params.kv_heads * params.d;
    let number = at / params.d;
    let all = params.n * params.t * params.heads;
    let lse = of_rows(number);
    let rest = of_rows(number + params.rest);
    let delta = of_rows(number + all);
    var dlse = vec4f();
    var ddelta = vec4f();
    if TANGENT {
        dlse = of_rows(number + 2 * all);
        ddelta = of_rows(number + 3 * all);
    }

    var sums = Sums();
    if !FIRST { sums = saved_sums(0, at, c); }
    for (var first = params.begin; first < end; first += COLUMNS) {
        let count = present(first, end);
        stage(V, keys, step, first, end, lane);
        let e = add_products(Block(), CT, at, c);
        var de = Block();
        var ds = Block();
        if TANGENT {
            de = add_products(de, CT, dat, c);
            stage(V, dkeys, step, first, end, lane);
            de = add_products(de, CT, at, c);
            stage(K, dkeys, step, first, end, lane);
            ds = add_products(ds, Q, at, c);
        }
        stage(K, keys, step, first, end, lane);
        let scores = add_products(Block(), Q, at, c);
        if TANGENT { ds = add_products(ds, Q, dat, c); }
        for (var slot = 0u; slot < SLOTS; slot++) {
            let column = c + 8 * slot;
            let is_seen = vec4u(first + column) < seen;
            let p = select(vec4f(), exp4(scores[slot] * params.scale - lse - rest), is_seen) * params.scale;
            var w = p * (e[slot] - delta);
            if TANGENT {
                weights[weights_at(1, quad) + column] = w;
                w = w * (ds[slot] * params.scale - dlse) + p * (de[slot] - ddelta);
            }
            weights[weights_at(0, quad) + column] = w;
        }
        workgroupBarrier();
        weigh(&sums, 0, quad, c, count);
        if TANGENT {
            stage(K, dkeys, step, first, end, lane);
            weigh(&sums, 1, quad, c, count);
        }
    }
    if row < params.t { put(0, at, params.t - row, c, sums, vec4f(1.0)); }
}

// dlse[i] = Σⱼ p ds and dy[i] = Σⱼ (p ds v[j] + p dv[j]) - dlse[i] y[i], over the keys that query i sees, with
// p = e^(scale q[i]·k[j] - lse[i]) and ds = scale (dq[i]·k[j] + q[i]·dk[j]). q, k and v hold the values, then the tangents.

#import attend

@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(5) var<storage, read> y: array<f32>;
@group(0) @binding(6) var<storage, read> lse: array<f32>;
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

var<private> along: f32;

fn save(to: u32, i: u32, value: f32) { dy[i] = value - along * y[i]; }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let mine = own(flat_group(group, groups), params.t, params.heads);
    if mine.n >= params.n { return; }
    let row = lane / 8;
    let c = lane % 8;
    let i = min(mine.first + row, params.t - 1);
    let at = query_at(mine.n, i, mine.h);
    let dat = at + query_at(params.n, 0, 0);
    let seen = visible(lengths[mine.n], i);
    let end = visible(lengths[mine.n], min(mine.first + ROWS, params.t) - 1);
    let keys = key_at(mine.n, 0, mine.h / (params.heads / params.kv_heads));
    let dkeys = keys + key_at(params.n, 0, 0);
    let step = params.kv_heads * params.d;
    let own_lse = lse[at / params.d];

    var sums = Sums();
    for (var first = 0u; first < end; first += COLUMNS) {
        let count = present(first, end);
        stage(K, keys, step, first, end, lane);
        let scores = products(Q, at, c) * params.scale;
        var ds = products(Q, dat, c);
        stage(K, dkeys, step, first, end, lane);
        ds += products(Q, at, c);
        let p = select(vec4f(), exp4(scores - own_lse), columns(first, c) < vec4u(seen));
        share(0, row, c, p * ds * params.scale);
        share(1, row, c, p);
        stage(V, keys, step, first, end, lane);
        for (var column = 0u; column < count; column++) { along += weights[weight_at(0, row) + column]; }
        weigh(&sums, 0, row, c, count);
        stage(V, dkeys, step, first, end, lane);
        weigh(&sums, 1, row, c, count);
    }
    if mine.first + row >= params.t { return; }
    put(0, at, c, sums);
    if c == 0 { dlse[at / params.d] = along; }
}

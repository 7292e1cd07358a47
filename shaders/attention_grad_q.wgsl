// dq[i] = scale Σⱼ ds k[j] over the keys that query i sees, with p = e^(scale q[i]·k[j] - lse[i]) and
// ds = p (ct[i]·v[j] - delta[i]); or its tangent, with q, k, v and ct followed by their tangents. rows holds lse and delta,
// then theirs. Below, e is ct[i]·v[j] - delta[i] and a d leads what is a tangent.

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
    let all = params.n * params.t * params.heads;
    let own_lse = rows[at / params.d];
    let delta = rows[at / params.d + all];

    var sums = Sums();
    for (var first = 0u; first < end; first += COLUMNS) {
        let count = present(first, end);
        let is_seen = columns(first, c) < vec4u(seen);
        stage(V, keys, step, first, end, lane);
        let e = products(CT, at, c) - delta;
        var de = vec4f();
        var ds = vec4f();
        if TANGENT {
            de = products(CT, dat, c) - rows[at / params.d + 3 * all];
            stage(V, dkeys, step, first, end, lane);
            de += products(CT, at, c);
            stage(K, dkeys, step, first, end, lane);
            ds = products(Q, at, c);
        }
        stage(K, keys, step, first, end, lane);
        let p = select(vec4f(), exp4(products(Q, at, c) * params.scale - own_lse), is_seen) * params.scale;
        var w = p * e;
        if TANGENT {
            share(1, row, c, w);
            ds = (ds + products(Q, dat, c)) * params.scale - rows[at / params.d + 2 * all];
            w = w * ds + p * de;
        }
        share(0, row, c, w);
        workgroupBarrier();
        weigh(&sums, 0, row, c, count);
        if TANGENT {
            stage(K, dkeys, step, first, end, lane);
            weigh(&sums, 1, row, c, count);
        }
    }
    if mine.first + row < params.t { put(0, at, c, sums); }
}

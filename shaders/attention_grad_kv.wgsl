// dk[j] = scale Σᵢ ds q[i] and dv[j] = Σᵢ p ct[i] over the queries that see key j, in the heads that share it; or their
// tangents. p, ds, the operands and the letters are those of attention_grad_q; here rows are keys and columns queries.

#import attend

override TANGENT: bool = false;

@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(5) var<storage, read> rows: array<f32>;
@group(0) @binding(6) var<storage, read> ct: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dk: array<f32>;
@group(0) @binding(8) var<storage, read_write> dv: array<f32>;

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

fn save(to: u32, i: u32, value: f32) {
    if to == K { dk[i] = value; } else { dv[i] = value; }
}

// Numbers of the lane's queries.
fn of_rows(at: vec4u) -> vec4f { return vec4f(rows[at.x], rows[at.y], rows[at.z], rows[at.w]); }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let mine = own(flat_group(group, groups), params.s, params.kv_heads);
    if mine.n >= params.n { return; }
    let row = lane / 8;
    let c = lane % 8;
    let j = min(mine.first + row, params.s - 1);
    let at = key_at(mine.n, j, mine.h);
    let dat = at + key_at(params.n, 0, 0);
    let length = lengths[mine.n];
    let step = params.heads * params.d;
    let all = params.n * params.t * params.heads;
    // The first query that sees a key of this tile.
    var start = select(params.t, 0, mine.first < length);
    if CAUSAL { start = max(start, max(mine.first + params.t, params.s) - params.s); }

    var dk_sums = Sums();
    var dv_sums = Sums();
    let shared_by = params.heads / params.kv_heads;
    for (var h = mine.h * shared_by; h < (mine.h + 1) * shared_by; h++) {
        let queries = query_at(mine.n, 0, h);
        let dqueries = queries + query_at(params.n, 0, 0);
        for (var first = start; first < params.t; first += COLUMNS) {
            let count = present(first, params.t);
            let i = columns(first, c);
            let here = min(i, vec4u(params.t - 1));
            let number = (mine.n * params.t + here) * params.heads + h;
            let seen = vec4u(visible(length, here.x), visible(length, here.y), visible(length, here.z), visible(length, here.w));
            let is_seen = vec4u(j) < select(vec4u(), seen, i == here);
            stage(CT, queries, step, first, params.t, lane);
            let e = products(V, at, c) - of_rows(number + all);
            var de = vec4f();
            var ds = vec4f();
            if TANGENT {
                de = products(V, dat, c) - of_rows(number + 3 * all);
                stage(CT, dqueries, step, first, params.t, lane);
                de += products(V, at, c);
                stage(Q, dqueries, step, first, params.t, lane);
                ds = products(K, at, c);
            }
            stage(Q, queries, step, first, params.t, lane);
            let scores = products(K, at, c) * params.scale;
            var p = select(vec4f(), exp4(scores - of_rows(number)), is_seen);
            var w = p * e * params.scale;
            if TANGENT {
                share(2, row, c, w);
                share(3, row, c, p);
                ds = (ds + products(K, dat, c)) * params.scale - of_rows(number + 2 * all);
                w = w * ds + p * de * params.scale;
                p *= ds;
            }
            share(0, row, c, w);
            share(1, row, c, p);
            workgroupBarrier();
            weigh(&dk_sums, 0, row, c, count);
            if TANGENT {
                stage(Q, dqueries, step, first, params.t, lane);
                weigh(&dk_sums, 2, row, c, count);
            }
            stage(CT, queries, step, first, params.t, lane);
            weigh(&dv_sums, 1, row, c, count);
            if TANGENT {
                stage(CT, dqueries, step, first, params.t, lane);
                weigh(&dv_sums, 3, row, c, count);
            }
        }
    }
    if mine.first + row >= params.s { return; }
    put(K, at, c, dk_sums);
    put(V, at, c, dv_sums);
}

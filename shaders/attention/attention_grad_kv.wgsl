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

fn restore(source: u32, i: u32) -> f32 {
    if source == K { return dk[i]; }
    return dv[i];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let mine = own(flat_group(group, groups), params.s, params.kv_heads);
    if mine.n >= params.n { return; }
    let quad = lane / 8;
    let c = lane % 8;
    let row = mine.first + 4 * quad;
    let j = min(row + vec4u(0, 1, 2, 3), vec4u(params.s - 1));
    let at = key_at(mine.n, j, mine.h);
    let dat = at + key_at(params.n, vec4u(), 0);
    let length = lengths[mine.n];
    let step = params.heads * params.d;
    let all = params.n * params.t * params.heads;
    // The first query that sees a key of this tile.
    var start = select(params.t, params.begin, mine.first < length);
    if params.causal != 0 { start = max(start, max(mine.first + params.t, params.s) - params.s); }
    let end = min(params.t, params.end);

    var dk_sums = Sums();
    var dv_sums = Sums();
    if !FIRST {
        dk_sums = saved_sums(K, at, c);
        dv_sums = saved_sums(V, at, c);
    }
    let shared_by = params.heads / params.kv_heads;
    for (var h = mine.h * shared_by; h < (mine.h + 1) * shared_by; h++) {
        let queries = query_at(mine.n, vec4u(), h).x;
        let dqueries = queries + query_at(params.n, vec4u(), 0).x;
        for (var first = start; first < end; first += COLUMNS) {
            let count = present(first, end);
            stage(CT, queries, step, first, end, lane);
            let e = add_products(Block(), V, at, c);
            var de = Block();
            var ds = Block();
            if TANGENT {
                de = add_products(de, V, dat, c);
                stage(CT, dqueries, step, first, end, lane);
                de = add_products(de, V, at, c);
                stage(Q, dqueries, step, first, end, lane);
                ds = add_products(ds, K, at, c);
            }
            stage(Q, queries, step, first, end, lane);
            let scores = add_products(Block(), K, at, c);
            if TANGENT { ds = add_products(ds, K, dat, c); }
            for (var slot = 0u; slot < SLOTS; slot++) {
                let column = c + 8 * slot;
                let i = min(first + column, params.t - 1);
                let number = (mine.n * params.t + i) * params.heads + h;
                let is_seen = j < select(vec4u(), visible(length, vec4u(i)), first + column < end);
                var p = select(vec4f(), exp4(scores[slot] * params.scale - rows[number] - rows[number + params.rest]), is_seen);
                var w = p * (e[slot] - rows[number + all]) * params.scale;
                if TANGENT {
                    weights[weights_at(2, quad) + column] = w;
                    weights[weights_at(3, quad) + column] = p;
                    let moved = ds[slot] * params.scale - rows[number + 2 * all];
                    w = w * moved + p * (de[slot] - rows[number + 3 * all]) * params.scale;
                    p *= moved;
                }
                weights[weights_at(0, quad) + column] = w;
                weights[weights_at(1, quad) + column] = p;
            }
            workgroupBarrier();
            weigh(&dk_sums, 0, quad, c, count);
            if TANGENT {
                stage(Q, dqueries, step, first, end, lane);
                weigh(&dk_sums, 2, quad, c, count);
            }
            stage(CT, queries, step, first, end, lane);
            weigh(&dv_sums, 1, quad, c, count);
            if TANGENT {
                stage(CT, dqueries, step, first, end, lane);
                weigh(&dv_sums, 3, quad, c, count);
            }
        }
    }
    if row >= params.s { return; }
    put(K, at, params.s - row, c, dk_sums, vec4f(1.0));
    put(V, at, params.s - row, c, dv_sums, vec4f(1.0));
}

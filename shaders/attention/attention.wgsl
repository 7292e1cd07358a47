// y[i] = Σⱼ softmaxⱼ(scale q[i]·k[j]) v[j] and lse[i] = log Σⱼ e^(scale q[i]·k[j]), over the keys that query i sees; 0
// where it sees none. The largest score so far is taken off as the tiles go by. state is that score and the sum of
// powers, from one launch to the next.

#import attend

@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
@group(0) @binding(7) var<storage, read_write> state: array<vec2f>;

const Q: u32 = 0;
const K: u32 = 1;
const V: u32 = 2;

fn load(source: u32, i: u32) -> vec4f {
    if source == Q { return q[i]; }
    if source == K { return k[i]; }
    return v[i];
}

fn save(to: u32, i: u32, value: f32) { y[i] = value; }

fn restore(source: u32, i: u32) -> f32 { return y[i]; }

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
    let seen = visible(lengths[mine.n], i);
    let end = min(visible(lengths[mine.n], vec4u(min(mine.first + ROWS, params.t) - 1)).x, params.end);
    let keys = key_at(mine.n, vec4u(), mine.h / (params.heads / params.kv_heads)).x;
    let step = params.kv_heads * params.d;

    var most = vec4f(LOWEST);
    var sum = vec4f();
    var sums = Sums();
    let number = at / params.d;
    if !FIRST {
        let s = mat4x2f(state[number.x], state[number.y], state[number.z], state[number.w]);
        most = vec4f(s[0].x, s[1].x, s[2].x, s[3].x);
        sum = vec4f(s[0].y, s[1].y, s[2].y, s[3].y);
        sums = saved_sums(0, at, c);
    }
    for (var first = params.begin; first < end; first += COLUMNS) {
        let count = present(first, end);
        stage(K, keys, step, first, end, lane);
        var scores = add_products(Block(), Q, at, c);
        for (var slot = 0u; slot < SLOTS; slot++) {
            let column = c + 8 * slot;
            scores[slot] = select(vec4f(LOWEST), scores[slot] * params.scale, vec4u(first + column) < seen);
            weights[weights_at(0, quad) + column] = scores[slot];
        }
        workgroupBarrier();
        var next = most;
        for (var column = 0u; column < count; column++) { next = max(next, weights[weights_at(0, quad) + column]); }
        for (var slot = 0u; slot < SLOTS; slot++) {
            let column = c + 8 * slot;
            let p = select(vec4f(), exp4(scores[slot] - next), vec4u(first + column) < seen);
            weights[weights_at(1, quad) + column] = p;
        }
        stage(V, keys, step, first, end, lane);
        let kept = exp4(most - next);
        most = next;
        sum *= kept;
        for (var column = 0u; column < count; column++) { sum += weights[weights_at(1, quad) + column]; }
        for (var u = 0u; u < (VEC4 + 7) / 8; u++) {
            let old = sums[u];
            sums[u] = mat4x4f(old[0] * kept.x, old[1] * kept.y, old[2] * kept.z, old[3] * kept.w);
        }
        weigh(&sums, 1, quad, c, count);
    }
    if row >= params.t { return; }
    let left = params.t - row;
    if !LAST {
        put(0, at, left, c, sums, vec4f(1.0));
        for (var r = c; r < min(left, 4); r += 8) { state[number[r]] = vec2f(most[r], sum[r]); }
        return;
    }
    let sees_none = seen == vec4u();
    put(0, at, left, c, sums, select(1.0 / sum, vec4f(), sees_none));
    for (var r = c; r < min(left, 4); r += 8) {
        lse[number[r]] = select(most[r] + log_f32(sum[r]), 0.0, sees_none[r]);
    }
}

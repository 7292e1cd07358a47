// y[i] = Σⱼ softmaxⱼ(scale q[i]·k[j]) v[j] and lse[i] = log Σⱼ e^(scale q[i]·k[j]), over the keys that query i sees; 0
// where it sees none. The largest score so far is taken off as the tiles go by.

#import attend

@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

const Q: u32 = 0;
const K: u32 = 1;
const V: u32 = 2;

fn load(source: u32, i: u32) -> vec4f {
    if source == Q { return q[i]; }
    if source == K { return k[i]; }
    return v[i];
}

fn save(to: u32, i: u32, value: f32) { y[i] = value; }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let mine = own(flat_group(group, groups), params.t, params.heads);
    if mine.n >= params.n { return; }
    let row = lane / 8;
    let c = lane % 8;
    let i = min(mine.first + row, params.t - 1);
    let at = query_at(mine.n, i, mine.h);
    let seen = visible(lengths[mine.n], i);
    let end = visible(lengths[mine.n], min(mine.first + ROWS, params.t) - 1);
    let keys = key_at(mine.n, 0, mine.h / (params.heads / params.kv_heads));
    let step = params.kv_heads * params.d;

    var most = LOWEST;
    var sum = 0.0;
    var sums = Sums();
    for (var first = 0u; first < end; first += COLUMNS) {
        let count = present(first, end);
        stage(K, keys, step, first, end, lane);
        let is_seen = columns(first, c) < vec4u(seen);
        let scores = select(vec4f(LOWEST), products(Q, at, c) * params.scale, is_seen);
        share(0, row, c, scores);
        workgroupBarrier();
        var next = most;
        for (var column = 0u; column < count; column++) { next = max(next, weights[weight_at(0, row) + column]); }
        share(1, row, c, select(vec4f(), exp4(scores - next), is_seen));
        stage(V, keys, step, first, end, lane);
        let kept = exp_f32(most - next);
        most = next;
        sum *= kept;
        for (var column = 0u; column < count; column++) { sum += weights[weight_at(1, row) + column]; }
        for (var u = 0u; u < (FOURS + 7) / 8; u++) { sums[u] *= kept; }
        weigh(&sums, 1, row, c, count);
    }
    if mine.first + row >= params.t { return; }
    let norm = select(0.0, 1.0 / sum, sum > 0.0);
    for (var u = 0u; u < (FOURS + 7) / 8; u++) { sums[u] *= norm; }
    put(0, at, c, sums);
    if c == 0 { lse[at / params.d] = select(0.0, most + log_f32(sum), sum > 0.0); }
}

// For each query the two parts of lse = log Σⱼ e^(scale q[i]·k[j]) that are taken off its scores, one after the other: lse and 0,
// unless lse is so large that its rounding shows. Then they are the largest score and log Σⱼ e^(score - largest), made again.

#import attend
#import large

@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> lengths: array<u32>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> rows: array<f32>;

const Q: u32 = 0;
const K: u32 = 1;

fn load(source: u32, i: u32) -> vec4f {
    if source == Q { return q[i]; }
    return k[i];
}

fn save(to: u32, i: u32, value: f32) { rows[i] = value; }

fn restore(source: u32, i: u32) -> f32 { return rows[i]; }

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
    let number = at / params.d;
    let seen = visible(lengths[mine.n], i);
    let last = min(mine.first + ROWS, params.t) - 1;
    // Of the whole workgroup, since all take part or none.
    var is_asked = false;
    for (var r = mine.first; r <= last; r++) {
        if abs(lse[(mine.n * params.t + r) * params.heads + mine.h]) >= LARGE { is_asked = true; }
    }
    let end = select(0, min(visible(lengths[mine.n], vec4u(last)).x, params.end), is_asked);
    let keys = key_at(mine.n, vec4u(), mine.h / (params.heads / params.kv_heads)).x;
    let step = params.kv_heads * params.d;

    var most = vec4f(LOWEST);
    var sum = vec4f();
    if !FIRST {
        most = of_rows(number);
        sum = of_rows(number + params.rest);
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
        workgroupBarrier();
        sum *= exp4(most - next);
        most = next;
        for (var column = 0u; column < count; column++) { sum += weights[weights_at(1, quad) + column]; }
    }
    for (var r = c; r < min(params.t - min(row, params.t), 4); r += 8) {
        var parts = vec2f(most[r], sum[r]);
        if LAST {
            parts.y = log_f32(sum[r]);
            let saved = lse[number[r]];
            // What is not the logarithm of these scores is taken as it is.
            let is_theirs = abs(saved) >= LARGE && abs((most[r] - saved) + parts.y) <= abs(saved) * LOST;
            parts = select(vec2f(saved, 0.0), parts, is_theirs);
        }
        rows[number[r]] = parts.x;
        rows[number[r] + params.rest] = parts.y;
    }
}

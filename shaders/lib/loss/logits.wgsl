// Rows of logits, each shared by WIDTH lanes; a workgroup makes LANES / WIDTH of them. The kernel defines compute, in which every
// lane takes part, and params with rows and classes.

#import index
#import math

override LANES: u32 = 64;
override WIDTH: u32 = 64;

struct Params { rows: u32, classes: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;

// A lane's largest logit and Σ e^(logit - largest).
var<workgroup> by_lane: array<vec2f, LANES>;

// A row's logits begin at `at`; the lane has those from first on, below end: none of a row that does not exist.
struct Row { row: u32, at: u32, first: u32, end: u32, lane: u32 }

fn combine(a: vec2f, b: vec2f) -> vec2f {
    let m = max(a.x, b.x);
    return vec2f(m, a.y * exp_f32(a.x - m) + b.y * exp_f32(b.x - m));
}

// The largest logit of each row and the logarithm of Σ e^(logit - largest), of rows that are asked for.
fn largest_and_log(row: Row, is_asked: bool) -> vec2f {
    let end = select(row.first, row.end, is_asked);
    var part = vec2f(LOWEST, 0.0);
    for (var i = row.first; i < end; i += WIDTH) { part.x = max(part.x, logits[i]); }
    for (var i = row.first; i < end; i += WIDTH) { part.y += exp_f32(logits[i] - part.x); }
    by_lane[row.lane] = part;
    workgroupBarrier();
    for (var half = WIDTH / 2; half > 0; half /= 2) {
        if row.lane % WIDTH < half { by_lane[row.lane] = combine(by_lane[row.lane], by_lane[row.lane + half]); }
        workgroupBarrier();
    }
    let all = by_lane[row.lane - row.lane % WIDTH];
    return vec2f(all.x, log_f32(all.y));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(group, groups) * (LANES / WIDTH) + lane / WIDTH;
    let at = min(row, params.rows) * params.classes;
    compute(Row(row, at, at + lane % WIDTH, select(at, at + params.classes, row < params.rows), lane));
}

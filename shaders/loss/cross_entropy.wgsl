// loss = lse - logits[label], lse = log Σ e^logits, for each row; 0 for a label beyond the classes. WIDTH lanes share a
// row, a workgroup computes LANES / WIDTH of them.

#import index
#import math

override LANES: u32 = 64;
override WIDTH: u32 = 64;

struct Params { rows: u32, classes: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

// A lane's largest logit and Σ e^(logit - largest).
var<workgroup> by_lane: array<vec2f, LANES>;

fn combine(a: vec2f, b: vec2f) -> vec2f {
    let m = max(a.x, b.x);
    return vec2f(m, a.y * exp_f32(a.x - m) + b.y * exp_f32(b.x - m));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(group, groups) * (LANES / WIDTH) + lane / WIDTH;
    let begin = min(row, params.rows) * params.classes;
    let end = select(begin, begin + params.classes, row < params.rows);
    var part = vec2f(-3.4028235e38, 0.0);
    for (var i = begin + lane % WIDTH; i < end; i += WIDTH) { part.x = max(part.x, logits[i]); }
    for (var i = begin + lane % WIDTH; i < end; i += WIDTH) { part.y += exp_f32(logits[i] - part.x); }
    by_lane[lane] = part;
    workgroupBarrier();
    for (var half = WIDTH / 2; half > 0; half /= 2) {
        if lane % WIDTH < half { by_lane[lane] = combine(by_lane[lane], by_lane[lane + half]); }
        workgroupBarrier();
    }
    if lane % WIDTH == 0 && row < params.rows {
        let all = by_lane[lane];
        let log_sum = log_f32(all.y);
        let label = labels[row];
        var loss = 0.0;
        // The largest logit is taken off first: at ±1e4 its digits would hide those of the logarithm.
        if label < params.classes { loss = (all.x - logits[begin + label]) + log_sum; }
        y[row] = loss;
        lse[row] = all.x + log_sum;
    }
}

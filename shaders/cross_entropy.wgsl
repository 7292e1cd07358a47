// loss = lse - logits[label], lse = log Σ e^logits, for each row; 0 for a label beyond the classes. One workgroup per row.

#import index
#import math

override LANES: u32 = 64;

struct Params { rows: u32, classes: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

// Largest logit so far and Σ e^(logit - largest).
var<workgroup> by_lane: array<vec2f, LANES>;

fn combine(a: vec2f, b: vec2f) -> vec2f {
    let m = max(a.x, b.x);
    return vec2f(m, a.y * exp_f32(a.x - m) + b.y * exp_f32(b.x - m));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(group, groups);
    var acc = vec2f(-3.4028235e38, 0.0);
    if row < params.rows {
        for (var j = lane; j < params.classes; j += LANES) {
            acc = combine(acc, vec2f(logits[row * params.classes + j], 1.0));
        }
    }
    by_lane[lane] = acc;
    workgroupBarrier();
    for (var half = LANES / 2; half > 0; half /= 2) {
        if lane < half { by_lane[lane] = combine(by_lane[lane], by_lane[lane + half]); }
        workgroupBarrier();
    }
    if lane == 0 && row < params.rows {
        let log_sum = log_f32(by_lane[0].y);
        let label = labels[row];
        var loss = 0.0;
        // The largest logit is taken off first: at ±1e4 its digits would hide those of the logarithm.
        if label < params.classes { loss = (by_lane[0].x - logits[row * params.classes + label]) + log_sum; }
        y[row] = loss;
        lse[row] = by_lane[0].x + log_sum;
    }
}

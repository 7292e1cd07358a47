// Mean and 1/√(variance + ε) of each channel from the moments of its chunks, in order, whose means are
// relative to a number that follows them. One channel per invocation.

#import index
#import moments

override LANES: u32 = 64;

struct Params { rows: u32, channels: u32, chunk: u32, chunks: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> rstd: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let channel = flat_group(group, groups) * LANES + lane;
    if channel >= params.channels { return; }
    var m = Moments(0.0, 0.0, 0.0);
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        let n = f32(min(params.chunk, params.rows - chunk * params.chunk));
        let at = chunk * 2 * params.channels + channel;
        m = union_of(m, Moments(n, x[at], x[at + params.channels]));
    }
    mean[channel] = x[params.chunks * 2 * params.channels + channel] + m.mean;
    rstd[channel] = 1.0 / sqrt(m.m2 / m.n + params.eps);
}

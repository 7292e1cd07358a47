// From Σ dx and Σ dx x̂ of each channel: the tangents of mean and rstd, and scales [3, channels] with
// dy = scales₀ dx + scales₁ x̂ + scales₂. One channel per invocation; those of a stack's items, own each, follow one another.

#import index

override LANES: u32 = 64;

struct Params { channels: u32, rows: f32, own: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dgamma: array<f32>;
@group(0) @binding(5) var<storage, read> dbeta: array<f32>;
@group(0) @binding(6) var<storage, read_write> scales: array<f32>;
@group(0) @binding(7) var<storage, read_write> dmean: array<f32>;
@group(0) @binding(8) var<storage, read_write> drstd: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let c = flat_group(group, groups) * LANES + lane;
    if c >= params.channels { return; }
    let mean = sums[c] / params.rows;
    let a = sums[params.channels + c] / params.rows;
    let own = c % params.own;
    let r = rstd[own];
    dmean[c] = mean;
    drstd[c] = -r * r * a;
    scales[c] = gamma[own] * r;
    scales[params.channels + c] = dgamma[c] - gamma[own] * r * a;
    scales[2 * params.channels + c] = dbeta[c] - gamma[own] * r * mean;
}

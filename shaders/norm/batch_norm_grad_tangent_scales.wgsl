// From the five sums of each channel: the tangent of dγ, and scales [5, channels] with
// ddx = scales₀ ct + scales₁ dct + scales₂ dx + scales₃ x̂ + scales₄. One channel per invocation; those of a stack's
// items, own each, follow one another.

#import index

override LANES: u32 = 64;

struct Params { channels: u32, rows: f32, own: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dgamma: array<f32>;
@group(0) @binding(5) var<storage, read> dmean: array<f32>;
@group(0) @binding(6) var<storage, read> drstd: array<f32>;
@group(0) @binding(7) var<storage, read_write> scales: array<f32>;
@group(0) @binding(8) var<storage, read_write> ddgamma: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let c = flat_group(group, groups) * LANES + lane;
    let n = params.channels;
    if c >= n { return; }
    let own = c % params.own;
    let r = rstd[own];
    let a = -drstd[c] / (r * r);
    let m1 = sums[c] / params.rows;
    let m2 = sums[n + c] / params.rows;
    let dm1 = sums[3 * n + c] / params.rows;
    let dm2 = sums[4 * n + c] / params.rows + r * (sums[2 * n + c] / params.rows - dmean[c] * m1 - a * m2);
    ddgamma[c] = params.rows * dm2;
    let s = gamma[own] * r;
    let t = dgamma[c] * r - s * r * a;
    scales[c] = t;
    scales[n + c] = s;
    scales[2 * n + c] = -s * r * m2;
    scales[3 * n + c] = -t * m2 + s * (r * a * m2 - dm2);
    scales[4 * n + c] = -t * m1 + s * (r * dmean[c] * m2 - dm1);
}

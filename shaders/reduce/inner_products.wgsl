// y[i, j, c] = Σ a[i, l] b[j, l] over the l of chunk c: one number per workgroup, summed in a fixed order.

#import index

override LANES: u32 = 256;

struct Params { n: u32, k: u32, chunk: u32, chunks: u32, len: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> by_lane: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let at = flat_group(group, groups);
    let pair = at / params.chunks;
    let start = (at % params.chunks) * params.chunk;
    var sum = 0.0;
    if at < params.len {
        let end = min(start + params.chunk, params.n);
        for (var l = start + lane; l < end; l += LANES) {
            sum += a[(pair / params.k) * params.n + l] * b[(pair % params.k) * params.n + l];
        }
    }
    by_lane[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2; half > 0; half /= 2) {
        if lane < half { by_lane[lane] += by_lane[lane + half]; }
        workgroupBarrier();
    }
    if lane == 0 && at < params.len { y[at] = by_lane[0]; }
}

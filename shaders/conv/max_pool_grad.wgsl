// dx[i] = Σ ct over the windows whose maximum was found at i. One element of x per invocation, no atomics; rows params.n to
// params.k - 1 of the windows, after those before them.

#import index
#import conv

override LANES: u32 = 64;
// Whether there are no rows before.
override FIRST: bool = true;

@group(0) @binding(1) var<storage, read> ct: array<f32>;
@group(0) @binding(2) var<storage, read> argmax: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if i >= params.m { return; }
    let channel = i % params.batches;
    let pixel = i / params.batches;
    let pixels = params.width * params.height;
    var sum = 0.0;
    if !FIRST { sum = y[i]; }
    for (var ky = select(params.n, 0u, FIRST); ky < params.k; ky++) {
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            let p = place_y(pixel / pixels, pixel % pixels / params.width, pixel % params.width, ky, kx);
            if p != OUTSIDE && argmax[p + channel] == i { sum += ct[p + channel]; }
        }
    }
    y[i] = sum;
}

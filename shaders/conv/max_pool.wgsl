// y = max of x over a window, and the flat index of the first maximum, or of the last NaN. One window and channel per
// invocation; rows params.n to params.k - 1 of the window, after those before them.

#import conv
#import nan

override LANES: u32 = 64;
// Whether there are no rows before.
override FIRST: bool = true;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> argmax: array<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if i >= params.m { return; }
    let channel = i % params.batches;
    let pixel = i / params.batches;
    let pixels = params.out_width * params.out_height;
    var best = 0.0;
    var at = OUTSIDE;
    if !FIRST {
        best = y[i];
        at = argmax[i];
    }
    for (var ky = select(params.n, 0u, FIRST); ky < params.k; ky++) {
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            let p = place_x(pixel / pixels, pixel % pixels / params.out_width, pixel % params.out_width, ky, kx);
            if p != OUTSIDE {
                let v = x[p + channel];
                if at == OUTSIDE || v > best || is_nan(v) {
                    best = v;
                    at = p + channel;
                }
            }
        }
    }
    y[i] = best;
    argmax[i] = at;
}

// The operands of a convolution as a matrix product: rows are output pixels, the summed axis is (ky, kx, channel),
// columns are output channels of a group. Patches of x are never stored.

#import conv

override BIAS: bool = false;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> x2: array<f32>;
@group(0) @binding(4) var<storage, read> w2: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

fn load_a(term: u32, batch: u32, i: u32, k: u32) -> f32 {
    let pixels = params.out_width * params.out_height;
    let c = k % params.ci;
    let window = k / params.ci;
    let p = place_x(i / pixels, i % pixels / params.out_width, i % params.out_width,
                    window / params.kernel_width, window % params.kernel_width);
    if p == OUTSIDE { return 0.0; }
    let at = p + group_of(batch) * params.ci + c;
    if term == 0 { return x[step_to(batch, params.a_step) + at]; }
    return x2[step_to(batch, params.a2_step) + at];
}

fn load_b(term: u32, batch: u32, k: u32, j: u32) -> f32 {
    let at = (k * params.groups + group_of(batch)) * params.co + j;
    if term == 0 { return w[step_to(batch, params.b_step) + at]; }
    return w2[step_to(batch, params.b2_step) + at];
}

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    var sum = v;
    let channel = group_of(batch) * params.co + j;
    if BIAS && split == 0 { sum += bias[channel]; }
    y[(result_of(batch, split) * params.m + i) * params.co * params.groups + channel] = sum;
}

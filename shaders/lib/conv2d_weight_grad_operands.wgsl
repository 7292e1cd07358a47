// The operands of a weight gradient as a matrix product: rows are (ky, kx, input channel), the summed axis is all output
// pixels of the batch, columns are output channels of a group.

#import conv

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> ct: array<f32>;
@group(0) @binding(3) var<storage, read> x2: array<f32>;
@group(0) @binding(4) var<storage, read> ct2: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn load_a(term: u32, batch: u32, i: u32, k: u32) -> f32 {
    let pixels = params.out_width * params.out_height;
    let window = i / params.ci;
    let p = place_x(k / pixels, k % pixels / params.out_width, k % params.out_width,
                    window / params.kernel_width, window % params.kernel_width);
    if p == OUTSIDE { return 0.0; }
    let at = p + group_of(batch) * params.ci + i % params.ci;
    if term == 0 { return x[step_to(batch, params.a_step) + at]; }
    return x2[step_to(batch, params.a2_step) + at];
}

fn load_b(term: u32, batch: u32, k: u32, j: u32) -> f32 {
    let at = (k * params.groups + group_of(batch)) * params.co + j;
    if term == 0 { return ct[step_to(batch, params.b_step) + at]; }
    return ct2[step_to(batch, params.b2_step) + at];
}

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    y[((result_of(batch, split) * params.m + i) * params.groups + group_of(batch)) * params.co + j] = v;
}

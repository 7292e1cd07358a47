// The operands of an input gradient as a matrix product: rows are pixels of x, the summed axis is (ky, kx, output
// channel), columns are input channels of a group, all of one phase. Pixels that no window meets at (ky, kx) add nothing.

#import conv
#import phase

@group(0) @binding(1) var<storage, read> ct: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> ct2: array<f32>;
@group(0) @binding(4) var<storage, read> w2: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn load_a(term: u32, batch: u32, i: u32, k: u32) -> f32 {
    let pixels = params.width * params.height;
    let window = k / params.co;
    let p = place_y(i / pixels, i % pixels / params.width, i % params.width,
                    window / params.kernel_width, window % params.kernel_width);
    if p == OUTSIDE { return 0.0; }
    let at = p + group_of(batch) * params.co + k % params.co;
    if term == 0 { return ct[step_to(batch, params.a_step) + at]; }
    return ct2[step_to(batch, params.a2_step) + at];
}

fn load_b(term: u32, batch: u32, k: u32, j: u32) -> f32 {
    let window = k / params.co;
    let tap = tap_of(window / params.kernel_width, window % params.kernel_width);
    let at = ((tap * params.ci + j) * params.groups + group_of(batch)) * params.co + k % params.co;
    if term == 0 { return w[step_to(batch, params.b_step) + at]; }
    return w2[step_to(batch, params.b2_step) + at];
}

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    let pixel = result_of(batch, split) * params.all_pixels + pixel_of(i);
    y[(pixel * params.groups + group_of(batch)) * params.ci + j] = v;
}

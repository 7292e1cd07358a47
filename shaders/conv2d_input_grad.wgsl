// dx = ct ⋆ᵀ w (+ ct2 ⋆ᵀ w2), as a matrix product: rows are pixels of x, the summed axis is (ky, kx, output channel),
// columns are input channels of a group. Pixels that no window meets at (ky, kx) add nothing.

#import conv
#import gemm

@group(0) @binding(1) var<storage, read> ct: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> ct2: array<f32>;
@group(0) @binding(4) var<storage, read> w2: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn load_a(term: u32, g: u32, i: u32, k: u32) -> f32 {
    let pixels = params.width * params.height;
    let window = k / params.co;
    let p = place_y(i / pixels, i % pixels / params.width, i % params.width,
                    window / params.kernel_width, window % params.kernel_width);
    if p == OUTSIDE { return 0.0; }
    let at = p + g * params.co + k % params.co;
    if term == 0 { return ct[at]; }
    return ct2[at];
}

fn load_b(term: u32, g: u32, k: u32, j: u32) -> f32 {
    let at = ((k / params.co * params.ci + j) * params.batches + g) * params.co + k % params.co;
    if term == 0 { return w[at]; }
    return w2[at];
}

fn store(g: u32, split: u32, i: u32, j: u32, v: f32) {
    y[((split * params.m + i) * params.batches + g) * params.ci + j] = v;
}

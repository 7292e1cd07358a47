// dx = ct ⋆ᵀ w (+ ct2 ⋆ᵀ w2) (+ residual), 0 where the mask is not positive, depthwise. Pixels of a strip have equal
// remainders by the stride, since the same taps meet them, the last of these first. params.m counts invocations, params.n
// those of a pixel's channels, params.k an item's images.

#import conv
#import nan
#import strip

override RESIDUAL: bool = false;
override MASK: bool = false;

@group(0) @binding(1) var<storage, read> ct: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
@group(0) @binding(3) var<storage, read> ct2: array<vec4f>;
@group(0) @binding(4) var<storage, read> w2: array<vec4f>;
@group(0) @binding(5) var<storage, read> residual: array<vec4f>;
@group(0) @binding(6) var<storage, read> mask: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4f>;

// Where the item begins in y.
var<private> item_at: u32;

fn load_one(term: u32, at: u32) -> f32 {
    if term == 0 { return ct[at / 4][at % 4]; }
    return ct2[at / 4][at % 4];
}

fn load(term: u32, at: u32) -> vec4f {
    if !VEC4 { return vec4f(load_one(term, at)); }
    if COPIES > 1 {
        return vec4f(load_one(term, at + apart.x), load_one(term, at + apart.y),
                     load_one(term, at + apart.z), load_one(term, at + apart.w));
    }
    if term == 0 { return ct[at / 4]; }
    return ct2[at / 4];
}

fn load_w_one(term: u32, at: u32) -> f32 {
    if term == 0 { return w[at / 4][at % 4]; }
    return w2[at / 4][at % 4];
}

fn load_w(term: u32, at: u32) -> vec4f {
    if !VEC4 { return vec4f(load_w_one(term, at)); }
    if COPIES > 1 {
        return vec4f(load_w_one(term, at + apart.x), load_w_one(term, at + apart.y),
                     load_w_one(term, at + apart.z), load_w_one(term, at + apart.w));
    }
    if term == 0 { return w[at / 4]; }
    return w2[at / 4];
}

fn put(at: u32, sum: vec4f) {
    let g = at - item_at;
    if VEC4 {
        var v = sum;
        if RESIDUAL { v += residual[at / 4]; }
        if MASK { v = gate_4(mask[g / 4], v); }
        y[at / 4] = v;
        return;
    }
    var v = sum.x;
    if RESIDUAL { v += residual[at / 4][at % 4]; }
    if MASK { v = gate_f32(mask[g / 4][g % 4], v); }
    y[at / 4][at % 4] = v;
}

// The first tap that meets a pixel, `at` from where windows begin; OUTSIDE if there is none.
fn first_tap(at: u32, stride: u32, dilation: u32, step: u32) -> u32 {
    for (var tap = 0u; tap < step; tap++) {
        if (at + tap * dilation * (stride - 1)) % stride == 0 { return tap; }
    }
    return OUTSIDE;
}

fn compute(i: u32) {
    let outs = params.groups * COPIES;
    let c = i % params.n * select(1u, 4u, VEC4);
    let stride = params.stride_x;
    let strips = ((params.width + stride - 1) / stride + RUN - 1) / RUN;
    let line = i / params.n / (strips * stride);
    let strip = i / params.n % (strips * stride);
    let remainder = strip % stride;
    let t = strip / stride * RUN;
    let iy = line % params.height;
    let image = line / params.height;
    let item = image / params.k;
    item_at = item * params.k * params.height * params.width * params.groups;
    apart = vec4u(0, 1, 2, 3) * COPIES;
    let first_y = first_tap(iy + params.pad_y, params.stride_y, params.dilation_y, STEP_Y);
    let first_x = first_tap(remainder + params.pad_x, stride, params.dilation_x, STEP_X);
    let count = select((params.kernel_width + STEP_X - 1 - first_x) / STEP_X, 0u, first_x >= params.kernel_width);
    let last_x = first_x + count * STEP_X - STEP_X;
    let column = t + u32((i32(remainder + params.pad_x) - i32(last_x * params.dilation_x)) / i32(stride));
    var s: Strip;
    for (var term = 0u; term < TERMS; term++) {
        let source = item * select(params.a2_step, params.a_step, term == 0) + c * COPIES;
        let weights = item * select(params.b2_step, params.b_step, term == 0) + c * COPIES;
        for (var ky = first_y; ky < params.kernel_height; ky += STEP_Y) {
            let oy = (iy + params.pad_y - ky * params.dilation_y) / params.stride_y;
            if oy >= params.out_height { continue; }
            let place = (image % params.k * params.out_height + oy) * params.out_width * outs;
            let at = weights + (ky * params.kernel_width + last_x) * outs;
            for (var copy = 0u; copy < COPIES; copy++) {
                let row = Row(term, source + place + copy, outs, params.out_width);
                let taps = Taps(count, column, 1, STEP_X * params.dilation_x / stride, at + copy, 0 - STEP_X * outs);
                s = add_row(s, row, taps);
            }
        }
    }
    let ix = t * stride + remainder;
    put_strip(s, (line * params.width + ix) * params.groups + c, stride * params.groups, ix, stride, params.width);
}

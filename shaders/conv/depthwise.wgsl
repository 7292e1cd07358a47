// y = x ⋆ w (+ x2 ⋆ w2) (+ bias), depthwise. params.m counts invocations, params.n those of a pixel's channels, params.k a
// item's images.

#import conv
#import strip

override BIAS: bool = false;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
@group(0) @binding(3) var<storage, read> x2: array<vec4f>;
@group(0) @binding(4) var<storage, read> w2: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4f>;

fn load_one(term: u32, at: u32) -> f32 {
    if term == 0 { return x[at / 4][at % 4]; }
    return x2[at / 4][at % 4];
}

fn load(term: u32, at: u32) -> vec4f {
    if !VEC4 { return vec4f(load_one(term, at)); }
    if COPIES > 1 {
        return vec4f(load_one(term, at + apart.x), load_one(term, at + apart.y),
                     load_one(term, at + apart.z), load_one(term, at + apart.w));
    }
    if term == 0 { return x[at / 4]; }
    return x2[at / 4];
}

fn load_w(term: u32, at: u32) -> vec4f {
    if VEC4 && term == 0 { return w[at / 4]; }
    if VEC4 { return w2[at / 4]; }
    if term == 0 { return vec4f(w[at / 4][at % 4]); }
    return vec4f(w2[at / 4][at % 4]);
}

fn put(at: u32, v: vec4f) {
    if VEC4 { y[at / 4] = v; } else { y[at / 4][at % 4] = v.x; }
}

fn compute(i: u32) {
    let outs = params.groups * COPIES;
    let o = i % params.n * select(1u, 4u, VEC4);
    let strips = (params.out_width + RUN - 1) / RUN;
    let line = i / params.n / strips;
    let ox = i / params.n % strips * RUN;
    let oy = line % params.out_height;
    let image = line / params.out_height;
    let item = image / params.k;
    apart = (vec4u(o % COPIES) + vec4u(0, 1, 2, 3)) / COPIES;
    var s: Strip;
    if BIAS {
        var b = vec4f(bias[o]);
        if VEC4 { b = vec4f(bias[o], bias[o + 1], bias[o + 2], bias[o + 3]); }
        s = Strip(mat4x4f(b, b, b, b), mat4x4f(b, b, b, b));
    }
    for (var term = 0u; term < TERMS; term++) {
        let source = item * select(params.a2_step, params.a_step, term == 0);
        let weights = item * select(params.b2_step, params.b_step, term == 0) + o;
        for (var ky = 0u; ky < params.kernel_height; ky++) {
            let iy = oy * params.stride_y + ky * params.dilation_y - params.pad_y;
            if iy >= params.height { continue; }
            let place = (image % params.k * params.height + iy) * params.width * params.groups;
            let row = Row(term, source + place + o / COPIES, params.groups, params.width);
            for (var kx = 0u; kx < min(STEP_X, params.kernel_width); kx++) {
                let count = (params.kernel_width - kx + STEP_X - 1) / STEP_X;
                let column = ox * params.stride_x + kx * params.dilation_x - params.pad_x;
                let at = weights + (ky * params.kernel_width + kx) * outs;
                s = add_row(s, row, Taps(count, column, params.stride_x, STEP_X * params.dilation_x, at, STEP_X * outs));
            }
        }
    }
    put_strip(s, (line * params.out_width + ox) * outs + o, outs, ox, 1, params.out_width);
}

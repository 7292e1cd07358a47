// y[2 i] and y[2 i + 1] = the 16-bit floats in x[i], exactly. One word per invocation.

#import each

struct Params { len: u32, floats: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn float(half: u32) -> f32 {
    let sign = (half & 0x8000u) << 16;
    let a = half & 0x7fffu;
    // A multiple of 2^-24.
    if a < 0x400u { return bitcast<f32>(sign | bitcast<u32>(f32(a) * 5.9604645e-8)); }
    return bitcast<f32>(sign | ((a << 13) + select(0x38000000u, 0x70000000u, a >= 0x7c00u)));
}

fn compute(i: u32) {
    y[2 * i] = float(x[i] & 0xffffu);
    if 2 * i + 1 < params.floats { y[2 * i + 1] = float(x[i] >> 16); }
}

// y[i] = x[2 i] and x[2 i + 1] as 16-bit floats, rounded to nearest, ties to even. Not by pack2x16float, which leaves
// rounding, small numbers and overflow to the driver. One word per invocation.

#import each

struct Params { len: u32, floats: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

fn half(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let sign = (bits >> 16) & 0x8000u;
    let a = bits & 0x7fffffffu;
    if a > 0x7f800000u { return sign | 0x7e00u; }
    // From 65,520 on.
    if a >= 0x477ff000u { return sign | 0x7c00u; }
    // From 2^-14 on: 13 bits go, and the exponent moves by 112.
    if a >= 0x38800000u { return sign | ((a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u) >> 13); }
    // Up to 2^-25, half of the least.
    if a <= 0x33000000u { return sign; }
    // A multiple of 2^-24.
    let shift = 126u - (a >> 23);
    let fraction = (a & 0x7fffffu) | 0x800000u;
    let down = fraction >> shift;
    let rest = fraction & ((1u << shift) - 1u);
    let tie = 1u << (shift - 1u);
    return sign | (down + select(0u, 1u, rest > tie || (rest == tie && (down & 1u) == 1u)));
}

fn compute(i: u32) {
    var word = half(x[2 * i]);
    if 2 * i + 1 < params.floats { word |= half(x[2 * i + 1]) << 16; }
    y[i] = word;
}

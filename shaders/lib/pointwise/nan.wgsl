// What of a number is told by its bits: drivers may take it that there is no NaN, and naga 30 writes `!=` of floats as a
// comparison that is false for it.

// The least finite number, which Tint wants in full.
const LOWEST: f32 = -0x1.fffffep+127f;

fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }

// −∞, of which there is no literal.
fn minus_infinity() -> f32 {
    var bits = 0xff800000u;
    return bitcast<f32>(bits);
}

// The larger one, or the one that is NaN.
fn max_f32(a: f32, b: f32) -> f32 { return select(select(max(a, b), b, is_nan(b)), a, is_nan(a)); }

// The smaller one, or the one that is NaN.
fn min_f32(a: f32, b: f32) -> f32 { return select(select(min(a, b), b, is_nan(b)), a, is_nan(a)); }

// 0 where x is negative, from −∞ to the least; NaN stays, whatever its sign.
fn relu_f32(x: f32) -> f32 { return select(x, 0.0, bitcast<u32>(x) - 0x80000001u < 0x7f800000u); }

fn relu_4(x: vec4f) -> vec4f {
    return select(x, vec4f(), bitcast<vec4u>(x) - vec4u(0x80000001u) < vec4u(0x7f800000u));
}

// v where a is positive or NaN, else 0.
fn gate_f32(a: f32, v: f32) -> f32 { return select(v, 0.0, a <= 0.0); }

fn gate_4(a: vec4f, v: vec4f) -> vec4f { return select(v, vec4f(), a <= vec4f()); }

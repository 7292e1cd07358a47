//! Elementary functions of f32 without branches and calls, so that loops around them vectorize. Polynomials are
//! the best of their degree on their range, by iterated weights (Lawson 1961).

/// A float below 2²² added to this is rounded to a whole number, which the sum's last bits hold.
const WHOLE: f32 = 12_582_912.0;

/// `Σ c[i] xⁱ`.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    c.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// `2ⁿ` for n from −126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// `eˣ = 2ⁿ eʳ` with `n = round(x/ln 2)` and `|r| ≤ ½ ln 2` (Cody and Waite 1980). Within 2 units of the last place.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // ln 2 in two parts: products of the first with n are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let kept = if x > 89.0 { 89.0 } else { x };
    let kept = if kept < -104.0 { -104.0 } else { kept };
    let whole = kept * std::f32::consts::LOG2_E + WHOLE;
    let n = (whole.to_bits() as i32).wrapping_sub(WHOLE.to_bits() as i32);
    let rounded = whole - WHOLE;
    let r = (kept - rounded * LN_2[0]) - rounded * LN_2[1];
    let rest = polynomial(r, [0.5, 0.166_665_2, 0.041_666_21, 0.008_368_89, 0.001_395_05]);
    let y = (r * r) * rest + r + 1.0;
    // In two steps, since 2ⁿ may be too large, or too small, where the product is not.
    let half = n >> 1;
    let y = y * power_of_two(half.clamp(-126, 127)) * power_of_two((n - half).clamp(-126, 127));
    if x.is_nan() { x } else { y }
}

/// `tanh x`, by a polynomial around 0 and `1 − 2/(e^2|x| + 1)` elsewhere. Within 3 units of the last place.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let (size, square) = (x.abs(), x * x);
    let p = polynomial(square, [-0.333_332_84, 0.133_314_91, -0.053_743_5, 0.020_650_59, -0.005_717_04]);
    let near = x + x * (square * p);
    let far = 1.0 - 2.0 / (exp(size + size) + 1.0);
    (if size < 0.625 { near } else { far }).copysign(x)
}

/// `erf x`, by a polynomial around 0 and `1 − e^−q(|x|)` elsewhere, q a polynomial. Within 3 units of the last place.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let size = x.abs();
    let near = x * polynomial(
        x * x,
        [
            std::f32::consts::FRAC_2_SQRT_PI,
            -0.376_126_27,
            0.112_836,
            -0.026_854_445,
            5.189_535_5e-3,
            -8.020_842e-4,
            7.889_123e-5,
        ],
    );
    let most = if size > 4.0 { 4.0 } else { size };
    let q = polynomial(
        most,
        [3.537_187_6e-4, 1.127_040_1, 0.638_225_7, 0.103_037_37, -0.021_805_32, 2.939_608e-3, -1.855_740_7e-4],
    );
    let far = (1.0 - exp(-q)).copysign(x);
    if size < 1.0 { near } else { far }
}

//! `y = x Φ(x)`, elementwise.

use crate::{case::within, map::pointwise};

pointwise! {
    /// `y = x Φ(x)`, `Φ` the normal distribution function (Hendrycks and Gimpel 2016), by the error function.
    gelu(x): Gelu, 1,
    |_, [x]| x * F::of(0.5) * (F::one() + (x * F::of(std::f64::consts::FRAC_1_SQRT_2)).erf()),
    |_, g, x, _, _, d| {
        let inner = g.affine(x[0], std::f64::consts::FRAC_1_SQRT_2, 0.0)?;
        let cdf = g.erf(inner).and_then(|erf| g.affine(erf, 0.5, 0.5))?;
        let square = g.mul(inner, inner)?;
        let density = g.neg(square).and_then(|x| g.exp(x)).and_then(|e| g.affine(e, 0.398_942_280_401_432_7, 0.0))?;
        let tail = g.mul(x[0], density)?;
        let slope = g.add(cdf, tail)?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0])],
}

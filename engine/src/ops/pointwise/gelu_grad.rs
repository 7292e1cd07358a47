//! `y = x (Φ(a) + a φ(a))`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

/// `1/√(2π)`: the height of the normal density φ.
pub(super) const HEIGHT: f64 = 0.398_942_280_401_432_7;

pointwise! {
    /// `y = x (Φ(a) + a φ(a))`: the derivative of [`Graph::gelu`] at `a`, linear in `x`.
    ///
    /// [`Graph::gelu`]: crate::Graph::gelu
    gelu_grad(a, x): GeluGrad, 2,
    |_, [a, x]| {
        let distribution = F::of(0.5) * (F::one() + (a * F::of(std::f64::consts::FRAC_1_SQRT_2)).erf());
        x * (distribution + a * F::of(HEIGHT) * (F::of(-0.5) * a * a).exponential())
    },
    // φ(a) (2 − a²) in a.
    |_, g, x, _, i, d| {
        if i == 1 {
            return g.gelu_grad(x[0], d).map(Some);
        }
        let square = g.mul(x[0], x[0])?;
        let density = g.affine(square, -0.5, 0.0).and_then(|e| g.exp(e))?;
        let rest = g.affine(square, -HEIGHT, 2.0 * HEIGHT)?;
        let slope = g.mul(density, rest).and_then(|s| g.mul(s, x[1]))?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0]), within(-2.0, 2.0).and(&[1.0, 1.0, -1e30])],
}

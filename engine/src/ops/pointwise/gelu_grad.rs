//! `y = x (Φ(a) + a φ(a))`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

/// `1/√(2π)`: the height of the normal density φ.
const HEIGHT: f64 = 0.398_942_280_401_432_7;

pointwise! {
    /// `y = x (Φ(a) + a φ(a))`: the derivative of [`Tensor::gelu`](crate::Tensor::gelu) at `a`, linear in `x`.
    gelu_grad(a, x): GeluGrad, 2,
    |_, [a, x]| {
        let distribution = F::of(0.5) * (F::one() + (a * F::of(std::f64::consts::FRAC_1_SQRT_2)).erf());
        x * (distribution + a * F::of(HEIGHT) * (F::of(-0.5) * a * a).exponential())
    },
    // φ(a) (2 − a²) in a.
    |_, [a, x], _, i, d| {
        if i == 1 {
            return Some(a.gelu_grad(d));
        }
        let square = a * a;
        Some((square * -0.5).exp() * (square * -HEIGHT + 2.0 * HEIGHT) * x * d)
    },
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0]), within(-2.0, 2.0).and(&[1.0, 1.0, -1e30])],
}

//! `y = x s(1 + a(1 − s))` with `s = 1/(1 + e⁻ᵃ)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = x s(1 + a(1 − s))` with `s = 1/(1 + e⁻ᵃ)`: the derivative of [`Tensor::silu`](crate::Tensor::silu) at `a`,
    /// linear in `x`.
    silu_grad(a, x): SiluGrad, 2,
    |_, [a, x]| {
        let s = (F::one() + (-a).exponential()).recip();
        x * s * (F::one() + a * (F::one() - s))
    },
    // s(1 − s)(2 + a(1 − 2s)) in a.
    |_, [a, x], _, i, d| {
        if i == 1 {
            return Some(a.silu_grad(d));
        }
        let s = a.sigmoid();
        Some(s * (1.0 - s) * (a * (s * -2.0 + 1.0) + 2.0) * x * d)
    },
    order 2,
    [within(-4.0, 4.0).and(&[0.0, 80.0, -80.0]), within(-2.0, 2.0).and(&[1.0, 1.0, -1.0])],
}

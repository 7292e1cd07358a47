//! `y = x s(1 + a(1 − s))` with `s = 1/(1 + e⁻ᵃ)`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = x s(1 + a(1 − s))` with `s = 1/(1 + e⁻ᵃ)`: the derivative of [`Graph::silu`] at `a`, linear in `x`.
    ///
    /// [`Graph::silu`]: crate::Graph::silu
    silu_grad(a, x): SiluGrad, 2,
    |_, [a, x]| {
        let s = (F::one() + (-a).exponential()).recip();
        x * s * (F::one() + a * (F::one() - s))
    },
    // s(1 − s)(2 + a(1 − 2s)) in a.
    |_, g, x, _, i, d| {
        if i == 1 {
            return g.silu_grad(x[0], d).map(Some);
        }
        let s = g.sigmoid(x[0])?;
        let slope = g.affine(s, -1.0, 1.0).and_then(|rest| g.mul(s, rest))?;
        let odd = g.affine(s, -2.0, 1.0)?;
        let bent = g.mul(x[0], odd).and_then(|b| g.affine(b, 1.0, 2.0))?;
        let slope = g.mul(slope, bent).and_then(|s| g.mul(s, x[1]))?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-4.0, 4.0).and(&[0.0, 80.0, -80.0]), within(-2.0, 2.0).and(&[1.0, 1.0, -1.0])],
}

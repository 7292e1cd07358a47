//! `y = x (½(1 + t) + ½a(1 − t²) C(1 + 3·0.044715a²))` with `t = tanh(C(a + 0.044715a³))`, elementwise.

use crate::ops::pointwise::gelu_tanh::{C, CUBE};
use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = x (½(1 + t) + ½a(1 − t²) C(1 + 3·0.044715a²))` with `t = tanh(C(a + 0.044715a³))`, `C = √(2/π)`: the
    /// derivative of [`Graph::gelu_tanh`] at `a`, linear in `x`.
    ///
    /// [`Graph::gelu_tanh`]: crate::Graph::gelu_tanh
    gelu_tanh_grad(a, x): GeluTanhGrad, 2,
    |_, [a, x]| {
        let square = a * a;
        let tanh = (F::of(C) * a * (F::one() + F::of(CUBE) * square)).hyperbolic_tangent();
        let inner = F::of(C) * (F::one() + F::of(3.0 * CUBE) * square);
        let half = F::of(0.5);
        x * (half + half * tanh + half * a * (F::one() - tanh * tanh) * inner)
    },
    // With the tanh's argument u: (1 − t²)(u' + ½a u'' − a t u'²) in a.
    |_, g, x, _, i, d| {
        if i == 1 {
            return g.gelu_tanh_grad(x[0], d).map(Some);
        }
        let square = g.mul(x[0], x[0])?;
        let inner = g.affine(square, C * CUBE, C).and_then(|s| g.mul(s, x[0]))?;
        let tanh = g.tanh(inner)?;
        let first = g.affine(square, 3.0 * C * CUBE, C)?;
        let sum = g.affine(square, 6.0 * C * CUBE, C)?;
        let bent = g.mul(x[0], tanh).and_then(|b| g.mul(b, first)).and_then(|b| g.mul(b, first))?;
        let sum = g.sub(sum, bent)?;
        let flat = g.mul(tanh, tanh).and_then(|t| g.affine(t, -1.0, 1.0))?;
        let slope = g.mul(flat, sum).and_then(|s| g.mul(s, x[1]))?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0]), within(-2.0, 2.0).and(&[1.0, 1.0, -1e30])],
}

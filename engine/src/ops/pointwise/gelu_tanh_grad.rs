//! `y = x (½(1 + t) + ½a(1 − t²) C(1 + 3·0.044715a²))` with `t = tanh(C(a + 0.044715a³))`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::{
    gelu_tanh::{C, CUBE},
    map::pointwise,
};

pointwise! {
    /// `y = x (½(1 + t) + ½a(1 − t²) C(1 + 3·0.044715a²))` with `t = tanh(C(a + 0.044715a³))`, `C = √(2/π)`: the
    /// derivative of [`Tensor::gelu_tanh`](crate::Tensor::gelu_tanh) at `a`, linear in `x`.
    gelu_tanh_grad(a, x): GeluTanhGrad, 2,
    |_, [a, x]| {
        let square = a * a;
        let tanh = (F::of(C) * a * (F::one() + F::of(CUBE) * square)).hyperbolic_tangent();
        let inner = F::of(C) * (F::one() + F::of(3.0 * CUBE) * square);
        let half = F::of(0.5);
        x * (half + half * tanh + half * a * (F::one() - tanh * tanh) * inner)
    },
    // With the tanh's argument u: (1 − t²)(u' + ½a u'' − a t u'²) in a.
    |_, [a, x], _, i, d| {
        if i == 1 {
            return Some(a.gelu_tanh_grad(d));
        }
        let square = a * a;
        let tanh = ((square * (C * CUBE) + C) * a).tanh();
        let first = square * (3.0 * C * CUBE) + C;
        let second = square * (6.0 * C * CUBE) + C;
        Some((1.0 - tanh * tanh) * (second - a * tanh * first * first) * x * d)
    },
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0]), within(-2.0, 2.0).and(&[1.0, 1.0, -1e30])],
}

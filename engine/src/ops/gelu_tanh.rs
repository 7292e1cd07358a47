//! `y = ½x(1 + tanh(√(2/π)(x + 0.044715x³)))`, elementwise.

use crate::{case::within, map::pointwise};

/// √(2/π).
const C: f64 = 0.797_884_560_802_865_4;

pointwise! {
    /// `y = ½x(1 + tanh(√(2/π)(x + 0.044715x³)))`, the approximation of [`Graph::gelu`] (Hendrycks and Gimpel 2016).
    ///
    /// [`Graph::gelu`]: crate::Graph::gelu
    gelu_tanh(x): GeluTanh, 1,
    |_, [x]| {
        let inner = F::of(C) * (x + F::of(0.044715) * x * x * x);
        F::of(0.5) * x * (F::one() + inner.tanh())
    },
    |_, g, x, _, _, d| {
        let square = g.mul(x[0], x[0])?;
        let inner = g.affine(square, C * 0.044_715, C).and_then(|s| g.mul(s, x[0]))?;
        let tanh = g.tanh(inner)?;
        let inner_slope = g.affine(square, C * 0.134_145, C)?;
        let tanh_slope = g.mul(tanh, tanh).and_then(|t| g.affine(t, -0.5, 0.5))?;
        let second = g.mul(x[0], tanh_slope).and_then(|t| g.mul(t, inner_slope))?;
        let first = g.affine(tanh, 0.5, 0.5)?;
        let slope = g.add(first, second)?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0])],
}

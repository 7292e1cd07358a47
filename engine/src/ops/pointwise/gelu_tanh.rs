//! `y = ½x(1 + tanh(√(2/π)(x + 0.044715x³)))`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

/// √(2/π).
pub(super) const C: f64 = 0.797_884_560_802_865_4;

/// The cube's share.
pub(super) const CUBE: f64 = 0.044_715;

pointwise! {
    /// `y = ½x(1 + tanh(√(2/π)(x + 0.044715x³)))`, the approximation of [`Tensor::gelu`](crate::Tensor::gelu)
    /// (Hendrycks and Gimpel 2016).
    gelu_tanh(x): GeluTanh, 1,
    |_, [x]| {
        let inner = F::of(C) * (x + F::of(CUBE) * x * x * x);
        F::of(0.5) * x * (F::one() + inner.hyperbolic_tangent())
    },
    |_, [x], _, _, d| Some(x.gelu_tanh_grad(d)),
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0])],
}

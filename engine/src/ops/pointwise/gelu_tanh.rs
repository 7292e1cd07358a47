//! `y = ½x(1 + tanh(√(2/π)(x + 0.044715x³)))`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

/// √(2/π).
pub(super) const C: f64 = 0.797_884_560_802_865_4;

/// The cube's share.
pub(super) const CUBE: f64 = 0.044_715;

pointwise! {
    /// `y = ½x(1 + tanh(√(2/π)(x + 0.044715x³)))`, the approximation of [`Graph::gelu`] (Hendrycks and Gimpel 2016).
    ///
    /// [`Graph::gelu`]: crate::Graph::gelu
    gelu_tanh(x): GeluTanh, 1,
    |_, [x]| {
        let inner = F::of(C) * (x + F::of(CUBE) * x * x * x);
        F::of(0.5) * x * (F::one() + inner.hyperbolic_tangent())
    },
    |_, g, x, _, _, d| g.gelu_tanh_grad(x[0], d).map(Some),
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0])],
}

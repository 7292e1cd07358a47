//! `y = tanh x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = tanh x`.
    tanh(x): Tanh, 1,
    |_, [x]| x.hyperbolic_tangent(),
    |_, _, y, _, d| Some((1.0 - y * y) * d),
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 1e-6, 90.0, -90.0])],
}

//! `y = 1/(1 + e⁻ˣ)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = 1/(1 + e⁻ˣ)`.
    sigmoid(x): Sigmoid, 1,
    |_, [x]| (F::one() + (-x).exponential()).recip(),
    |_, _, y, _, d| Some(y * (1.0 - y) * d),
    order 2,
    [within(-4.0, 4.0).and(&[0.0, 90.0, -80.0])],
}

//! `y = √x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = √x`, for `x ≥ 0`; no slope at 0.
    sqrt(x): Sqrt, 1,
    |_, [x]| x.sqrt(),
    |_, _, y, _, d| Some(d * 0.5 / y),
    order 2,
    [within(0.2, 5.0).and(&[0.0, 1e-30, 1e30])],
}

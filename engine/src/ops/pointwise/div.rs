//! `y = a/b`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = a/b`, for `b ≠ 0`.
    operator div(a, b): Div, 2,
    |_, [a, b]| a / b,
    |_, [_, b], y, i, d| Some(if i == 0 { d / b } else { -(y / b) * d }),
    order 2,
    [within(-3.0, 3.0), away(0.3, 3.0)],
}

//! `y = aᵇ`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = aᵇ`, for `a > 0`.
    pow(a, b): Pow, 2,
    |_, [a, b]| a.powf(b),
    |_, [a, b], y, i, d| Some(if i == 0 { b * a.pow(b - 1.0) * d } else { a.log() * y * d }),
    order 2,
    [within(0.3, 3.0), within(-3.0, 3.0)],
}

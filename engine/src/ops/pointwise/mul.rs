//! `y = a b`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = a b`.
    operator mul(a, b): Mul, 2,
    |_, [a, b]| a * b,
    |_, x, _, i, d| Some(x[1 - i] * d),
    order 2,
    [within(-3.0, 3.0), within(-3.0, 3.0)],
}

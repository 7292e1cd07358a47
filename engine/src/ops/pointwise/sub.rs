//! `y = a − b`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = a − b`.
    operator sub(a, b): Sub, 2,
    |_, [a, b]| a - b,
    |_, _, _, i, d| Some(if i == 0 { d } else { -d }),
    order 2,
    [within(-3.0, 3.0), within(-3.0, 3.0)],
}

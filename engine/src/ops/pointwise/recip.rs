//! `y = 1/x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = 1/x`, for `x ≠ 0`.
    recip(x): Recip, 1,
    |_, [x]| x.recip(),
    |_, _, y, _, d| Some(-(y * y) * d),
    order 2,
    [away(0.2, 5.0).and(&[1.0, -100.0, 1e30])],
}

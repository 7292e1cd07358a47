//! `y = 1/√x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = 1/√x`, for `x > 0`.
    rsqrt(x): Rsqrt, 1,
    |_, [x]| x.sqrt().recip(),
    |_, _, y, _, d| Some(y * y * y * -0.5 * d),
    order 2,
    [within(0.2, 5.0).and(&[1.0, 0.01, 1e30])],
}

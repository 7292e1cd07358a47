//! `y = |x|`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = |x|`; slope 0 at 0.
    abs(x): Abs, 1,
    |_, [x]| x.abs(),
    |_, [x], _, _, d| Some(x.sign() * d),
    order 2,
    [away(0.1, 3.0).and(&[0.0, -0.0, 1e30, -1e30])],
}

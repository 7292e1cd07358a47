//! `y = −x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = −x`.
    operator neg(x): Neg, 1,
    |_, [x]| -x,
    |_, _, _, _, d| Some(-d),
    order 2,
    [within(-3.0, 3.0)],
}

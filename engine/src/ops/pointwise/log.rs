//! `y = log x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = log x`, the natural logarithm, for `x > 0`.
    log(x): Log, 1,
    |_, [x]| x.ln(),
    |_, [x], _, _, d| Some(d / x),
    order 2,
    [within(0.2, 5.0).and(&[1.0, 1e-30, 1e30, 0.999999])],
}

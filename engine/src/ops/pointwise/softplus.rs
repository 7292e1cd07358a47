//! `y = log(1 + eˣ)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = log(1 + eˣ)`, as `max(x, 0) + log(1 + e^−|x|)`, which neither overflows nor cancels.
    softplus(x): Softplus, 1,
    |_, [x]| x.max(F::zero()) + (-x.abs()).exponential().ln_1p(),
    |_, [x], _, _, d| Some(x.sigmoid() * d),
    order 2,
    [within(-4.0, 4.0).and(&[0.0, 90.0, -80.0])],
}

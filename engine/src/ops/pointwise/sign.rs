//! `y = sign x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = sign x`: −1, 0 or 1; its derivative is zero everywhere.
    sign(x): Sign, 1,
    |_, [x]| if x == F::zero() { x } else { x.signum() },
    |_, _, _, _, _| None,
    order 2,
    [away(0.1, 3.0).and(&[0.0, 1e-30, -1e30])],
}

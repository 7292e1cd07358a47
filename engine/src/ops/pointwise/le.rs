//! `y = 1 where a ≤ b, else 0`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = 1 where a ≤ b, else 0`; its derivative is zero everywhere.
    le(a, b): Le, 2,
    |_, [a, b]| if a <= b { F::one() } else { F::zero() },
    |_, _, _, _, _| None,
    order 2,
    [within(0.1, 1.0), within(-1.0, -0.1).and(&[0.0, 1.0, 0.5])],
}

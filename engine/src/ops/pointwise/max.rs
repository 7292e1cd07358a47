//! `y = max(a, b)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = max(a, b)`; a tie shares the slope evenly. Not a number where one of them is none.
    max(a, b): Max, 2,
    |_, [a, b]| a.most(b),
    |_, x, _, i, d| Some((x[i].gt(x[1 - i]) + x[0].eq(x[1]) * 0.5) * d),
    order 2,
    [within(0.1, 3.0), within(-3.0, -0.1).and(&[0.0, 1.0])],
}

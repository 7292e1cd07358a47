//! `y = min(a, b)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = min(a, b)`; a tie shares the slope evenly. Not a number where one of them is none.
    min(a, b): Min, 2,
    |_, [a, b]| a.least(b),
    |_, x, _, i, d| Some((x[i].lt(x[1 - i]) + x[0].eq(x[1]) * 0.5) * d),
    order 2,
    [within(0.1, 3.0), within(-3.0, -0.1).and(&[0.0, 1.0])],
}

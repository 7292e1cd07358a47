//! `y = b where a > 0, else 0`, elementwise.

use crate::{
    ops::pointwise::map::pointwise,
    testing::cases::{Case, away, unit, within},
};

pointwise! {
    /// `y = b where a > 0, else 0`: the derivative of [`Graph::relu`], linear in `b`, with slope zero in `a`.
    ///
    /// [`Graph::relu`]: crate::Graph::relu
    gate(a, b): Gate, 2,
    |_, [a, b]| if a > F::zero() { b } else { F::zero() },
    |_, g, x, _, i, d| if i == 0 { Ok(None) } else { g.gate(x[0], d).map(Some) },
    order 2,
    [away(0.1, 1.0), within(-3.0, 3.0).and(&[1.0, -1e30])],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    vec![Case::new("[1048579]", vec![unit(&[1_048_579]); 2], |g, x| Ok(vec![g.gate(x[0], x[1])?]))]
}

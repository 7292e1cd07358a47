//! `y = eˣ`, elementwise.

use crate::{
    ops::pointwise::map::pointwise,
    testing::cases::{Case, unit, within},
};

pointwise! {
    /// `y = eˣ`. Overflows above 88.7.
    exp(x): Exp, 1,
    |_, [x]| x.exponential(),
    |_, g, _, y, _, d| g.mul(y, d).map(Some),
    order 2,
    [within(-3.0, 3.0).and(&[0.0, -100.0, 80.0, -1e30])],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    vec![Case::new("[1048579]", vec![unit(&[1_048_579])], |g, x| Ok(vec![g.exp(x[0])?]))]
}

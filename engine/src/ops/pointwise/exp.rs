//! `y = eˣ`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = eˣ`. Overflows above 88.7.
    exp(x): Exp, 1,
    |_, [x]| x.exponential(),
    |_, _, y, _, d| Some(y * d),
    order 2,
    [within(-3.0, 3.0).and(&[0.0, -100.0, 80.0, -1e30])],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    vec![TestCase::one("[1048579]", vec![unit(&[1_048_579])], |x| x[0].exp())]
}

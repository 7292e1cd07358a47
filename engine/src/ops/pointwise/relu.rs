//! `y = max(x, 0)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = max(x, 0)`; slope 0 at 0. Not a number stays so.
    relu(x): Relu, 1,
    |_, [x]| if x < F::zero() { F::zero() } else { x },
    |_, _, y, _, d| Some(y.relu_mask(d)),
    order 2,
    [away(0.1, 3.0).and(&[0.0, -1e30, 1e30])],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    vec![TestCase::one("[1048579]", vec![unit(&[1_048_579])], |x| x[0].relu())]
}

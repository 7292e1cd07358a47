//! `y = a + b`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = a + b`.
    operator add(a, b): Add, 2,
    |_, [a, b]| a + b,
    |_, _, _, _, d| Some(d),
    order 2,
    [within(-3.0, 3.0), within(-3.0, 3.0)],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let shapes: [[&[usize]; 2]; 2] = [[&[1_048_579], &[1_048_579]], [&[4099, 257], &[257]]];
    let case = |[a, b]: [&[usize]; 2]| TestCase::one(format!("{a:?} {b:?}"), vec![unit(a), unit(b)], |x| x[0] + x[1]);
    shapes.map(case).into()
}

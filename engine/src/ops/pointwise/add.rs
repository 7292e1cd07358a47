//! `y = a + b`, elementwise.

use crate::{
    error::Result,
    graph::graph::{Graph, Var},
    ops::pointwise::map::pointwise,
    testing::cases::{Case, unit, within},
};

pointwise! {
    /// `y = a + b`.
    add(a, b): Add, 2,
    |_, [a, b]| a + b,
    |_, _, _, _, _, d| Ok(Some(d)),
    order 2,
    [within(-3.0, 3.0), within(-3.0, 3.0)],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let shapes: [[&[usize]; 2]; 2] = [[&[1_048_579], &[1_048_579]], [&[4099, 257], &[257]]];
    let case = |[a, b]: [&[usize]; 2]| {
        Case::new(format!("{a:?} {b:?}"), vec![unit(a), unit(b)], |g, x| Ok(vec![g.add(x[0], x[1])?]))
    };
    shapes.map(case).into()
}

/// The sum of the terms that there are.
pub(crate) fn sum_terms(g: &mut Graph, a: Option<Var>, b: Option<Var>) -> Result<Option<Var>> {
    match (a, b) {
        (Some(a), Some(b)) => g.add(a, b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

//! `y = aᵇ`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = aᵇ`: of a negative `a` for whole `b`, and not a number for others; 1 where `b` is 0, whatever `a` is.
    ///
    /// Where `b` is 0 the slope in `a` is 0, and where `a` is 0 that in `b` is 0 for `b ≥ 0`.
    pow(a, b): Pow, 2,
    |_, [a, b]| a.powf(b),
    |_, [a, b], y, i, d| {
        let zero = a.graph().fill(&[], 0.0);
        // The slopes' limits, where their factors are zero times infinity.
        Some(match i {
            0 => b.select(b * a.pow(b - 1.0), zero) * d,
            _ => a.select(a.log() * y, b.lt(zero).relu_mask(-y)) * d,
        })
    },
    order 2,
    [within(0.3, 3.0), within(-3.0, 3.0)],
}

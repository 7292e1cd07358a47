//! `y = a where m ≠ 0, else b`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = a where m ≠ 0, else b`; slope zero in `m`.
    select(m, a, b): Select, 3,
    |_, [m, a, b]| if m == F::zero() { b } else { a },
    |_, [m, ..], _, i, d| {
        let zero = m.graph().fill(&[], 0.0);
        match i {
            0 => None,
            1 => Some(m.select(d, zero)),
            _ => Some(m.select(zero, d)),
        }
    },
    order 2,
    [away(0.1, 1.0), within(-3.0, 3.0), within(-3.0, 3.0).and(&[0.0, 1e30])],
}

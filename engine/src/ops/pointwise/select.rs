//! `y = a where m ≠ 0, else b`, elementwise.

use crate::{
    ops::pointwise::map::pointwise,
    testing::cases::{away, within},
};

pointwise! {
    /// `y = a where m ≠ 0, else b`; slope zero in `m`.
    select(m, a, b): Select, 3,
    |_, [m, a, b]| if m == F::zero() { b } else { a },
    |_, g, x, _, i, d| {
        let zero = g.fill(&[], 0.0)?;
        match i {
            0 => Ok(None),
            1 => g.select(x[0], d, zero).map(Some),
            _ => g.select(x[0], zero, d).map(Some),
        }
    },
    order 2,
    [away(0.1, 1.0), within(-3.0, 3.0), within(-3.0, 3.0).and(&[0.0, 1e30])],
}

//! `y = √x`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = √x`, for `x ≥ 0`; no slope at 0.
    sqrt(x): Sqrt, 1,
    |_, [x]| x.sqrt(),
    |_, g, _, y, _, d| {
        let half = g.affine(d, 0.5, 0.0)?;
        g.div(half, y).map(Some)
    },
    order 2,
    [within(0.2, 5.0).and(&[0.0, 1e-30, 1e30])],
}

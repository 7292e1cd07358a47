//! `y = 1/x`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::away};

pointwise! {
    /// `y = 1/x`, for `x ≠ 0`.
    recip(x): Recip, 1,
    |_, [x]| x.recip(),
    |_, g, _, y, _, d| {
        let square = g.mul(y, y)?;
        let slope = g.neg(square)?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [away(0.2, 5.0).and(&[1.0, -100.0, 1e30])],
}

//! `y = |x|`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::away};

pointwise! {
    /// `y = |x|`; slope 0 at 0.
    abs(x): Abs, 1,
    |_, [x]| x.abs(),
    |_, g, x, _, _, d| {
        let sign = g.sign(x[0])?;
        g.mul(sign, d).map(Some)
    },
    order 2,
    [away(0.1, 3.0).and(&[0.0, -0.0, 1e30, -1e30])],
}

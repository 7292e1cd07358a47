//! `y = 1/√x`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = 1/√x`, for `x > 0`.
    rsqrt(x): Rsqrt, 1,
    |_, [x]| x.sqrt().recip(),
    |_, g, _, y, _, d| {
        let cube = g.mul(y, y).and_then(|square| g.mul(square, y))?;
        let slope = g.affine(cube, -0.5, 0.0)?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(0.2, 5.0).and(&[1.0, 0.01, 1e30])],
}

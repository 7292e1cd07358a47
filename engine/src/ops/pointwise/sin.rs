//! `y = sin x`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = sin x`, to 1e-6 for `|x| ≤ 10⁴`.
    sin(x): Sin, 1,
    |_, [x]| x.sin(),
    |_, g, x, _, _, d| {
        let slope = g.cos(x[0])?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-4.0, 4.0).and(&[0.0, std::f32::consts::PI, 100.0, -1000.0])],
}

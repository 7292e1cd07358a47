//! `y = cos x`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = cos x`, to 1e-6 for `|x| ≤ 10⁴`.
    cos(x): Cos, 1,
    |_, [x]| x.cos(),
    |_, g, x, _, _, d| {
        let slope = g.sin(x[0]).and_then(|sin| g.neg(sin))?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-4.0, 4.0).and(&[0.0, std::f32::consts::FRAC_PI_2, 100.0, -1000.0])],
}

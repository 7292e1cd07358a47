//! `y = erf x`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = erf x`, `2/√π ∫₀ˣ e^−t² dt`.
    erf(x): Erf, 1,
    |_, [x]| x.erf(),
    |_, g, x, _, _, d| {
        let square = g.mul(x[0], x[0]).and_then(|s| g.neg(s))?;
        let slope = g.exp(square).and_then(|e| g.affine(e, std::f64::consts::FRAC_2_SQRT_PI, 0.0))?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 1e-6, 9.0, -9.0])],
}

//! `y = erf x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = erf x`, `2/√π ∫₀ˣ e^−t² dt`.
    erf(x): Erf, 1,
    |_, [x]| x.erf(),
    |_, [x], _, _, d| Some((-(x * x)).exp() * std::f64::consts::FRAC_2_SQRT_PI * d),
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 1e-6, 9.0, -9.0])],
}

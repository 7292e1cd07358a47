//! `y = cos x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = cos x`, to 1e-6 for `|x| ≤ 10⁴`.
    cos(x): Cos, 1,
    |_, [x]| x.cos(),
    |_, [x], _, _, d| Some(-x.sin() * d),
    order 2,
    [within(-4.0, 4.0).and(&[0.0, std::f32::consts::FRAC_PI_2, 100.0, -1000.0])],
}

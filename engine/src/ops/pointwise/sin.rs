//! `y = sin x`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = sin x`, to 1e-6 for `|x| ≤ 10⁴`.
    sin(x): Sin, 1,
    |_, [x]| x.sin(),
    |_, [x], _, _, d| Some(x.cos() * d),
    order 2,
    [within(-4.0, 4.0).and(&[0.0, std::f32::consts::PI, 100.0, -1000.0])],
}

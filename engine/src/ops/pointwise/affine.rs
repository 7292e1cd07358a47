//! `y = scale·x + shift`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = scale·x + shift` by two constants.
    affine(x; scale, shift): Affine, 1,
    |m, [x]| x * F::of(m.scale) + F::of(m.shift),
    |m, _, _, _, d| Some(d * m.scale),
    order 2,
    [within(-3.0, 3.0)],
}

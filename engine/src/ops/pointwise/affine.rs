//! `y = scale·x + shift`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = scale·x + shift` by two constants.
    affine(x; scale, shift): Affine, 1,
    |m, [x]| x * F::of(m.scale) + F::of(m.shift),
    |m, g, _, _, _, d| g.affine(d, m.scale, 0.0).map(Some),
    order 2,
    [within(-3.0, 3.0)],
}

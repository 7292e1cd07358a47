//! `y = max(x, 0) + slope·min(x, 0)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = max(x, 0) + slope·min(x, 0)` (Maas et al. 2013); the slope at 0 is that of the left side. Not a
    /// number stays so.
    leaky_relu(x; slope): LeakyRelu, 1,
    |m, [x]| if x < F::zero() { F::of(m.slope) * x } else { x },
    |m, [x], _, _, d| Some(d * m.slope + x.relu_mask(d * (1.0 - m.slope))),
    order 2,
    [away(0.1, 3.0).and(&[0.0, -1e30, 1e30])],
}

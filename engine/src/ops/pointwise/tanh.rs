//! `y = tanh x`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = tanh x`.
    tanh(x): Tanh, 1,
    |_, [x]| x.hyperbolic_tangent(),
    |_, g, _, y, _, d| {
        let square = g.mul(y, y)?;
        let slope = g.affine(square, -1.0, 1.0)?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 1e-6, 90.0, -90.0])],
}

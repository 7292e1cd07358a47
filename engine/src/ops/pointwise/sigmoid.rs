//! `y = 1/(1 + e⁻ˣ)`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = 1/(1 + e⁻ˣ)`.
    sigmoid(x): Sigmoid, 1,
    |_, [x]| (F::one() + (-x).exponential()).recip(),
    |_, g, _, y, _, d| {
        let rest = g.affine(y, -1.0, 1.0)?;
        let slope = g.mul(y, rest)?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-4.0, 4.0).and(&[0.0, 90.0, -80.0])],
}

//! `y = x/(1 + e⁻ˣ)`, elementwise.

use crate::{case::within, map::pointwise};

pointwise! {
    /// `y = x/(1 + e⁻ˣ)`, also called swish (Ramachandran et al. 2017).
    silu(x): Silu, 1,
    |_, [x]| x / (F::one() + (-x).exp()),
    |_, g, x, y, _, d| {
        let sigmoid = g.sigmoid(x[0])?;
        let rest = g.affine(sigmoid, -1.0, 1.0)?;
        let second = g.mul(y, rest)?;
        let slope = g.add(sigmoid, second)?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(-4.0, 4.0).and(&[0.0, 80.0, -80.0])],
}

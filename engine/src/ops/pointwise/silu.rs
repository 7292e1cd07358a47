//! `y = x/(1 + e⁻ˣ)`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = x/(1 + e⁻ˣ)`, also called swish (Ramachandran et al. 2017).
    silu(x): Silu, 1,
    |_, [x]| x / (F::one() + (-x).exponential()),
    |_, g, x, _, _, d| g.silu_grad(x[0], d).map(Some),
    order 2,
    [within(-4.0, 4.0).and(&[0.0, 80.0, -80.0])],
}

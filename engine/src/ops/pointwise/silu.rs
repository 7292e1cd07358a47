//! `y = x/(1 + e⁻ˣ)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = x/(1 + e⁻ˣ)`, also called swish (Ramachandran et al. 2017).
    silu(x): Silu, 1,
    |_, [x]| x / (F::one() + (-x).exponential()),
    |_, [x], _, _, d| Some(x.silu_grad(d)),
    order 2,
    [within(-4.0, 4.0).and(&[0.0, 80.0, -80.0])],
}

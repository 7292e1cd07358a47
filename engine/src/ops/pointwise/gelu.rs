//! `y = x Φ(x)`, elementwise.

use crate::{
    ops::pointwise::map::pointwise,
    testing::cases::{Case, unit, within},
};

pointwise! {
    /// `y = x Φ(x)`, `Φ` the normal distribution function (Hendrycks and Gimpel 2016), by the error function.
    gelu(x): Gelu, 1,
    |_, [x]| x * F::of(0.5) * (F::one() + (x * F::of(std::f64::consts::FRAC_1_SQRT_2)).erf()),
    |_, g, x, _, _, d| g.gelu_grad(x[0], d).map(Some),
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0])],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    vec![Case::new("[1048579]", vec![unit(&[1_048_579])], |g, x| Ok(vec![g.gelu(x[0])?]))]
}

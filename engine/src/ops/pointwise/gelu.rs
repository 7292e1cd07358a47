//! `y = x Φ(x)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = x Φ(x)`, `Φ` the normal distribution function (Hendrycks and Gimpel 2016), by the error function.
    gelu(x): Gelu, 1,
    |_, [x]| x * F::of(0.5) * (F::one() + (x * F::of(std::f64::consts::FRAC_1_SQRT_2)).erf()),
    |_, [x], _, _, d| Some(x.gelu_grad(d)),
    order 2,
    [within(-3.0, 3.0).and(&[0.0, 90.0, -90.0])],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    vec![TestCase::one("[1048579]", vec![unit(&[1_048_579])], |x| x[0].gelu())]
}

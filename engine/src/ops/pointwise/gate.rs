//! `y = b where a > 0, else 0`, elementwise.

use crate::ops::pointwise::map::pointwise;
use crate::testing::*;

pointwise! {
    /// `y = b where a > 0, else 0`: the ReLU mask, derivative of [`Tensor::relu`](crate::Tensor::relu). Linear in `b`,
    /// with slope zero in `a`.
    gate(a, b): Gate, 2,
    |_, [a, b]| if a > F::zero() { b } else { F::zero() },
    |_, [a, _], _, i, d| (i == 1).then(|| a.gate(d)),
    order 2,
    [away(0.1, 1.0), within(-3.0, 3.0).and(&[1.0, -1e30])],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    vec![Case::one("[1048579]", vec![unit(&[1_048_579]); 2], |x| x[0].gate(x[1]))]
}

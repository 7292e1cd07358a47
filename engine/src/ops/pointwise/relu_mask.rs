//! `y = 0 where a ≤ 0, else b`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = 0 where a ≤ 0, else b`: the ReLU mask, derivative of [`Tensor::relu`](crate::Tensor::relu). Linear in `b`,
    /// with slope zero in `a`. Where `a` is not a number `y` is `b`, so that none is hidden.
    relu_mask(a, b): ReluMask, 2,
    |_, [a, b]| if a <= F::zero() { F::zero() } else { b },
    |_, [a, _], _, i, d| (i == 1).then(|| a.relu_mask(d)),
    order 2,
    [away(0.1, 1.0), within(-3.0, 3.0).and(&[1.0, -1e30])],
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    vec![TestCase::one("[1048579]", vec![unit(&[1_048_579]); 2], |x| x[0].relu_mask(x[1]))]
}

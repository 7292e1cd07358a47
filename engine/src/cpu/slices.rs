//! Sums, inner products, largest elements and functions of slices, in a fixed order.

use pulp::{Simd, WithSimd};

use crate::cpu::float::Real;

/// The sum, in 16 partial sums, which fill vector registers.
pub(crate) fn total<F: Real>(x: &[F]) -> F {
    let mut sums = [F::zero(); 16];
    let chunks = x.chunks_exact(16);
    let rest: F = chunks.remainder().iter().copied().sum();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += x);
    }
    sums.iter().copied().sum::<F>() + rest
}

/// The largest element.
pub(crate) fn largest<F: Real>(x: &[F]) -> F {
    let mut most = [F::neg_infinity(); 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder().iter().copied().fold(F::neg_infinity(), F::max);
    for chunk in chunks {
        most.iter_mut().zip(chunk).for_each(|(most, &x)| *most = most.max(x));
    }
    most.into_iter().fold(rest, F::max)
}

/// The inner product, summed in the same way.
pub(crate) fn dot<F: Real>(a: &[F], b: &[F]) -> F {
    let mut sums = [F::zero(); 16];
    let (p, q) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: F = p.remainder().iter().zip(q.remainder()).map(|(&a, &b)| a * b).sum();
    for (p, q) in p.zip(q) {
        for ((sum, &a), &b) in sums.iter_mut().zip(p).zip(q) {
            *sum += a * b;
        }
    }
    sums.iter().copied().sum::<F>() + rest
}

/// `x ← e^(scale x − shift)`.
pub(crate) fn exponentials<F: Real>(x: &mut [F], scale: F, shift: F) {
    F::vectorize(Exponentials { x, scale, shift });
}

struct Exponentials<'a, F> {
    x: &'a mut [F],
    scale: F,
    shift: F,
}

impl<F: Real> WithSimd for Exponentials<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.x.iter_mut().for_each(|x| *x = (*x * self.scale - self.shift).exponential());
    }
}

/// `x ← tanh x`.
pub(crate) fn hyperbolic_tangents<F: Real>(x: &mut [F]) {
    F::vectorize(HyperbolicTangents(x));
}

struct HyperbolicTangents<'a, F>(&'a mut [F]);

impl<F: Real> WithSimd for HyperbolicTangents<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.0.iter_mut().for_each(|x| *x = x.hyperbolic_tangent());
    }
}

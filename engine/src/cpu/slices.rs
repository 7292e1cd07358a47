//! Sums, inner products, largest elements and functions of slices, in a fixed order.

use pulp::{Simd, WithSimd};

use crate::cpu::{
    channels::{Formula, Same},
    float::Real,
};

/// Partial sums of a stretch, which fill vector registers, and the elements of a stretch.
const WIDTH: usize = 32;
const STRETCH: usize = 4096;

/// The sum.
pub(crate) fn total<F: Real>(x: &[F]) -> f64 {
    let [sum] = sums(&Same, [x]);
    sum
}

/// The inner product.
pub(crate) fn dot<F: Real>(a: &[F], b: &[F]) -> f64 {
    let [sum] = sums(&Product, [a, b]);
    sum
}

/// The sum, and that of the squares.
pub(crate) fn total_and_squares<F: Real>(x: &[F]) -> [f64; 2] {
    sums(&WithSquare, [x])
}

/// `a b`.
struct Product;

impl Formula<2, 0, 1> for Product {
    #[inline(always)]
    fn f<F: Real>(&self, [a, b]: [F; 2], _: [F; 0]) -> [F; 1] {
        [a * b]
    }
}

/// `x` and `x²`.
struct WithSquare;

impl Formula<1, 0, 2> for WithSquare {
    #[inline(always)]
    fn f<F: Real>(&self, [x]: [F; 1], _: [F; 0]) -> [F; 2] {
        [x, x * x]
    }
}

/// `Σ f(x)` over the elements: of a stretch as floats in partial sums, which are added up in pairs, and over stretches in f64.
fn sums<F: Real, M: Formula<X, 0, Y>, const X: usize, const Y: usize>(formula: &M, x: [&[F]; X]) -> [f64; Y] {
    if x[0].len() >= WIDTH {
        return F::vectorize(Sums { formula, x });
    }
    let mut sums = [F::zero(); Y];
    for i in 0..x[0].len() {
        let terms = formula.f(x.map(|x| x[i]), []);
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    }
    sums.map(F::wide)
}

struct Sums<'a, M, F, const X: usize, const Y: usize> {
    formula: &'a M,
    x: [&'a [F]; X],
}

impl<M: Formula<X, 0, Y>, F: Real, const X: usize, const Y: usize> WithSimd for Sums<'_, M, F, X, Y> {
    type Output = [f64; Y];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f64; Y] {
        let len = self.x[0].len();
        let mut total = [0.0; Y];
        for from in (0..len).step_by(STRETCH) {
            let x = self.x.map(|x| x[from..(from + STRETCH).min(len)].as_chunks::<WIDTH>());
            let mut sums = [[F::zero(); WIDTH]; Y];
            for b in 0..x[0].0.len() {
                let x = x.map(|x| &x.0[b]);
                for i in 0..WIDTH {
                    let terms = self.formula.f(x.map(|x| x[i]), []);
                    for k in 0..Y {
                        sums[k][i] += terms[k];
                    }
                }
            }
            (0..x[0].1.len()).for_each(|i| {
                let terms = self.formula.f(x.map(|x| x.1[i]), []);
                sums.iter_mut().zip(terms).for_each(|(sums, term)| sums[i] += term);
            });
            for k in 0..Y {
                let mut width = WIDTH / 2;
                while width > 0 {
                    for i in 0..width {
                        sums[k][i] += sums[k][i + width];
                    }
                    width /= 2;
                }
                total[k] += sums[k][0].wide();
            }
        }
        total
    }
}

/// The largest element; what is not a number is passed over.
pub(crate) fn largest<F: Real>(x: &[F]) -> F {
    let mut most = [F::neg_infinity(); 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder().iter().copied().fold(F::neg_infinity(), F::max);
    for chunk in chunks {
        most.iter_mut().zip(chunk).for_each(|(most, &x)| *most = most.max(x));
    }
    most.into_iter().fold(rest, F::max)
}

/// `x ← e^(scale x − shift − rest)`, in this order: the rest is what a large shift lost when it was rounded.
pub(crate) fn exponentials<F: Real>(x: &mut [F], scale: F, [shift, rest]: [F; 2]) {
    F::vectorize(Exponentials { x, scale, shift, rest });
}

struct Exponentials<'a, F> {
    x: &'a mut [F],
    scale: F,
    shift: F,
    rest: F,
}

impl<F: Real> WithSimd for Exponentials<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.x.iter_mut().for_each(|x| *x = (*x * self.scale - self.shift - self.rest).exponential());
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

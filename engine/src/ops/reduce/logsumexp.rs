//! The logarithm of a sum of exponentials, and the softmax made of it.

use crate::ops::reduce::{
    frame::{self, Fold},
    sum::{TIMED, infer_middle, reduced},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::logsumexp`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug, PartialEq)]
pub struct Logsumexp;

impl Logsumexp {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        frame::fold::<F, Logsumexp>(x[0].shape(), x[0].floats(), y[0].floats_mut());
    }
}

/// Of two largest numbers and sums `Σ e^(x − largest)` those of both, by one power.
#[inline(always)]
fn join<F: Real>(a: (F, F), b: (F, F)) -> (F, F) {
    // Equal ones may be infinite.
    let less = if a.0 == b.0 { F::zero() } else { (a.0 - b.0).abs() };
    let power = (-less).exponential();
    let (first, second) = if a.0 > b.0 { (a.1, b.1) } else { (b.1, a.1) };
    (a.0.most(b.0), first + second * power)
}

impl<F: Real> Fold<F> for Logsumexp {
    type Part = (F, F);
    type Whole = (f64, f64);
    type Result = F;

    #[inline(always)]
    fn none() -> (F, F) {
        (F::neg_infinity(), F::zero())
    }

    #[inline(always)]
    fn with(part: (F, F), x: F, _: usize) -> (F, F) {
        join(part, (x, F::one()))
    }

    #[inline(always)]
    fn join(a: (F, F), b: (F, F)) -> (F, F) {
        join(a, b)
    }

    #[inline(always)]
    fn whole((most, sum): (F, F)) -> (f64, f64) {
        (most.wide(), sum.wide())
    }

    #[inline(always)]
    fn merge(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
        join(a, b)
    }

    #[inline(always)]
    fn result((most, sum): (f64, f64)) -> F {
        F::of(most + sum.ln())
    }
}

impl Op for Logsumexp {
    cpu!();

    fn name(&self) -> &'static str {
        "logsumexp"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        infer_middle("logsumexp", x, DType::F32)
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        frame::launches(class, "logsumexp", x[0], None)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        2 * x[0].count() as u64
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(Some(vec![x.x[0].fold_stack(0)?.apply(Logsumexp).unfold_stack(0, x.k)?]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        frame::weigh_back(at.x[0].softmax(1), ct[0])
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(frame::weigh_forth(at.x[0].softmax(1), dx[0]))
    }
}

impl<'g> Tensor<'g> {
    /// `y = log Σ eˣ` over some axes, relative to the largest `x`, so that nothing overflows. `−∞` of `−∞` alone.
    ///
    /// Broken by an axis that does not exist ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn logsumexp(self, axes: &[usize]) -> Tensor<'g> {
        let (middle, rest) = self.middle("logsumexp", axes);
        middle.apply(Logsumexp).reshape(&rest)
    }

    /// `y = eˣ / Σ eˣ` along an axis, as `e^(t − log Σ eᵗ)` with `t = x − log Σ eˣ`: the logarithm of `Σ eᵗ` is zero but
    /// for what that of `Σ eˣ` lost in rounding, which for large `x` is more than the numbers differ by.
    ///
    /// Broken by an axis that does not exist ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn softmax(self, axis: usize) -> Tensor<'g> {
        let less = |x: Tensor<'g>, y: Tensor<'g>| x - y.unsqueeze(&[axis]);
        let t = less(self, self.logsumexp(&[axis]).stop_gradient());
        less(t, t.logsumexp(&[axis])).exp()
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = reduced("logsumexp", |x, axes| x.logsumexp(axes));
    let large = Generator::Exact(vec![2, 3], vec![1e4, -1e4, 9999.0, -1e4, -1e4, -9999.5]);
    all.push(TestCase::one("logsumexp of ±1e4", vec![large], |x| x[0].logsumexp(&[1])).order(0));
    all.push(TestCase::one("softmax", vec![unit(&[5, 67])], |x| x[0].softmax(1)));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let (shape, axes) = TIMED[1];
    vec![
        TestCase::one(format!("{shape:?} over {axes:?}"), vec![unit(shape)], move |x| x[0].logsumexp(axes)),
        TestCase::one(format!("softmax {shape:?}"), vec![unit(shape)], |x| x[0].softmax(1)).tolerance(2e-6),
    ]
}

//! The logarithm of a sum of exponentials, and the softmax made of it.

use crate::ops::reduce::{
    frame,
    sum::{TIMED, infer_middle, reduced},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::logsumexp`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug, PartialEq)]
pub struct Logsumexp;

impl Logsumexp {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        // The largest element and Σ e^(x − largest).
        let combine = |a: (F, F), b: (F, F)| {
            let m = a.0.max(b.0);
            (m, a.1 * (a.0 - m).exponential() + b.1 * (b.0 - m).exponential())
        };
        let of = |a, x, _| combine(a, (x, F::one()));
        let none = (F::min_value(), F::zero());
        frame::fold(x[0].shape(), x[0].floats(), y[0].floats_mut(), none, of, combine, |a| a.0 + a.1.ln());
    }

    /// `e^(x − y)`: the softmax.
    fn weights<'g>(at: At<'_, 'g>) -> Result<Tensor<'g>> {
        Ok((at.x[0] - at.y[0].along(at.x[0])?).exp())
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
        frame::launches(class, "logsumexp", x[0], true)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        2 * x[0].count() as u64
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(Some(vec![x.x[0].fold_stack(0)?.apply(Logsumexp).unfold_stack(0, x.k)?]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        frame::weigh_back(Self::weights(at)?, ct[0])
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(frame::weigh_forth(Self::weights(at)?, dx[0]))
    }
}

impl<'g> Tensor<'g> {
    /// `y = log Σ eˣ` over some axes, relative to the largest `x`, so that nothing overflows.
    ///
    /// Broken by an axis that does not exist ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn logsumexp(self, axes: &[usize]) -> Tensor<'g> {
        let (middle, rest) = self.middle("logsumexp", axes);
        middle.apply(Logsumexp).reshape(&rest)
    }

    /// `y = eˣ / Σ eˣ` along an axis.
    ///
    /// Broken by an axis that does not exist ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn softmax(self, axis: usize) -> Tensor<'g> {
        (self - self.logsumexp(&[axis]).unsqueeze(&[axis])).exp()
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

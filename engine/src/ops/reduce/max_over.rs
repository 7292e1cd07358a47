//! The largest element along axes.

use crate::ops::reduce::{
    frame::{self, Fold},
    sum::{TIMED, infer_middle, reduced},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::max_over`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug, PartialEq)]
pub struct MaxOver;

impl MaxOver {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        frame::fold::<F, MaxOver>(x[0].shape(), x[0].floats(), y[0].floats_mut());
    }

    /// Weights of the elements that attain the maximum: ties share evenly.
    fn weights<'g>(at: At<'_, 'g>) -> Result<Tensor<'g>> {
        let hit = at.x[0].eq(at.y[0].along(at.x[0])?);
        Ok(hit / hit.sum(&[1]).along(hit)?)
    }
}

/// What is not a number is more than any.
impl<F: Real> Fold<F> for MaxOver {
    type Part = F;
    type Whole = F;
    type Result = F;

    #[inline(always)]
    fn none() -> F {
        F::neg_infinity()
    }

    #[inline(always)]
    fn with(part: F, x: F, _: usize) -> F {
        part.most(x)
    }

    #[inline(always)]
    fn join(a: F, b: F) -> F {
        a.most(b)
    }

    #[inline(always)]
    fn whole(part: F) -> F {
        part
    }

    #[inline(always)]
    fn merge(a: F, b: F) -> F {
        a.most(b)
    }

    #[inline(always)]
    fn result(whole: F) -> F {
        whole
    }
}

impl Op for MaxOver {
    cpu!();

    fn name(&self) -> &'static str {
        "max_over"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        infer_middle("max_over", x, DType::F32)
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        frame::launches(class, "max_over", x[0], None)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        x[0].count() as u64
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(Some(vec![x.x[0].fold_stack(0)?.apply(MaxOver).unfold_stack(0, x.k)?]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        frame::weigh_back(Self::weights(at)?, ct[0])
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(frame::weigh_forth(Self::weights(at)?, dx[0]))
    }
}

impl<'g> Tensor<'g> {
    /// `y = max x` over some axes, which the result does not have; ties share the slope evenly. Not a number where one
    /// of them is none.
    ///
    /// Broken by an axis that does not exist ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn max_over(self, axes: &[usize]) -> Tensor<'g> {
        let (middle, rest) = self.middle("max_over", axes);
        middle.apply(MaxOver).reshape(&rest)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    // Among thousands of numbers the two largest are too close for a difference quotient.
    let order = |case: TestCase| if case.x[0].ty().count() < 2000 { case } else { case.order(0) };
    reduced("max_over", |x, axes| x.max_over(axes)).into_iter().map(order).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let (shape, axes) = TIMED[1];
    vec![TestCase::one(format!("{shape:?} over {axes:?}"), vec![unit(shape)], move |x| x[0].max_over(axes))]
}

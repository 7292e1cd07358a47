//! `y = x`, whose derivative is zero.

use crate::ops::shape::strided::view;
use crate::{error::*, graph::*, tensor::*};

/// The op of [`Tensor::stop_gradient`].
#[derive(Debug, PartialEq)]
pub struct StopGradient;

impl Op for StopGradient {
    view!();

    fn name(&self) -> &'static str {
        "stop_gradient"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        Ok(vec![x[0].clone()])
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(Some(vec![x.x[0].stop_gradient()]))
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, _: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![None]))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, _: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![None]))
    }
}

impl<'g> Tensor<'g> {
    /// `y = x`, as a constant to every derivative. It is the only way to detach a value.
    #[track_caller]
    pub fn stop_gradient(self) -> Tensor<'g> {
        self.apply(StopGradient)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = TestCase::one("stop_gradient", vec![unit(&[7])], |x| {
        let y = x[0].stop_gradient();
        y * y
    });
    vec![case.order(0)]
}

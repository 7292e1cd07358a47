//! Where the largest element along an axis is.

use crate::ops::reduce::{frame, sum::infer_middle};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::argmax`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug, PartialEq)]
pub struct Argmax;

impl Argmax {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let better = |a: (F, u32), b: (F, u32)| if b.0 > a.0 || (b.0 == a.0 && b.1 < a.1) { b } else { a };
        let of = |a, x, i| better(a, (x, i as u32));
        let none = (F::min_value(), u32::MAX);
        frame::fold(x[0].shape(), x[0].floats(), y[0].indices_mut(), none, of, better, |a| a.1);
    }
}

impl Op for Argmax {
    cpu!();

    fn name(&self) -> &'static str {
        "argmax"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        infer_middle("argmax", x, DType::U32)
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        frame::launches(class, "argmax", x[0], false)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        x[0].count() as u64
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, _: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![None]))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, _: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![None]))
    }
}

impl<'g> Tensor<'g> {
    /// `y =` the first index at which `x` is largest along an axis, which the result does not have; u32.
    ///
    /// Broken by an axis that does not exist ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn argmax(self, axis: usize) -> Tensor<'g> {
        let (middle, rest) = self.middle("argmax", &[axis]);
        middle.apply(Argmax).reshape(&rest)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |shape: &[usize], axis: usize| {
        TestCase::one(format!("argmax {shape:?} {axis}"), vec![unit(shape)], move |x| x[0].argmax(axis)).order(0)
    };
    let ties = Generator::Exact(vec![2, 4], vec![1.0, 3.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0]);
    vec![
        case(&[67, 10], 1),
        case(&[10, 67], 0),
        case(&[3, 5, 7], 1),
        case(&[1031], 0),
        TestCase::one("argmax ties", vec![ties], |x| x[0].argmax(1)).order(0),
    ]
}

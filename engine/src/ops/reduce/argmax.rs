//! Where the largest element along an axis is.

use crate::ops::reduce::{
    frame::{self, Fold},
    sum::infer_middle,
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::argmax`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug, PartialEq)]
pub struct Argmax;

impl Argmax {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        frame::fold::<F, Argmax>(x[0].shape(), x[0].floats(), y[0].indices_mut());
    }
}

/// The largest number and where it is first; numbers come in the order of their indices. What is not a number is more than
/// any.
impl<F: Real> Fold<F> for Argmax {
    type Part = (F, u32);
    type Whole = (F, u32);
    type Result = u32;

    #[inline(always)]
    fn none() -> (F, u32) {
        (F::neg_infinity(), u32::MAX)
    }

    #[inline(always)]
    fn with(part: (F, u32), x: F, i: usize) -> (F, u32) {
        let first = part.1 == u32::MAX;
        let more = (x > part.0) | (x.is_nan() & !part.0.is_nan());
        if more | first { (x, i as u32) } else { part }
    }

    #[inline(always)]
    fn join(a: (F, u32), b: (F, u32)) -> (F, u32) {
        let (none_a, none_b) = (a.0.is_nan(), b.0.is_nan());
        let more = (b.0 > a.0) | (none_b & !none_a);
        let equal = (b.0 == a.0) | (none_b & none_a);
        if more | (equal & (b.1 < a.1)) { b } else { a }
    }

    #[inline(always)]
    fn whole(part: (F, u32)) -> (F, u32) {
        part
    }

    #[inline(always)]
    fn merge(a: (F, u32), b: (F, u32)) -> (F, u32) {
        Self::join(a, b)
    }

    #[inline(always)]
    fn result(whole: (F, u32)) -> u32 {
        whole.1
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
        frame::launches(class, "argmax", x[0], Some("argmax_merge"))
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
    /// `y =` the first index at which `x` is largest along an axis, which the result does not have; u32. The first that
    /// is not a number where there is one.
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
        case(&[10007], 0),
        case(&[4099, 3], 0),
        TestCase::one("argmax ties", vec![ties], |x| x[0].argmax(1)).order(0),
    ]
}

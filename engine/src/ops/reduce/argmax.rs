//! Where the largest element along an axis is.

use crate::ops::reduce::sum::infer_middle;
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{launch::Launches, target::Class},
    ops::reduce::frame,
    tensor::dtype::{DType, Type},
    testing::cases::{Case, Sample, unit},
};

/// The op of [`Graph::argmax`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug)]
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

    fn vjp(&self, _: &mut Graph, _: At, _: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }

    fn jvp(&self, _: &mut Graph, _: At, _: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }
}

impl Graph {
    /// `y =` the first index at which `x` is largest along an axis, which the result does not have; u32.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the axis does not exist.
    pub fn argmax(&mut self, x: Var, axis: usize) -> Result<Var> {
        let (middle, rest) = self.middle("argmax", x, &[axis])?;
        let y = self.apply(Argmax, &[middle])?;
        self.reshape(y, &rest)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let case = |shape: &[usize], axis: usize| {
        Case::new(format!("argmax {shape:?} {axis}"), vec![unit(shape)], move |g, x| Ok(vec![g.argmax(x[0], axis)?]))
            .order(0)
    };
    let ties = Sample::Exact(vec![2, 4], vec![1.0, 3.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0]);
    vec![
        case(&[67, 10], 1),
        case(&[10, 67], 0),
        case(&[3, 5, 7], 1),
        case(&[1031], 0),
        Case::new("argmax ties", vec![ties], |g, x| Ok(vec![g.argmax(x[0], 1)?])).order(0),
    ]
}

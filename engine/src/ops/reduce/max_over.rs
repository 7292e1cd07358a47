//! The largest element along axes.

use crate::ops::reduce::sum::{REDUCED, infer_middle};
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
    testing::cases::{Case, unit},
};

/// The op of [`Graph::max_over`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug)]
pub struct MaxOver;

impl MaxOver {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let least = F::min_value();
        frame::fold(x[0].shape(), x[0].floats(), y[0].floats_mut(), least, |a, x, _| a.max(x), F::max, |a| a);
    }

    /// Weights of the elements that attain the maximum: ties share evenly.
    fn weights(g: &mut Graph, at: At) -> Result<Var> {
        let y = g.along(at.y[0], at.x[0])?;
        let hit = g.eq(at.x[0], y)?;
        let hits = g.sum(hit, &[1])?;
        let hits = g.along(hits, at.x[0])?;
        g.div(hit, hits)
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
        frame::launches(class, "max_over", x[0], true)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        x[0].count() as u64
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        let all = g.fold_stack(x.x[0], 0)?;
        let y = g.apply(MaxOver, &[all])?;
        Ok(Some(vec![g.unfold_stack(y, 0, x.k)?]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let weights = Self::weights(g, at)?;
        g.weigh_back(weights, ct[0])
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let weights = Self::weights(g, at)?;
        g.weigh_forth(weights, dx[0])
    }
}

impl Graph {
    /// `y = max x` over some axes, which the result does not have; ties share the slope evenly.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when an axis does not exist.
    pub fn max_over(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let (middle, rest) = self.middle("max_over", x, axes)?;
        let y = self.apply(MaxOver, &[middle])?;
        self.reshape(y, &rest)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    REDUCED
        .iter()
        .map(|&(shape, axes)| {
            // Among thousands of numbers the two largest are too close for a difference quotient.
            let order = if crate::tensor::shape::count(shape) < 2000 { 2 } else { 0 };
            Case::new(format!("max_over {shape:?} {axes:?}"), vec![unit(shape)], move |g, x| {
                Ok(vec![g.max_over(x[0], axes)?])
            })
            .order(order)
        })
        .collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let (shape, axes) = super::sum::TIMED[1];
    vec![Case::new(format!("{shape:?} over {axes:?}"), vec![unit(shape)], |g, x| Ok(vec![g.max_over(x[0], axes)?]))]
}

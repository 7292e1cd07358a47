//! `y = x`, whose derivative is zero.

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
    tensor::dtype::Type,
    testing::cases::{Case, unit},
};

/// The op of [`Graph::stop_gradient`].
#[derive(Debug)]
pub struct StopGradient;

impl StopGradient {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        y[0].copy_from(x[0].data);
    }
}

impl Op for StopGradient {
    cpu!();

    fn name(&self) -> &'static str {
        "stop_gradient"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        Ok(vec![x[0].clone()])
    }

    fn launch(&self, _: Class, _: &[&Type], _: &[&Type]) -> Launches {
        Launches::default()
    }

    fn is_view(&self) -> bool {
        true
    }

    fn flops(&self, _: &[&Type], _: &[&Type]) -> u64 {
        0
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        Ok(Some(vec![g.stop_gradient(x.x[0])?]))
    }

    fn vjp(&self, _: &mut Graph, _: At, _: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }

    fn jvp(&self, _: &mut Graph, _: At, _: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }
}

impl Graph {
    /// `y = x`, as a constant to every derivative. It is the only way to detach a value.
    ///
    /// # Errors
    ///
    /// None today; the signature is that of every op.
    pub fn stop_gradient(&mut self, x: Var) -> Result<Var> {
        self.apply(StopGradient, &[x])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("stop_gradient", vec![unit(&[7])], |g, x| {
            let y = g.stop_gradient(x[0])?;
            Ok(vec![g.mul(y, y)?])
        })
        .order(0),
    ]
}

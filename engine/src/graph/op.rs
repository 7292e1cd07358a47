//! What an op is: a shape rule, kernels, a CPU evaluation, derivative rules, cases.

use std::fmt;

use crate::{
    cpu::buffer::{Operand, OutMut},
    error::{Error, Result},
    graph::graph::{Graph, Var},
    launch::{launch::Launches, target::Class},
    tensor::dtype::Type,
};

/// Operands and results of the node whose derivative is asked for.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The operands.
    pub x: &'a [Var],
    /// The results.
    pub y: &'a [Var],
}

/// One mathematical operation.
///
/// Either `host`/`twin`, `vjp` and `jvp` are given, or `plain` is, and those come from there.
pub trait Op: fmt::Debug + Send + Sync + 'static {
    /// The op's one name: of its files, of its method on [`Graph`], of its rows in tests and benches.
    fn name(&self) -> &'static str;

    /// The shape rule.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] or [`Error::DType`] for operands that the op does not admit.
    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>>;

    /// The dispatches that compute it on a device of this class.
    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches;

    /// The evaluation in f32 on all cores.
    fn host(&self, x: &[Operand<f32>], y: &mut [OutMut<f32>]);

    /// The same evaluation in f64.
    fn twin(&self, x: &[Operand<f64>], y: &mut [OutMut<f64>]);

    /// The definition of a fused op as a graph of simpler ones.
    ///
    /// # Errors
    ///
    /// Those of the ops that it is made of.
    fn plain(&self, _g: &mut Graph, _x: &[Var]) -> Result<Option<Vec<Var>>> {
        Ok(None)
    }

    /// Cotangents of the operands from those of the results; `None` stands for zero.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`] where there is none.
    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        match self.plain(g, at.x)? {
            Some(plain) => crate::diff::grad::pull(g, &plain, ct, at.x),
            None => Err(Error::NoRule { op: self.name(), rule: "vjp", why: "it is not differentiable" }),
        }
    }

    /// Tangents of the results from those of the operands; `None` stands for zero.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`] where there is none.
    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        match self.plain(g, at.x)? {
            Some(plain) => crate::diff::grad::push(g, &plain, at.x, dx),
            None => Err(Error::NoRule { op: self.name(), rule: "jvp", why: "it is not differentiable" }),
        }
    }

    /// The results for several values of some operands at once, stacked; `None` where it is to be repeated for each.
    ///
    /// # Errors
    ///
    /// Those of the ops that it is made of.
    fn batched(&self, _g: &mut Graph, _x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        Ok(None)
    }

    /// The operand that each result overwrites, of so many, for updates in place.
    fn in_place(&self, _operands: usize) -> Vec<usize> {
        Vec::new()
    }

    /// True for an op whose result is its operand's bytes under another shape.
    fn is_view(&self) -> bool {
        false
    }

    /// Floating-point operations; pointwise ops count one per element.
    fn flops(&self, _x: &[&Type], y: &[&Type]) -> u64 {
        y.iter().map(|y| y.count() as u64).sum()
    }

    /// For the compiler's patterns, which look for ops by type.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// `host` and `twin` by one `eval` that is generic over the float, given loops for each where they differ; and `as_any`.
macro_rules! cpu {
    () => {
        crate::graph::op::cpu!(,);
    };
    ($($host:path)?, $($twin:path)?) => {
        fn host(&self, x: &[crate::cpu::buffer::Operand<f32>], y: &mut [crate::cpu::buffer::OutMut<f32>]) {
            self.eval(x, y $(, $host)?)
        }

        fn twin(&self, x: &[crate::cpu::buffer::Operand<f64>], y: &mut [crate::cpu::buffer::OutMut<f64>]) {
            self.eval(x, y $(, $twin)?)
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    };
}
pub(crate) use cpu;

/// Operands of an op of which some are stacked: `k` values of the operand's type along a new first axis.
#[derive(Debug, Clone, Copy)]
pub struct Stacked<'a> {
    /// How many.
    pub k: usize,
    /// The operands.
    pub x: &'a [Var],
    /// Which of them are stacked.
    pub is: &'a [bool],
}

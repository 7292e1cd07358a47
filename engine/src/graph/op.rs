//! The trait of an op: shape rule, kernel launches, CPU evaluation, derivative rules.

use std::{any::Any, fmt, sync::Arc};

use crate::{
    cpu::{Operand, OutMut},
    error::Result,
    graph::tensor::Tensor,
    launch::{Class, Launches},
    tensor::Type,
};

/// Operands and results of the node whose derivative is asked for.
#[derive(Debug, Clone, Copy)]
pub struct At<'a, 'g> {
    /// The operands.
    pub x: &'a [Tensor<'g>],
    /// The results.
    pub y: &'a [Tensor<'g>],
}

/// Cotangents of an op's operands, or tangents of its results, in their order. One that is `None` is zero; without a list
/// they are those of the op's [plain](Op::plain) graph.
pub type Derivatives<'g> = Option<Vec<Option<Tensor<'g>>>>;

/// Operands of an op of which some are stacked: `k` values of the operand's type along a new first axis.
#[derive(Debug, Clone, Copy)]
pub struct Stacked<'a, 'g> {
    /// How many.
    pub k: usize,
    /// The operands.
    pub x: &'a [Tensor<'g>],
    /// Which of them are stacked.
    pub is: &'a [bool],
}

/// One mathematical operation.
///
/// Its derivatives are those of [`Op::plain`], a graph of simpler ops, unless `vjp` and `jvp` give others.
pub trait Op: Same + fmt::Debug + Send + Sync + 'static {
    /// The op's one name: of its files, of its method on [`Tensor`], of its rows in tests and benches.
    fn name(&self) -> &'static str;

    /// The shape rule.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) or [`Error::DType`](crate::Error::DType) for operands that the op does not
    /// admit.
    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>>;

    /// The dispatches that compute it on a device of this class.
    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches;

    /// The evaluation in f32 on all cores.
    fn host(&self, x: &[Operand<f32>], y: &mut [OutMut<f32>]);

    /// The same evaluation in f64.
    fn reference(&self, x: &[Operand<f64>], y: &mut [OutMut<f64>]);

    /// The definition of a fused op as a graph of simpler ones.
    ///
    /// # Errors
    ///
    /// Those of the ops that it is made of.
    fn plain<'g>(&self, _x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(None)
    }

    /// Cotangents of the operands from those of the results.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`](crate::Error::NoRule) where there is none.
    fn vjp<'g>(&self, _at: At<'_, 'g>, _ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(None)
    }

    /// Tangents of the results from those of the operands.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`](crate::Error::NoRule) where there is none.
    fn jvp<'g>(&self, _at: At<'_, 'g>, _dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(None)
    }

    /// The results for several values of some operands at once, stacked; `None` where it is to be repeated for each.
    ///
    /// # Errors
    ///
    /// Those of the ops that it is made of.
    fn batched<'g>(&self, _x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(None)
    }

    /// For an update of one parameter: the op that moves several of them by the same rule at the same rates, which are the
    /// last operand, on a device that binds so many storage buffers at once.
    fn together(&self, _buffers: usize) -> Option<Arc<dyn Op>> {
        None
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
}

/// What makes an op the same as another: equal types and equal constants, so that equal nodes of a graph are computed once.
/// Whatever has `PartialEq` has it.
pub trait Same: Any {
    /// For the compiler's patterns, which look for ops by type.
    fn as_any(&self) -> &dyn Any;

    /// Whether the other is of this type and equal.
    fn same(&self, other: &dyn Any) -> bool;
}

impl<T: PartialEq + Any> Same for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn same(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}

/// `host` and `reference` by one `eval` that is generic over the float, given loops for each where they differ.
macro_rules! cpu {
    () => {
        crate::graph::op::cpu!(,);
    };
    ($($host:path)?, $($reference:path)?) => {
        fn host(&self, x: &[crate::cpu::buffer::Operand<f32>], y: &mut [crate::cpu::buffer::OutMut<f32>]) {
            self.eval(x, y $(, $host)?)
        }

        fn reference(&self, x: &[crate::cpu::buffer::Operand<f64>], y: &mut [crate::cpu::buffer::OutMut<f64>]) {
            self.eval(x, y $(, $reference)?)
        }
    };
}
pub(crate) use cpu;

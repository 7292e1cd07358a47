//! f16 activations: what the backward pass reads of the forward pass, stored as 16-bit floats in between.

use crate::{
    error::Result,
    graph::{At, Graph, Node, Source, Tensor, Var},
    tensor::DType,
};

/// How many times smaller than what it is made of a value is that is stored as it is: a statistic, or a loss.
const REDUCED: usize = 8;

/// Operands and results of a node as its derivative rule reads them.
#[derive(Debug)]
pub(crate) struct Read<'g> {
    x: Vec<Tensor<'g>>,
    y: Vec<Tensor<'g>>,
}

impl<'g> Read<'g> {
    pub(crate) fn at(&self) -> At<'_, 'g> {
        At { x: &self.x, y: &self.y }
    }

    /// The node's own operands and results.
    pub(crate) fn exactly(g: &'g Graph, node: &Node) -> Self {
        Read { x: g.tensors(&node.x), y: g.tensors(&node.y) }
    }
}

impl Graph {
    /// Whether, from here on, [`Graph::vjp`] and [`Tensor::grad`] read the values that ops made before them as 16-bit floats
    /// ([`Tensor::pack_f16`]). Between the two passes of a training step such a value takes half the memory, for as it is it
    /// ends where the first pass needs it no longer; the results of the first pass do not change.
    ///
    /// Inputs, states and literals are read as they are, and so are values that are eight times smaller than what they are
    /// made of, such as statistics and losses, and the operands of these. Derivatives of what was read go on through the
    /// values themselves. Values above 65,504 are infinite where they are read, which the gradient shows.
    pub fn store_f16(&self, on: bool) {
        self.f16.set(on);
    }

    /// What the rule of a node reads. Each rule has its own, so that a value is taken back where it is first read and not
    /// where a rule was first asked; the compiler merges what is equal.
    pub(crate) fn read_back(&self, n: usize) -> Result<Read<'_>> {
        let node = self.node(n);
        if node.y.iter().all(|&y| self.is_reduced(y)) {
            return Ok(Read::exactly(self, node));
        }
        let x = node.x.iter().map(|&x| self.stored(x)).collect::<Result<Vec<_>>>()?;
        // Results are compared with operands: both are rounded, or neither.
        let rounded = x.iter().zip(&node.x).all(|(a, &b)| a.var() != b || self.ty(b).dtype != DType::F32);
        let y = match rounded {
            true => node.y.iter().map(|&y| self.stored(y)).collect::<Result<_>>()?,
            false => self.tensors(&node.y),
        };
        Ok(Read { x, y })
    }

    /// The value as it is read back.
    fn stored(&self, v: Var) -> Result<Tensor<'_>> {
        let (n, own) = (self.node_index(v), self.tensor(v));
        let node = self.node(n);
        match &node.source {
            Source::Op(op) if op.is_view() => {
                let x = self.stored(node.x[0])?;
                Ok(if x.var() == node.x[0] { own } else { self.push_all(op.clone(), &[x])?[0] })
            }
            Source::Op(_) if self.ty(v).dtype == DType::F32 && !node.x.is_empty() && !self.is_reduced(v) => {
                let words = self.beside(Some(n), || own.pack_f16());
                Ok(words.unpack_f16(own.shape()?))
            }
            _ => Ok(own),
        }
    }

    /// Whether a value is much smaller than what ops made that it is made of.
    fn is_reduced(&self, v: Var) -> bool {
        let made = |x: &&Var| matches!(self.node_of(**x).source, Source::Op(_)) && self.ty(**x).dtype == DType::F32;
        let most = self.node_of(v).x.iter().filter(made).map(|&x| self.ty(x).count()).max();
        most.is_some_and(|most| REDUCED * self.ty(v).count() <= most)
    }

    /// Whether a value has derivatives: floats, and packed ones.
    pub(crate) fn has_derivatives(&self, x: Var) -> bool {
        self.ty(x).dtype != DType::U32
    }
}

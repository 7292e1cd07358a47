//! Stacks of values, as `vmap` takes them, by graphs of ops: items, repetition, the axis of a stack merged with another.

use crate::{error::*, graph::*};

impl<'g> Tensor<'g> {
    /// `k` times the same along a new first axis.
    pub(crate) fn repeat(self, k: usize) -> Result<Tensor<'g>> {
        Ok(self.broadcast(&[&[k], self.shape()?].concat()))
    }

    /// One value of a stack.
    pub(crate) fn item(self, i: usize) -> Result<Tensor<'g>> {
        Ok(self.slice(0, i, 1).reshape(&self.shape()?[1..]))
    }

    /// The stack with its axis moved to `axis` and merged with the one that is there.
    pub(crate) fn fold_stack(self, axis: usize) -> Result<Tensor<'g>> {
        let mut order: Vec<usize> = (1..self.shape()?.len()).collect();
        order.insert(axis, 0);
        let moved = self.transpose(&order);
        let mut shape = moved.shape()?.to_vec();
        let k = shape.remove(axis);
        shape[axis] *= k;
        Ok(moved.reshape(&shape))
    }

    /// The inverse of [`Tensor::fold_stack`].
    pub(crate) fn unfold_stack(self, axis: usize, k: usize) -> Result<Tensor<'g>> {
        let mut shape = self.shape()?.to_vec();
        shape[axis] /= k;
        shape.insert(axis, k);
        let order: Vec<usize> = [axis].into_iter().chain((0..shape.len()).filter(|&a| a != axis)).collect();
        Ok(self.reshape(&shape).transpose(&order))
    }
}

/// A stack of scalars, vectors, … as operand of an op whose other operands have `rank` axes beside the stack's.
pub(crate) fn align(stack: Tensor, rank: usize) -> Result<Tensor> {
    let shape = stack.shape()?;
    let gap = vec![1; (rank + 1).saturating_sub(shape.len())];
    Ok(stack.reshape(&[&shape[..1], &gap, &shape[1..]].concat()))
}

/// All operands as stacks.
pub(crate) fn all_stacked<'g>(x: Stacked<'_, 'g>) -> Result<Vec<Tensor<'g>>> {
    x.x.iter().zip(x.is).map(|(&v, &stacked)| if stacked { Ok(v) } else { v.repeat(x.k) }).collect()
}

/// The same op on all operands as stacks that are merged with the first axis.
pub(crate) fn on_stacks<'g>(op: impl Op, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
    let all = all_stacked(x)?.into_iter().map(|v| v.fold_stack(0)).collect::<Result<Vec<_>>>()?;
    let y = all[0].graph().apply_all(op, &all)?;
    y.into_iter().map(|y| y.unfold_stack(0, x.k)).collect::<Result<_>>().map(Some)
}

/// The stacks of what `make` gives for each of the items.
pub(crate) fn one_by_one<'g>(
    x: Stacked<'_, 'g>, make: impl Fn(&[Tensor<'g>]) -> Result<Vec<Tensor<'g>>>,
) -> Result<Vec<Tensor<'g>>> {
    let mut made: Vec<Vec<Tensor>> = Vec::new();
    for i in 0..x.k {
        let own = x.x.iter().zip(x.is).map(|(&v, &stacked)| if stacked { v.item(i) } else { Ok(v) });
        made.push(make(&own.collect::<Result<Vec<_>>>()?)?);
    }
    let stack = |result: usize| -> Tensor {
        let rows: Vec<Tensor> = made.iter().map(|y| y[result].unsqueeze(&[0])).collect();
        if rows.len() == 1 { rows[0] } else { rows[0].graph().concat(&rows, 0) }
    };
    Ok((0..made[0].len()).map(stack).collect())
}

/// Number of axes of one value of an operand.
pub(crate) fn rank(x: Tensor, stacked: bool) -> Result<usize> {
    Ok(x.shape()?.len() - usize::from(stacked))
}

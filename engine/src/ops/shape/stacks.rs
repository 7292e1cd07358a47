//! Values for several values of an operand at once, stacked along a new first axis.

use crate::{
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::Stacked,
    },
    tensor::dtype::Type,
};

impl Graph {
    /// `k` times the same along a new first axis.
    pub(crate) fn repeat(&mut self, x: Var, k: usize) -> Result<Var> {
        let shape = [&[k], self.shape(x)].concat();
        self.broadcast(x, &shape)
    }

    /// A stack of scalars, vectors, … as operand of an op whose other operands have `rank` axes beside the stack's.
    pub(crate) fn align(&mut self, stack: Var, rank: usize) -> Result<Var> {
        let shape = self.shape(stack).to_vec();
        let gap = vec![1; (rank + 1).saturating_sub(shape.len())];
        self.reshape(stack, &[&shape[..1], &gap, &shape[1..]].concat())
    }

    /// The stacks of what `make` gives for each of the members.
    pub(crate) fn one_by_one(
        &mut self,
        x: Stacked,
        make: impl Fn(&mut Graph, &[Var]) -> Result<Vec<Var>>,
    ) -> Result<Vec<Var>> {
        let mut made: Vec<Vec<Var>> = Vec::new();
        for i in 0..x.k {
            let mut own = Vec::new();
            for (&v, &stacked) in x.x.iter().zip(x.is) {
                own.push(if stacked { self.member(v, i)? } else { v });
            }
            made.push(make(self, &own)?);
        }
        (0..made[0].len())
            .map(|result| {
                let rows = made.iter().map(|y| self.unsqueeze(y[result], &[0])).collect::<Result<Vec<_>>>()?;
                if rows.len() == 1 { Ok(rows[0]) } else { self.concat(&rows, 0) }
            })
            .collect()
    }

    /// One value of a stack.
    pub(crate) fn member(&mut self, stack: Var, i: usize) -> Result<Var> {
        let row = self.slice(stack, 0, i, 1)?;
        let shape = self.shape(stack)[1..].to_vec();
        self.reshape(row, &shape)
    }

    /// The stack with its axis moved to `axis` and merged with the one that is there.
    pub(crate) fn fold_stack(&mut self, stack: Var, axis: usize) -> Result<Var> {
        let rank = self.shape(stack).len();
        let mut order: Vec<usize> = (1..rank).collect();
        order.insert(axis, 0);
        let moved = self.transpose(stack, &order)?;
        let mut shape = self.shape(moved).to_vec();
        let k = shape.remove(axis);
        shape[axis] *= k;
        self.reshape(moved, &shape)
    }

    /// The inverse of [`Graph::fold_stack`].
    pub(crate) fn unfold_stack(&mut self, x: Var, axis: usize, k: usize) -> Result<Var> {
        let mut shape = self.shape(x).to_vec();
        shape[axis] /= k;
        shape.insert(axis, k);
        let apart = self.reshape(x, &shape)?;
        let order: Vec<usize> = [axis].into_iter().chain((0..shape.len()).filter(|&a| a != axis)).collect();
        self.transpose(apart, &order)
    }
}

/// Number of axes of one value of an operand.
pub(crate) fn rank(ty: &Type, stacked: bool) -> usize {
    ty.shape.len() - usize::from(stacked)
}

//! Values for several values of an operand at once, stacked along a new first axis.

use std::collections::HashMap;

use crate::{Error, Graph, Result, Source, Type, Var};

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

impl Graph {
    /// `y` for `k` values of `from` at once: `stacked` holds them along a new first axis, the results have it too.
    ///
    /// An op that knows how takes all of them in one dispatch, reading what does not change once; any other is
    /// repeated for each.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when `stacked` does not hold `k` values of the types of `from`.
    pub fn batch(&mut self, y: &[Var], from: &[Var], stacked: &[Var]) -> Result<Vec<Var>> {
        let k = stacked.first().and_then(|&v| self.shape(v).first().copied()).unwrap_or(1);
        let holds = |g: &Self, from: Var, to: Var| {
            let (one, all) = (g.ty(from), g.ty(to));
            one.dtype == all.dtype && all.shape.first() == Some(&k) && all.shape[1..] == one.shape
        };
        if from.len() != stacked.len() || !from.iter().zip(stacked).all(|(&a, &b)| holds(self, a, b)) {
            let list = |v: &[Var]| v.iter().map(|&v| self.ty(v).to_string()).collect::<Vec<_>>().join(" ");
            let rule = format!("the operands are stacks of one height of {}", list(from));
            return Err(Error::Shape { op: "batch", rule, got: list(stacked) });
        }
        let (nodes, _) = self.between(from, y);
        let mut now: HashMap<Var, Var> = from.iter().copied().zip(stacked.iter().copied()).collect();
        for n in nodes {
            let node = self.nodes()[n].clone();
            let Source::Op(op) = &node.source else { continue };
            let x: Vec<Var> = node.x.iter().map(|x| *now.get(x).unwrap_or(x)).collect();
            let is: Vec<bool> = node.x.iter().map(|x| now.contains_key(x)).collect();
            // Beside the node that they are many of, so that the compiler keeps its order.
            self.place_beside(Some(n));
            let made = match op.batched(self, Stacked { k, x: &x, is: &is }) {
                Ok(None) => self.one_by_one(Stacked { k, x: &x, is: &is }, |g, x| g.push(op.clone(), x)).map(Some),
                made => made,
            };
            self.place_beside(None);
            let made = made?.unwrap_or_default();
            for (&y, made) in node.y.iter().zip(made) {
                now.entry(y).or_insert(made);
            }
        }
        y.iter()
            .map(|y| match now.get(y) {
                Some(&stack) => Ok(stack),
                None => self.repeat(*y, k),
            })
            .collect()
    }

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

//! Values for several values of an operand at once, stacked along a new first axis.

use std::collections::HashMap;

use crate::{
    error::{Error, Result},
    graph::{
        graph::{Graph, Source, Var},
        op::Stacked,
    },
};

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
}

//! `vmap`: a graph for several values of some operands at once, stacked along a new first axis.

use std::collections::HashMap;

use crate::{
    error::{Error, Result},
    graph::{Graph, Source, Stacked, Tensor, Var, vars},
    ops::shape::stacks::one_by_one,
};

impl Graph {
    /// `y` for `k` values of `from` at once: `stacked` holds them along a new first axis, the results have it too.
    ///
    /// An op that knows how takes all of them in one dispatch, reading what does not change once; any other is
    /// repeated for each.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when `stacked` does not hold `k` values of the types of `from`, and a rule that was broken before.
    pub fn vmap<'g>(
        &'g self, y: &[Tensor<'g>], from: &[Tensor<'g>], stacked: &[Tensor<'g>],
    ) -> Result<Vec<Tensor<'g>>> {
        self.expect_own(&[y, from, stacked])?;
        let k = stacked.first().and_then(|v| self.shape(v.var()).first().copied()).unwrap_or(1);
        let holds = |(from, to): (&Tensor, &Tensor)| {
            let (one, all) = (self.ty(from.var()), self.ty(to.var()));
            one.dtype == all.dtype && all.shape.first() == Some(&k) && all.shape[1..] == one.shape
        };
        if from.len() != stacked.len() || !from.iter().zip(stacked).all(holds) {
            let list = |v: &[Tensor]| v.iter().map(|v| self.ty(v.var()).to_string()).collect::<Vec<_>>().join(" ");
            let rule = format!("the operands are stacks of one batch size of {}", list(from));
            return Err(Error::Shape { op: "vmap", rule, got: list(stacked) });
        }
        let (nodes, _) = self.between(&vars(from), &vars(y));
        let mut now: HashMap<Var, Tensor> = vars(from).into_iter().zip(stacked.iter().copied()).collect();
        for n in nodes {
            let node = self.node(n);
            let Source::Op(op) = &node.source else { continue };
            let x: Vec<Tensor> = node.x.iter().map(|&x| now.get(&x).copied().unwrap_or(self.tensor(x))).collect();
            let is: Vec<bool> = node.x.iter().map(|x| now.contains_key(x)).collect();
            let x = Stacked { k, x: &x, is: &is };
            // Beside the node that they are many of, so that the compiler keeps its order.
            let made = self.beside(Some(n), || match op.batched(x)? {
                Some(made) => Ok(made),
                None => one_by_one(x, |x| self.push_all(op.clone(), x)),
            })?;
            for (&y, made) in node.y.iter().zip(made) {
                now.entry(y).or_insert(made);
            }
        }
        self.check()?;
        y.iter().map(|y| now.get(&y.var()).map_or_else(|| y.repeat(k), |&stack| Ok(stack))).collect()
    }
}

//! Derivatives as graph transformations: reverse mode, forward mode, and their composition.

use std::collections::{HashMap, HashSet};

use crate::{
    diff::f16::Read,
    error::{Error, Result},
    graph::{At, Graph, Op, Source, Tensor, Var, vars},
};

impl<'g> Tensor<'g> {
    /// The gradient of a scalar: [`Graph::vjp`] with cotangent 1.
    ///
    /// # Errors
    ///
    /// Those of [`Graph::vjp`], and [`Error::Shape`] when it is not a scalar.
    pub fn grad(self, wrt: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        if self.count()? != 1 {
            let got = format!("{:?}", self.shape()?);
            return Err(Error::Shape { op: "grad", rule: "the loss is a scalar".into(), got });
        }
        self.graph().vjp(&[self], &[self.fill_like(1.0)], wrt)
    }

    /// The Hessian-vector product `∂²loss/∂x² v` of a scalar, forward over reverse (Pearlmutter 1994).
    ///
    /// # Errors
    ///
    /// Those of [`Tensor::grad`] and [`Graph::jvp`].
    pub fn hvp(self, wrt: &[Tensor<'g>], v: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        self.graph().jvp(&self.grad(wrt)?, wrt, v)
    }
}

impl Graph {
    /// Reverse mode: `Σₖ (∂yₖ/∂x)ᵀ ctₖ` for each `x` in `wrt`, zeros where `y` does not depend on it. Of two values in `wrt`
    /// of which one depends on the other, each is held fixed for the derivative in the other.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`] when an op on the way has no rule, [`Error::Shape`] when a cotangent does not match its result, and
    /// a rule that was broken before.
    pub fn vjp<'g>(&'g self, y: &[Tensor<'g>], ct: &[Tensor<'g>], wrt: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        self.expect_own(&[y, ct, wrt])?;
        same_types("vjp", y, ct)?;
        let ct: Vec<_> = ct.iter().copied().map(Some).collect();
        Ok(filled(self.pull(y, &ct, wrt, self.f16.get())?, wrt))
    }

    /// Forward mode: `Σₓ (∂y/∂x) dx` for each `y`, zeros where it depends on no `x` in `wrt`.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`] when an op on the way has no rule, [`Error::Shape`] when a tangent does not match its operand, and a
    /// rule that was broken before.
    pub fn jvp<'g>(&'g self, y: &[Tensor<'g>], wrt: &[Tensor<'g>], dx: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        self.expect_own(&[y, wrt, dx])?;
        same_types("jvp", wrt, dx)?;
        let dx: Vec<_> = dx.iter().copied().map(Some).collect();
        Ok(filled(self.push_forward(y, wrt, &dx)?, y))
    }

    /// `y` as it is when each value of `from` is the one of `to` at the same place: the ops between are added again.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when the types differ, and a rule that was broken before.
    pub fn substitute<'g>(
        &'g self, y: &[Tensor<'g>], from: &[Tensor<'g>], to: &[Tensor<'g>],
    ) -> Result<Vec<Tensor<'g>>> {
        self.expect_own(&[y, from, to])?;
        same_types("substitute", from, to)?;
        let (from, y) = (vars(from), vars(y));
        let (nodes, _) = self.between(&from, &y);
        let mut now: HashMap<Var, Var> = from.iter().copied().zip(vars(to)).collect();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for n in nodes {
            let node = self.node(n);
            let Source::Op(op) = &node.source else { continue };
            let x: Vec<Var> = node.x.iter().map(|x| *now.get(x).unwrap_or(x)).collect();
            // A tangent stays beside the value that it belongs to, where that is added again too.
            let place = places.get(&self.anchor(n)).copied();
            let made = self.beside(place, || self.push(op.clone(), &x))?;
            places.insert(n, self.node_index(made[0]));
            for (&y, made) in node.y.iter().zip(made) {
                now.entry(y).or_insert(made);
            }
        }
        Ok(y.iter().map(|y| self.tensor(*now.get(y).unwrap_or(y))).collect())
    }

    /// The nodes between `from` and `to`, in order: those on which a value of `to` depends and that depend on `from`.
    pub(crate) fn between(&self, from: &[Var], to: &[Var]) -> (Vec<usize>, HashSet<Var>) {
        let mut live: HashSet<Var> = from.iter().copied().collect();
        let mut seen: HashSet<Var> = HashSet::new();
        let mut stack: Vec<Var> = to.to_vec();
        let mut visited = HashSet::new();
        while let Some(v) = stack.pop() {
            if seen.insert(v) && !live.contains(&v) && visited.insert(self.node_index(v)) {
                stack.extend(&self.node_of(v).x);
            }
        }
        let mut nodes: Vec<usize> = visited.into_iter().collect();
        nodes.sort_unstable();
        nodes.retain(|&n| {
            let node = self.node(n);
            let depends = node.x.iter().any(|x| live.contains(x));
            if depends {
                live.extend(&node.y);
            }
            depends
        });
        (nodes, live)
    }

    /// Cotangents of `wrt` from those of `y`; `None` stands for zero. What rules read is stored as 16-bit floats if `halves`.
    fn pull<'g>(
        &'g self, y: &[Tensor<'g>], ct: &[Option<Tensor<'g>>], wrt: &[Tensor<'g>], halves: bool,
    ) -> Result<Vec<Option<Tensor<'g>>>> {
        let (nodes, live) = self.between(&vars(wrt), &vars(y));
        let mut cts: HashMap<Var, Tensor> = HashMap::new();
        for (y, ct) in y.iter().zip(ct) {
            add_to(&mut cts, y.var(), *ct);
        }
        for n in nodes.into_iter().rev() {
            let node = self.node(n);
            let own: Vec<_> = node.y.iter().map(|y| cts.get(y).copied()).collect();
            let Source::Op(op) = &node.source else { continue };
            if own.iter().all(Option::is_none) {
                continue;
            }
            let read = if halves { self.read_back(n)? } else { Read::exactly(self, node) };
            let pulled = match op.vjp(read.at(), &own)? {
                Some(pulled) => pulled,
                // What the plain graph differentiates is of this pass and not stored.
                None => {
                    let x = apart(read.at().x)?;
                    self.pull(&plain(op.as_ref(), &x, "vjp")?, &own, &x, false)?
                }
            };
            check_count(op.name(), "vjp", pulled.len(), node.x.len())?;
            for (&x, term) in node.x.iter().zip(pulled) {
                if live.contains(&x) && self.has_derivatives(x) {
                    add_to(&mut cts, x, term);
                }
            }
        }
        self.check()?;
        Ok(wrt.iter().map(|x| cts.get(&x.var()).copied()).collect())
    }

    /// Tangents of `y` from those of `wrt`; `None` stands for zero.
    fn push_forward<'g>(
        &'g self, y: &[Tensor<'g>], wrt: &[Tensor<'g>], dx: &[Option<Tensor<'g>>],
    ) -> Result<Vec<Option<Tensor<'g>>>> {
        let moved = wrt.iter().zip(dx).filter(|(_, dx)| dx.is_some()).map(|(x, _)| x.var());
        let from: Vec<Var> = moved.collect();
        let fixed: HashSet<Var> = from.iter().copied().collect();
        let (nodes, _) = self.between(&from, &vars(y));
        let mut tangents: HashMap<Var, Tensor> = HashMap::new();
        for (x, dx) in wrt.iter().zip(dx) {
            add_to(&mut tangents, x.var(), *dx);
        }
        for n in nodes {
            let node = self.node(n);
            let own: Vec<_> = node.x.iter().map(|x| tangents.get(x).copied()).collect();
            let Source::Op(op) = &node.source else { continue };
            if own.iter().all(Option::is_none) {
                continue;
            }
            let read = Read::exactly(self, node);
            let pushed = self.beside(Some(n), || self.push_rule(op.as_ref(), read.at(), &own))?;
            check_count(op.name(), "jvp", pushed.len(), node.y.len())?;
            for (&y, term) in node.y.iter().zip(pushed) {
                if let Some(term) = term
                    && !fixed.contains(&y)
                {
                    tangents.insert(y, term);
                }
            }
        }
        self.check()?;
        Ok(y.iter().map(|y| tangents.get(&y.var()).copied()).collect())
    }

    fn push_rule<'g>(
        &'g self, op: &dyn Op, at: At<'_, 'g>, own: &[Option<Tensor<'g>>],
    ) -> Result<Vec<Option<Tensor<'g>>>> {
        match op.jvp(at, own)? {
            Some(pushed) => Ok(pushed),
            None => {
                let x = apart(at.x)?;
                self.push_forward(&plain(op, &x, "jvp")?, &x, own)
            }
        }
    }
}

/// The plain graph of an op that has no rule of its own.
fn plain<'g>(op: &dyn Op, x: &[Tensor<'g>], rule: &'static str) -> Result<Vec<Tensor<'g>>> {
    op.plain(x)?.ok_or(Error::NoRule { op: op.name(), rule, why: "it is not differentiable" })
}

/// The operands, with a view in place of one that is there before: a plain graph and its derivatives tell them apart.
fn apart<'g>(x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
    let mut seen = HashSet::new();
    x.iter().map(|&x| if seen.insert(x.var()) { Ok(x) } else { x.view() }).collect()
}

fn add_to<'g>(sums: &mut HashMap<Var, Tensor<'g>>, var: Var, term: Option<Tensor<'g>>) {
    if let Some(term) = term {
        let sum = sums.get(&var).map_or(term, |&sum| sum + term);
        sums.insert(var, sum);
    }
}

fn filled<'g>(found: Vec<Option<Tensor<'g>>>, like: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
    found.into_iter().zip(like).map(|(found, like)| found.unwrap_or_else(|| like.fill_like(0.0))).collect()
}

fn same_types(op: &'static str, x: &[Tensor], dx: &[Tensor]) -> Result<()> {
    let list = |x: &[Tensor]| Ok(x.iter().map(|x| Ok(x.ty()?.to_string())).collect::<Result<Vec<_>>>()?.join(" "));
    let alike = |(x, dx): (&Tensor, &Tensor)| matches!((x.ty(), dx.ty()), (Ok(x), Ok(dx)) if x == dx);
    if x.len() != dx.len() || !x.iter().zip(dx).all(alike) {
        return Err(Error::Shape { op, rule: format!("derivatives have the types {}", list(x)?), got: list(dx)? });
    }
    Ok(())
}

fn check_count(op: &'static str, rule: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Shape { op, rule: format!("its {rule} gives {expected} derivatives"), got: got.to_string() })
}

//! Derivatives as graph transformations: reverse mode, forward mode, and their composition.

use std::{
    collections::{HashMap, HashSet},
    mem,
};

use crate::{
    diff::f16::Read,
    error::{Error, Result},
    graph::{
        graph::{Graph, Source, Var},
        op::At,
    },
};

impl Graph {
    /// Reverse mode: `Σₖ (∂yₖ/∂x)ᵀ ctₖ` for each `x` in `wrt`, zeros where `y` does not depend on it.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`] when an op on the way has no rule, [`Error::Shape`] when a cotangent does not match its result.
    pub fn vjp(&mut self, y: &[Var], ct: &[Var], wrt: &[Var]) -> Result<Vec<Var>> {
        self.same_types("vjp", y, ct)?;
        let ct: Vec<_> = ct.iter().copied().map(Some).collect();
        let found = pull(self, y, &ct, wrt)?;
        self.fill_gaps(found, wrt)
    }

    /// The gradient of a scalar: [`Graph::vjp`] with cotangent 1.
    ///
    /// # Errors
    ///
    /// Those of [`Graph::vjp`], and [`Error::Shape`] when `loss` is not a scalar.
    pub fn grad(&mut self, loss: Var, wrt: &[Var]) -> Result<Vec<Var>> {
        if self.ty(loss).count() != 1 {
            let got = format!("{:?}", self.shape(loss));
            return Err(Error::Shape { op: "grad", rule: "the loss is a scalar".into(), got });
        }
        let one = self.fill_like(loss, 1.0)?;
        self.vjp(&[loss], &[one], wrt)
    }

    /// Forward mode: `Σₓ (∂y/∂x) dx` for each `y`, zeros where it depends on no `x` in `wrt`.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`] when an op on the way has no rule, [`Error::Shape`] when a tangent does not match its operand.
    pub fn jvp(&mut self, y: &[Var], wrt: &[Var], dx: &[Var]) -> Result<Vec<Var>> {
        self.same_types("jvp", wrt, dx)?;
        let dx: Vec<_> = dx.iter().copied().map(Some).collect();
        let found = push(self, y, wrt, &dx)?;
        self.fill_gaps(found, y)
    }

    /// The Hessian-vector product `∂²loss/∂x² v`, forward over reverse (Pearlmutter 1994).
    ///
    /// # Errors
    ///
    /// Those of [`Graph::grad`] and [`Graph::jvp`].
    pub fn hvp(&mut self, loss: Var, wrt: &[Var], v: &[Var]) -> Result<Vec<Var>> {
        let gradient = self.grad(loss, wrt)?;
        self.jvp(&gradient, wrt, v)
    }

    /// `y` as it is when each value of `from` is the one of `to` at the same place: the ops between are added again.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when the types differ.
    pub fn replay(&mut self, y: &[Var], from: &[Var], to: &[Var]) -> Result<Vec<Var>> {
        self.same_types("replay", from, to)?;
        let (nodes, _) = self.between(from, y);
        let mut now: HashMap<Var, Var> = from.iter().copied().zip(to.iter().copied()).collect();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for n in nodes {
            let node = self.nodes()[n].clone();
            let Source::Op(op) = node.source else { continue };
            let x: Vec<Var> = node.x.iter().map(|x| *now.get(x).unwrap_or(x)).collect();
            // A tangent stays beside the value that it belongs to, where that is replayed too.
            self.place_beside(places.get(&self.anchor(n)).copied());
            let made = self.push(op, &x);
            self.place_beside(None);
            let made = made?;
            places.insert(n, self.node_index(made[0]));
            for (y, made) in node.y.into_iter().zip(made) {
                now.entry(y).or_insert(made);
            }
        }
        Ok(y.iter().map(|y| *now.get(y).unwrap_or(y)).collect())
    }

    fn same_types(&self, op: &'static str, x: &[Var], dx: &[Var]) -> Result<()> {
        let list = |x: &[Var]| x.iter().map(|&x| self.ty(x).to_string()).collect::<Vec<_>>().join(" ");
        if x.len() != dx.len() || x.iter().zip(dx).any(|(&x, &dx)| self.ty(x) != self.ty(dx)) {
            let rule = format!("derivatives have the types {}", list(x));
            return Err(Error::Shape { op, rule, got: list(dx) });
        }
        Ok(())
    }

    fn fill_gaps(&mut self, found: Vec<Option<Var>>, like: &[Var]) -> Result<Vec<Var>> {
        found
            .into_iter()
            .zip(like)
            .map(|(found, &like)| match found {
                Some(found) => Ok(found),
                None => self.fill_like(like, 0.0),
            })
            .collect()
    }

    /// The nodes between `from` and `to`, in order: those on which a value of `to` depends and that depend on `from`.
    pub(crate) fn between(&self, from: &[Var], to: &[Var]) -> (Vec<usize>, HashSet<Var>) {
        let mut seen: HashSet<Var> = HashSet::new();
        let mut stack: Vec<Var> = to.to_vec();
        let mut ancestors = Vec::new();
        let mut visited = HashSet::new();
        while let Some(v) = stack.pop() {
            if !seen.insert(v) || from.contains(&v) {
                continue;
            }
            let node = self.node_index(v);
            if visited.insert(node) {
                ancestors.push(node);
                stack.extend(&self.nodes()[node].x);
            }
        }
        ancestors.sort_unstable();
        let mut live: HashSet<Var> = from.iter().copied().collect();
        ancestors.retain(|&n| {
            let node = &self.nodes()[n];
            let depends = node.x.iter().any(|x| live.contains(x));
            if depends {
                live.extend(&node.y);
            }
            depends
        });
        (ancestors, live)
    }

    fn accumulate(&mut self, slot: &mut Option<Var>, term: Var) -> Result<()> {
        *slot = Some(match *slot {
            None => term,
            Some(sum) => self.add(sum, term)?,
        });
        Ok(())
    }
}

/// Cotangents of `wrt` from those of `y`; `None` stands for zero.
pub(crate) fn pull(g: &mut Graph, y: &[Var], ct: &[Option<Var>], wrt: &[Var]) -> Result<Vec<Option<Var>>> {
    // What a rule differentiates on its own is of this pass and not stored.
    let halves = mem::take(&mut g.halves);
    let found = pull_through(g, y, ct, wrt, halves);
    g.halves = halves;
    found
}

fn pull_through(g: &mut Graph, y: &[Var], ct: &[Option<Var>], wrt: &[Var], halves: bool) -> Result<Vec<Option<Var>>> {
    let (nodes, live) = g.between(wrt, y);
    let mut cts: Vec<Option<Var>> = vec![None; g.value_count()];
    for (&y, &ct) in y.iter().zip(ct) {
        if let Some(ct) = ct {
            g.accumulate(&mut cts[y.index()], ct)?;
        }
    }
    for n in nodes.into_iter().rev() {
        let node = g.nodes()[n].clone();
        let own: Vec<_> = node.y.iter().map(|y| cts[y.index()]).collect();
        let Source::Op(op) = &node.source else { continue };
        if own.iter().all(Option::is_none) {
            continue;
        }
        let read = if halves { g.read_back(n)? } else { Read::exactly(&node) };
        let pulled = op.vjp(g, read.at(), &own)?;
        check_count(op.name(), "vjp", pulled.len(), node.x.len())?;
        for (&x, term) in node.x.iter().zip(pulled) {
            if let Some(term) = term
                && live.contains(&x)
                && g.has_derivatives(x)
            {
                g.accumulate(&mut cts[x.index()], term)?;
            }
        }
    }
    Ok(wrt.iter().map(|x| cts[x.index()]).collect())
}

/// Tangents of `y` from those of `wrt`; `None` stands for zero.
pub(crate) fn push(g: &mut Graph, y: &[Var], wrt: &[Var], dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
    let halves = mem::take(&mut g.halves);
    let found = push_through(g, y, wrt, dx);
    g.halves = halves;
    found
}

fn push_through(g: &mut Graph, y: &[Var], wrt: &[Var], dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
    let from: Vec<Var> = wrt.iter().zip(dx).filter(|(_, dx)| dx.is_some()).map(|(&x, _)| x).collect();
    let (nodes, _) = g.between(&from, y);
    let mut tangents: Vec<Option<Var>> = vec![None; g.value_count()];
    for (&x, &dx) in wrt.iter().zip(dx) {
        if let Some(dx) = dx {
            g.accumulate(&mut tangents[x.index()], dx)?;
        }
    }
    for n in nodes {
        let node = g.nodes()[n].clone();
        let own: Vec<_> = node.x.iter().map(|x| tangents[x.index()]).collect();
        let Source::Op(op) = &node.source else { continue };
        if own.iter().all(Option::is_none) {
            continue;
        }
        g.place_beside(Some(n));
        let pushed = op.jvp(g, At { x: &node.x, y: &node.y }, &own);
        g.place_beside(None);
        let pushed = pushed?;
        check_count(op.name(), "jvp", pushed.len(), node.y.len())?;
        for (y, term) in node.y.iter().zip(pushed) {
            if !from.contains(y) {
                tangents[y.index()] = term;
            }
        }
    }
    Ok(y.iter().map(|y| tangents[y.index()]).collect())
}

fn check_count(op: &'static str, rule: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Shape { op, rule: format!("its {rule} gives {expected} derivatives"), got: got.to_string() })
}

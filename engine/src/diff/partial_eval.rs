//! Partial evaluation: a graph divided into what depends on some of its values, and what does not and can be kept.

use std::collections::{HashMap, HashSet};

use crate::{
    compile::{Compiled, Fusions, Named, rebuild},
    error::{Error, Result},
    graph::{Graph, Source, Tensor, Var, vars},
};

/// Two graphs from one, such that running `before` once and then `after` any number of times, each time with other values
/// of the inputs or states that it was split on, gives what the whole graph gives.
#[derive(Debug, Clone)]
pub struct PartialEval {
    /// Computes what does not depend on those values, and keeps in states what `after` needs of it.
    pub before: Graph,
    /// The outputs that `before` computes, in the order in which they were asked for.
    pub fixed: Vec<Var>,
    /// Computes the rest.
    pub after: Graph,
    /// The outputs that `after` computes, in the order in which they were asked for.
    pub varying: Vec<Var>,
    /// The states by which the two are connected; a session must [reserve](crate::Session::reserve) them.
    pub kept: Vec<Named>,
}

impl Graph {
    /// Divides the graph on `on`: of the wanted values `fixed` must not depend on it, `varying` are all others. The states
    /// between the two halves are named `prefix/0`, `prefix/1`, …
    ///
    /// Inputs on which kept values depend are kept too, so `after` needs only those of `on`. Assignments are dropped: what
    /// is split is a function. Linearizing is splitting a Jacobian or Hessian product on its direction.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when a value of `fixed` depends on `on`, and a rule that was broken before.
    pub fn partial_eval(
        &self, fixed: &[Tensor], varying: &[Tensor], on: &[Tensor], prefix: &str,
    ) -> Result<PartialEval> {
        self.expect_own(&[fixed, varying, on])?;
        let wanted = [vars(fixed), vars(varying)].concat();
        let Compiled { graph, outputs, map } = rebuild(&self.without_assigns(), &wanted, &Fusions::default())?;
        let on: Vec<Var> = on.iter().filter_map(|v| map.get(&v.var()).copied()).collect();
        let mut depends: HashSet<Var> = on.iter().copied().collect();
        for node in graph.nodes() {
            if node.x.iter().any(|x| depends.contains(x)) {
                depends.extend(&node.y);
            }
        }
        let (fixed, varying) = outputs.split_at(fixed.len());
        if let Some(v) = fixed.iter().find(|v| depends.contains(v)) {
            let problem = "it depends on what the graph is split on".into();
            return Err(Error::Name { what: "value", name: v.to_string(), problem });
        }
        let mut s = Splitter { from: &graph, depends, before: graph.clone(), prefix, kept: Vec::new() };
        let (after, mut there) = (Graph::new(), HashMap::new());
        let varying = varying.iter().map(|&v| s.emit(&after, &mut there, v)).collect::<Result<_>>()?;
        Ok(PartialEval { before: s.before, fixed: fixed.to_vec(), after, varying, kept: s.kept })
    }
}

struct Splitter<'a> {
    from: &'a Graph,
    depends: HashSet<Var>,
    before: Graph,
    prefix: &'a str,
    kept: Vec<Named>,
}

impl Splitter<'_> {
    /// The value in the second graph; what it needs and does not depend on the direction comes from a state.
    fn emit(&mut self, after: &Graph, there: &mut HashMap<Var, Var>, v: Var) -> Result<Var> {
        // Operands first, in the order of the nodes, without recursion: graphs may be deep.
        let mut stack = vec![v];
        while let Some(&v) = stack.last() {
            if there.contains_key(&v) {
                stack.pop();
                continue;
            }
            let node = self.from.node_of(v);
            let depends = self.depends.contains(&v);
            let made = match &node.source {
                Source::Op(op) if depends || op.is_view() || node.x.is_empty() => {
                    let missing = stack.len();
                    stack.extend(node.x.iter().rev().copied().filter(|x| !there.contains_key(x)));
                    if stack.len() == missing {
                        let x: Vec<Var> = node.x.iter().map(|x| there[x]).collect();
                        there.extend(node.y.iter().copied().zip(after.push(op.clone(), &x)?));
                    }
                    continue;
                }
                source @ (Source::State(_) | Source::Literal(_)) => after.leaf(source.clone(), self.from.ty(v).clone()),
                source @ Source::Input(_) if depends => after.leaf(source.clone(), self.from.ty(v).clone()),
                _ => self.keep(after, v),
            };
            there.insert(v, made?);
        }
        Ok(there[&v])
    }

    fn keep(&mut self, after: &Graph, v: Var) -> Result<Var> {
        let ty = self.from.ty(v).clone();
        let name = format!("{}/{}", self.prefix, self.kept.len());
        let state = Source::State(name.clone());
        let (to, from) = (self.before.leaf(state.clone(), ty.clone())?, after.leaf(state, ty.clone())?);
        self.before.assign_var(to, v)?;
        self.kept.push(Named { name, ty });
        Ok(from)
    }
}

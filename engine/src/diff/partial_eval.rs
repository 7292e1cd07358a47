//! A graph divided in two: what depends on some of its values, and what does not and can be kept.

use std::collections::{HashMap, HashSet};

use crate::{
    compile::{
        fuse::Fusions,
        plan::Named,
        simplify::{Compiled, rebuild},
    },
    error::{Error, Result},
    graph::graph::{Graph, Source, Var},
    tensor::dtype::DType,
};

/// Two graphs from one, such that running `before` once and then `after` any number of times, each time with other values
/// of the inputs or states that it was split on, gives what the whole graph gives.
#[derive(Debug, Clone)]
pub struct Split {
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
    /// Splits the graph on `on`: of the wanted values `fixed` must not depend on it, `varying` are all others. The states
    /// between the two halves are named `prefix/0`, `prefix/1`, …
    ///
    /// Inputs on which kept values depend are kept too, so `after` needs only those of `on`. Assignments are dropped: what
    /// is split is a function. Linearizing is splitting a Jacobian or Hessian product on its direction.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when a value of `fixed` depends on `on`.
    pub fn split(&self, fixed: &[Var], varying: &[Var], on: &[Var], prefix: &str) -> Result<Split> {
        let wanted = [fixed, varying].concat();
        let Compiled { graph, outputs, map } = rebuild(&self.without_assigns(), &wanted, &Fusions::default())?;
        let on: Vec<Var> = on.iter().filter_map(|v| map.get(v).copied()).collect();
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
        let (mut after, mut there) = (Graph::new(), HashMap::new());
        let varying = varying.iter().map(|&v| s.emit(&mut after, &mut there, v)).collect::<Result<_>>()?;
        Ok(Split { before: s.before, fixed: fixed.to_vec(), after, varying, kept: s.kept })
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
    fn emit(&mut self, after: &mut Graph, there: &mut HashMap<Var, Var>, v: Var) -> Result<Var> {
        // Operands first, in the order of the nodes, without recursion: graphs may be deep.
        let mut stack = vec![v];
        while let Some(&v) = stack.last() {
            if there.contains_key(&v) {
                stack.pop();
                continue;
            }
            let node = self.from.node_of(v);
            let (x, op) = match &node.source {
                Source::Input(name) if self.depends.contains(&v) => {
                    let ty = self.from.ty(v);
                    let input = match ty.dtype {
                        DType::F32 => after.input(name, &ty.shape)?,
                        DType::U32 => after.input_u32(name, &ty.shape)?,
                    };
                    there.insert(v, input);
                    continue;
                }
                Source::State(name) => {
                    let ty = self.from.ty(v);
                    let state = match ty.dtype {
                        DType::F32 => after.state(name, &ty.shape)?,
                        DType::U32 => after.state_u32(name, &ty.shape)?,
                    };
                    there.insert(v, state);
                    continue;
                }
                Source::Literal(data) => {
                    let literal = after.literal(self.from.shape(v), data)?;
                    there.insert(v, literal);
                    continue;
                }
                Source::Op(op) if self.depends.contains(&v) || op.is_view() || node.x.is_empty() => (&node.x, op),
                _ => {
                    let kept = self.keep(after, v)?;
                    there.insert(v, kept);
                    continue;
                }
            };
            let missing: Vec<Var> = x.iter().rev().copied().filter(|x| !there.contains_key(x)).collect();
            if missing.is_empty() {
                let x: Vec<Var> = x.iter().map(|x| there[x]).collect();
                let y = after.push(op.clone(), &x)?;
                there.extend(node.y.iter().copied().zip(y));
            } else {
                stack.extend(missing);
            }
        }
        Ok(there[&v])
    }

    fn keep(&mut self, after: &mut Graph, v: Var) -> Result<Var> {
        let ty = self.from.ty(v).clone();
        let name = format!("{}/{}", self.prefix, self.kept.len());
        let (to, from) = match ty.dtype {
            DType::F32 => (self.before.state(&name, &ty.shape)?, after.state(&name, &ty.shape)?),
            DType::U32 => (self.before.state_u32(&name, &ty.shape)?, after.state_u32(&name, &ty.shape)?),
        };
        self.before.assign(to, v)?;
        self.kept.push(Named { name, ty });
        Ok(from)
    }
}

//! What the compiler does to a graph: drops what nothing needs, merges equal nodes, replaces patterns by fused ops.

use std::{collections::HashMap, sync::Arc};

use crate::{
    compile::fuse::Fusions,
    error::Result,
    graph::{Graph, Node, Op, Source, Var},
    ops::{Mul, Pointwise},
};

/// A graph ready to be planned, and where its wanted values went.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub graph: Graph,
    pub outputs: Vec<Var>,
    /// Where the values of the original graph went that are still there.
    pub map: HashMap<Var, Var>,
}

/// Prunes and merges `g`, and fuses, unless told not to, for an adapter that binds so many storage buffers at once.
///
/// # Errors
///
/// The graph's first broken rule.
pub(crate) fn compile(g: &Graph, outputs: &[Var], fuse: Option<usize>) -> Result<Compiled> {
    let merged = rebuild(g, outputs, &Fusions::default())?;
    let Some(buffers) = fuse else { return Ok(merged) };
    let fusions = Fusions::find(&merged.graph, &merged.outputs, buffers);
    rebuild(&merged.graph, &merged.outputs, &fusions)
}

/// Nodes of one op's name on the same operands.
type Alike = HashMap<(&'static str, Vec<Var>), Vec<usize>>;

struct Rebuild<'a> {
    from: &'a Graph,
    fusions: &'a Fusions,
    to: Graph,
    map: HashMap<Var, Var>,
    known: Alike,
}

/// Emits what is needed, in the order of the anchors: a tangent next to the value that it belongs to, so that neither has
/// to be kept for the other.
pub(crate) fn rebuild(g: &Graph, outputs: &[Var], fusions: &Fusions) -> Result<Compiled> {
    g.check()?;
    let assigns = g.assigned_vars();
    let roots = outputs.iter().copied().chain(assigns.iter().flat_map(|&(s, v)| [s, v]));
    let live = g.ancestors(roots);
    let (to, map, known) = (Graph::new(), HashMap::new(), HashMap::new());
    let mut r = Rebuild { from: g, fusions, to, map, known };
    let mut order: Vec<usize> = live.into_iter().filter(|&n| !fusions.is_inside(n)).collect();
    order.sort_unstable_by_key(|&n| (g.anchor(n), n));
    for n in order {
        r.emit(n)?;
    }
    for (state, value) in assigns {
        r.to.assign_var(r.map[&state], r.map[&value])?;
    }
    let outputs = outputs.iter().map(|v| r.map[v]).collect();
    Ok(Compiled { graph: r.to, outputs, map: r.map })
}

impl Rebuild<'_> {
    /// Emits a node, after those that it needs and that are not there yet, without recursion: graphs may be deep.
    fn emit(&mut self, n: usize) -> Result<()> {
        let mut stack = vec![n];
        while let Some(&n) = stack.last() {
            let fused = self.fusions.at(n);
            let node = self.from.node(n);
            let done = self.map.contains_key(&node.y[0]);
            let operands = fused.map_or(&node.x, |fused| &fused.x).iter().chain(fused.and_then(|f| f.scale.as_ref()));
            let missing = operands.filter(|x| !done && !self.map.contains_key(x)).map(|&x| self.from.node_index(x));
            let before = stack.len();
            stack.extend(missing);
            if stack.len() > before {
                stack[before..].reverse();
                continue;
            }
            stack.pop();
            if done {
                continue;
            }
            if let Some(fused) = fused {
                let mut x: Vec<Var> = fused.x.iter().map(|x| self.map[x]).collect();
                if let Some(scale) = fused.scale {
                    x[1] = self.to.push(Arc::new(Pointwise::<_, 2>(Mul {})), &[x[1], self.map[&scale]])?[0];
                }
                let y = self.to.push(fused.op.clone(), &x)?;
                self.map.extend(fused.y.iter().copied().zip(y));
            } else {
                self.emit_own(n);
            }
        }
        Ok(())
    }

    /// Emits a node that is in no fusion, or takes the results of an equal one.
    fn emit_own(&mut self, n: usize) {
        let node = self.from.node(n);
        let x: Vec<Var> = node.x.iter().map(|x| self.map[x]).collect();
        let make = |to: &Graph, x: Vec<Var>| {
            let types = node.y.iter().map(|&y| self.from.ty(y).clone()).collect();
            to.node_with(node.source.clone(), x, types)
        };
        let y = match &node.source {
            Source::Op(op) => {
                let alike = self.known.entry((op.name(), x.clone())).or_default();
                match alike.iter().find(|&&m| same(self.to.node(m), op.as_ref())) {
                    Some(&m) => self.to.node(m).y.clone(),
                    None => {
                        let y = make(&self.to, x);
                        alike.push(self.to.node_index(y[0]));
                        y
                    }
                }
            }
            _ => make(&self.to, x),
        };
        self.map.extend(node.y.iter().copied().zip(y));
    }
}

/// Whether a node is of the same op.
fn same(node: &Node, op: &dyn Op) -> bool {
    matches!(&node.source, Source::Op(own) if op.same(own.as_any()))
}

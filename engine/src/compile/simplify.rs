//! What the compiler does to a graph: drops what nothing needs, merges equal nodes, replaces patterns by fused ops.

use std::collections::HashMap;

use crate::{
    compile::fuse::Fusions,
    error::Result,
    graph::graph::{Graph, Source, Var},
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
pub(crate) fn compile(g: &Graph, outputs: &[Var], fuse: Option<usize>) -> Result<Compiled> {
    let merged = rebuild(g, outputs, &Fusions::default())?;
    let Some(buffers) = fuse else { return Ok(merged) };
    let fusions = Fusions::find(&merged.graph, &merged.outputs, buffers);
    rebuild(&merged.graph, &merged.outputs, &fusions)
}

struct Rebuild<'a> {
    from: &'a Graph,
    fusions: &'a Fusions,
    to: Graph,
    map: HashMap<Var, Var>,
    known: HashMap<(String, Vec<Var>), Vec<Var>>,
}

/// Emits what is needed, in the order of the anchors: a tangent next to the value that it belongs to, so that neither has
/// to be kept for the other.
pub(crate) fn rebuild(g: &Graph, outputs: &[Var], fusions: &Fusions) -> Result<Compiled> {
    let roots = outputs.iter().copied().chain(g.assigns().iter().flat_map(|&(s, v)| [s, v]));
    let live = g.ancestors(roots);
    let (to, map, known) = (Graph::new(), HashMap::new(), HashMap::new());
    let mut r = Rebuild { from: g, fusions, to, map, known };
    let mut order: Vec<usize> = live.into_iter().filter(|&n| !fusions.is_inside(n)).collect();
    order.sort_unstable_by_key(|&n| (g.anchor(n), n));
    for n in order {
        r.emit(n)?;
    }
    for &(state, value) in g.assigns() {
        let (state, value) = (r.get(state)?, r.get(value)?);
        r.to.assign(state, value)?;
    }
    let outputs = outputs.iter().map(|&v| r.get(v)).collect::<Result<_>>()?;
    Ok(Compiled { graph: r.to, outputs, map: r.map })
}

impl Rebuild<'_> {
    fn get(&mut self, v: Var) -> Result<Var> {
        if !self.map.contains_key(&v) {
            self.emit(self.from.node_index(v))?;
        }
        Ok(self.map[&v])
    }

    fn emit(&mut self, n: usize) -> Result<()> {
        let node = &self.from.nodes()[n];
        if self.map.contains_key(&node.y[0]) {
            return Ok(());
        }
        if let Some(fused) = self.fusions.at(n) {
            let mut x = fused.x.iter().map(|&x| self.get(x)).collect::<Result<Vec<_>>>()?;
            if let Some(scale) = fused.scale {
                let scale = self.get(scale)?;
                x[1] = self.to.mul(x[1], scale)?;
            }
            let y = self.to.push(fused.op.clone(), &x)?;
            self.map.extend(fused.y.iter().copied().zip(y));
            return Ok(());
        }
        let x = node.x.iter().map(|&x| self.get(x)).collect::<Result<Vec<_>>>()?;
        let key = match &node.source {
            Source::Op(op) => Some((format!("{op:?}"), x.clone())),
            _ => None,
        };
        let y = match key.as_ref().and_then(|key| self.known.get(key)) {
            Some(y) => y.clone(),
            None => {
                let types = node.y.iter().map(|&y| self.from.ty(y).clone()).collect();
                self.to.node(node.source.clone(), x, types)
            }
        };
        self.map.extend(node.y.iter().copied().zip(y.iter().copied()));
        if let Some(key) = key {
            self.known.insert(key, y);
        }
        Ok(())
    }
}

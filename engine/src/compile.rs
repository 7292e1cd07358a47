//! What the compiler does to a graph: drops what nothing needs, merges equal nodes, replaces patterns by fused ops.

use std::collections::HashMap;

use crate::{Graph, Result, Source, Var, fuse::Fusions};

/// A graph ready to be planned, and where its wanted values went.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub graph: Graph,
    pub outputs: Vec<Var>,
    /// Inputs of the original graph by their place there.
    pub inputs: HashMap<Var, Var>,
}

/// Prunes and merges `g`, and fuses unless told not to.
pub(crate) fn compile(g: &Graph, outputs: &[Var], fuse: bool) -> Result<Compiled> {
    let merged = rebuild(g, outputs, &Fusions::default())?;
    if !fuse {
        return Ok(merged);
    }
    let fusions = Fusions::find(&merged.graph, &merged.outputs);
    let fused = rebuild(&merged.graph, &merged.outputs, &fusions)?;
    let inputs = merged.inputs.iter().filter_map(|(&from, via)| Some((from, *fused.inputs.get(via)?))).collect();
    Ok(Compiled { inputs, ..fused })
}

struct Rebuild<'a> {
    from: &'a Graph,
    fusions: &'a Fusions,
    to: Graph,
    map: HashMap<Var, Var>,
    known: HashMap<(String, Vec<Var>), Vec<Var>>,
}

fn rebuild(g: &Graph, outputs: &[Var], fusions: &Fusions) -> Result<Compiled> {
    let roots = outputs.iter().copied().chain(g.assigns().iter().flat_map(|&(s, v)| [s, v]));
    let live = g.ancestors(roots);
    let (to, map, known) = (Graph::new(), HashMap::new(), HashMap::new());
    let mut r = Rebuild { from: g, fusions, to, map, known };
    for n in 0..g.nodes().len() {
        if live.contains(&n) && !fusions.is_inside(n) {
            r.emit(n)?;
        }
    }
    for &(state, value) in g.assigns() {
        let (state, value) = (r.get(state)?, r.get(value)?);
        r.to.assign(state, value)?;
    }
    let outputs = outputs.iter().map(|&v| r.get(v)).collect::<Result<_>>()?;
    let is_input = |v: &Var| matches!(g.node_of(*v).source, Source::Input(_));
    let inputs = r.map.iter().filter(|(from, _)| is_input(from)).map(|(&a, &b)| (a, b)).collect();
    Ok(Compiled { graph: r.to, outputs, inputs })
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
            let x = fused.x.iter().map(|&x| self.get(x)).collect::<Result<Vec<_>>>()?;
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

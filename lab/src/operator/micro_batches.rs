//! Samples in micro-batches, and reductions across them: means over all samples that a graph for some of them waits for, as
//! batch normalization with the statistics of the whole set does in its value and in each of its derivatives.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hillshade_engine::{Data, Graph, Named, Node, Program, Session, Source, Tensor, Type, Var, ops::CrossBatchMean};

use crate::{error::*, layout::*, operator::matrix::*, problem::*};

/// The sizes of micro-batches, each once.
pub(crate) fn sizes(batches: &[MicroBatch]) -> BTreeSet<usize> {
    batches.iter().map(MicroBatch::size).collect()
}

/// What there is for the size of a micro-batch.
pub(crate) fn of_size<'a, T>(all: &'a mut BTreeMap<usize, T>, batch: &MicroBatch) -> &'a mut T {
    all.get_mut(&batch.size()).expect("there is one for each size")
}

/// Calls `f` with each micro-batch in turn and its inputs: its samples, what its share is weighted by, and `more`.
pub(crate) fn each(
    problem: &Problem, batches: &[MicroBatch], more: &[(&str, Data)],
    mut f: impl FnMut(usize, &MicroBatch, &[(&str, Data)]) -> Result<()>,
) -> Result<()> {
    batches.iter().enumerate().try_for_each(|(i, batch)| {
        let (samples, keep) = ([batch.size() as f32], [f32::from(u8::from(i > 0))]);
        let mut inputs = problem.samples.inputs(batch.range.clone());
        inputs.extend([("lab/keep", Data::F32(&keep)), ("lab/samples", Data::F32(&samples))]);
        inputs.extend(batch.drawn.iter().map(|d| (DRAWN, Data::F32(d))));
        inputs.extend(more);
        f(i, batch, &inputs)
    })
}

/// Runs a program.
pub(crate) fn run(program: &mut Program, session: &mut Session, inputs: &[(&str, Data)]) -> Result<()> {
    program.run(session, inputs).map_err(Error::from)
}

/// `state ← samples/count · value`, added to what it holds where the input `keep` is 1; `samples` is an input too.
pub(crate) fn accumulate(name: &str, value: Tensor, count: usize) {
    let (g, Ok(shape)) = (value.graph(), value.shape()) else { return };
    let old = state_named(g, name).unwrap_or_else(|| g.state(name, shape));
    let (keep, samples) = (g.input("lab/keep", &[1]), g.input("lab/samples", &[1]));
    g.assign(old, keep.select(old, old.fill_like(0.0)) + value * (samples / count as f64));
}

/// A state of a graph by its name.
pub(crate) fn state_named<'g>(g: &'g Graph, name: &str) -> Option<Tensor<'g>> {
    let node = g.nodes().find(|node| matches!(&node.source, Source::State(own) if own == name))?;
    Some(g.tensor(node.y[0]))
}

/// The nodes on which values depend, in the order of the graph.
pub(crate) fn live<'g>(values: &[Tensor<'g>]) -> Vec<&'g Node> {
    let mut needed: HashSet<Var> = values.iter().map(|v| v.var()).collect();
    let mut live = Vec::new();
    for node in values.iter().take(1).flat_map(|v| v.graph().nodes().rev()) {
        if node.y.iter().any(|y| needed.contains(y)) {
            needed.extend(&node.x);
            live.push(node);
        }
    }
    live.reverse();
    live
}

/// The numbers of values.
pub(crate) fn vars(x: &[Tensor]) -> Vec<Var> {
    x.iter().map(|x| x.var()).collect()
}

/// Bytes of states.
pub(crate) fn bytes(states: &[Named]) -> u64 {
    states.iter().map(|s| s.ty.bytes() as u64).sum()
}

/// Makes states.
pub(crate) fn reserve(session: &mut Session, states: &[Named]) -> Result<()> {
    states.iter().try_for_each(|state| session.reserve(&state.name, &state.ty)).map_err(Error::from)
}

/// Bytes of a graph's plan on this session that are its own.
pub(crate) fn own_bytes(session: &Session, g: &Graph) -> Result<u64> {
    let plan = session.plan(g, &[])?;
    Ok(plan.slot_bytes() + bytes(&plan.inputs) + plan.literals.iter().map(|l| 4 * l.len() as u64).sum::<u64>())
}

/// A graph in which states stand for [cross-batch means](Tensor::cross_batch_mean), and what computes them.
///
/// A pass over the micro-batches computes all means that need no others than those of the passes before it, by the graph up
/// to there: what comes before is computed again in every pass, and nothing of a micro-batch is kept meanwhile.
#[derive(Debug)]
pub(crate) struct Reduction {
    pub graph: Graph,
    /// The wanted values in it.
    pub values: Vec<Var>,
    /// By pass, what there is to take the mean of.
    operands: Vec<Vec<Var>>,
    /// By pass, the state that holds the means, one after the other.
    pub means: Vec<Named>,
    /// Samples of all micro-batches.
    count: usize,
}

impl Reduction {
    /// Of all means on which `values` depend; where there is a direction, of those alone that do not depend on it. The
    /// states are named `prefix/0`, `prefix/1`, …, the same for micro-batches of every size.
    pub fn new(g: &Graph, values: &[Tensor], direction: Option<Tensor>, count: usize, prefix: &str) -> Result<Self> {
        let mut follow: HashSet<Var> = direction.into_iter().map(Tensor::var).collect();
        let mut passes: HashMap<Var, usize> = HashMap::new();
        let mut all: Vec<[Vec<Var>; 2]> = Vec::new();
        for node in live(values) {
            if node.x.iter().any(|x| follow.contains(x)) {
                follow.extend(&node.y);
            }
            let mut pass = node.x.iter().filter_map(|x| passes.get(x)).max().copied().unwrap_or(0);
            let is_mean = matches!(&node.source, Source::Op(op) if op.as_any().is::<CrossBatchMean>());
            if is_mean && !follow.contains(&node.y[0]) {
                all.resize(all.len().max(pass + 1), Default::default());
                all[pass][0].push(node.x[0]);
                all[pass][1].push(node.y[0]);
                pass += 1;
            }
            passes.extend(node.y.iter().map(|&y| (y, pass)));
        }
        let graph = g.clone();
        let (mut means, mut to) = (Vec::new(), Vec::new());
        for (pass, [_, y]) in all.iter().enumerate() {
            let (name, y) = (format!("{prefix}/{pass}"), g.tensors(y));
            let shapes: Vec<_> = y.iter().filter_map(|y| y.shape().ok()).collect();
            let ty = Type::f32([shapes.iter().map(|s| s.iter().product::<usize>()).sum()]);
            to.extend(unflatten(graph.state(&name, &ty.shape), shapes));
            means.push(Named { name, ty });
        }
        let from: Vec<Var> = all.iter().flat_map(|[_, y]| y).copied().collect();
        let wanted: Vec<Var> = all.iter().flat_map(|[x, _]| x).copied().chain(vars(values)).collect();
        let made = vars(&graph.substitute(&graph.tensors(&wanted), &graph.tensors(&from), &to)?);
        let mut made = made.into_iter();
        let operands = all.iter().map(|[x, _]| made.by_ref().take(x.len()).collect()).collect();
        Ok(Reduction { values: made.collect(), graph, operands, means, count })
    }

    /// The graph of a pass, which adds a micro-batch's share to the state.
    fn pass(&self, pass: usize) -> Graph {
        let g = self.graph.clone();
        accumulate(&self.means[pass].name, flatten(&g, &g.tensors(&self.operands[pass])), self.count);
        g
    }

    /// The graph that comes last, which adds a micro-batch's share of a wanted value to the state of this name.
    pub fn last(&self, value: usize, name: &str) -> Graph {
        let g = self.graph.clone();
        accumulate(name, g.tensor(self.values[value]), self.count);
        g
    }

    /// The same with memory for time: graphs for the passes, and a last one that adds the share of the first wanted value
    /// to the state `name`, of a micro-batch that keeps what later passes need of it in states named `prefix/…`.
    pub fn chain(&self, prefix: &str, name: &str) -> Result<Chain> {
        let (mut rest, mut operands, mut values) = (self.graph.clone(), self.operands.clone(), self.values.clone());
        let (mut graphs, mut states) = (Vec::new(), self.means.clone());
        for (pass, mean) in self.means.iter().enumerate() {
            let on: Vec<Tensor> = self.means[pass..].iter().filter_map(|mean| state_named(&rest, &mean.name)).collect();
            let [now, later] = [operands[pass].clone(), [operands[pass + 1..].concat(), values].concat()];
            let split =
                rest.partial_eval(&rest.tensors(&now), &rest.tensors(&later), &on, &format!("{prefix}/{pass}"))?;
            let g = split.before;
            accumulate(&mean.name, flatten(&g, &g.tensors(&split.fixed)), self.count);
            graphs.push(g);
            states.extend(split.kept);
            rest = split.after;
            let mut varying = split.varying.into_iter();
            operands[pass + 1..].iter_mut().for_each(|x| *x = varying.by_ref().take(x.len()).collect());
            values = varying.collect();
        }
        accumulate(name, rest.tensor(values[0]), self.count);
        graphs.push(rest);
        Ok((graphs, states))
    }

    /// Whether there are means to wait for.
    pub fn waits(&self) -> bool {
        !self.means.is_empty()
    }

    /// Bytes that the last pass needs, in which most is computed; none where there is none.
    pub fn bytes(&self, session: &Session) -> Result<u64> {
        match self.means.len() {
            0 => Ok(0),
            passes => own_bytes(session, &self.pass(passes - 1)),
        }
    }
}

/// A micro-batch's graphs, each to be run on all micro-batches before the next, and the states that are kept between them.
pub(crate) type Chain = (Vec<Graph>, Vec<Named>);

/// Computes cross-batch means. Each pass is compiled for the time that it runs, for each size: memory is that of one.
pub(crate) fn reduce<'a>(
    session: &mut Session, problem: &Problem, reductions: impl Iterator<Item = (&'a usize, &'a Reduction)>,
    batches: &[MicroBatch],
) -> Result<()> {
    let reductions: Vec<_> = reductions.collect();
    for pass in 0..reductions.iter().map(|(_, r)| r.means.len()).max().unwrap_or(0) {
        let mut programs: BTreeMap<usize, Program> = BTreeMap::new();
        for &(size, reduction) in &reductions {
            reserve(session, &reduction.means)?;
            programs.insert(*size, session.compile(&reduction.pass(pass), &[])?);
        }
        each(problem, batches, &[], |_, batch, inputs| run(of_size(&mut programs, batch), session, inputs))?;
    }
    Ok(())
}

//! Graphs for a micro-batch that need means over all of them, as batch normalization with the statistics of the whole set
//! does in its value and in each of its derivatives: the means are computed first, pass after pass over the micro-batches.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use hillshade_engine::{Data, Graph, Named, Plan, Program, Session, Source, Type, Var, ops::MeanOfParts};

use crate::{
    Problem, Result,
    gradient::{accumulate, flatten},
    operator::state_named,
};

/// Samples that go through a graph together, and the gradients in their outputs at drawn targets, where those are fed.
pub(crate) type Fed<'a> = (Range<usize>, Option<&'a [f32]>);

/// A graph in which states stand for [means over parts](Graph::mean_of_parts), and what computes them.
///
/// A pass computes all means that need no others than those of the passes before it, by the graph up to there: what comes
/// before is computed again in every pass, so that nothing of a micro-batch is kept while the others go.
#[derive(Debug)]
pub(crate) struct Cut {
    pub graph: Graph,
    /// The wanted values in it.
    pub values: Vec<Var>,
    /// By pass, what there is to take the mean of.
    own: Vec<Vec<Var>>,
    /// By pass, the state that holds the means, one after the other.
    means: Vec<(String, usize)>,
    /// Samples of all micro-batches.
    count: usize,
}

impl Cut {
    /// Cuts at all means on which `values` depend; where there is a direction, at those alone that do not depend on it. The
    /// states are named `prefix/0`, `prefix/1`, …, the same for micro-batches of every size.
    pub fn new(g: &Graph, values: &[Var], direction: Option<Var>, count: usize, prefix: &str) -> Result<Self> {
        let needed = needed(g, values);
        let mut follow: HashSet<Var> = direction.into_iter().collect();
        let mut passes: HashMap<Var, usize> = HashMap::new();
        let mut cut: Vec<Vec<(Var, Var)>> = Vec::new();
        for node in g.nodes() {
            if node.x.iter().any(|x| follow.contains(x)) {
                follow.extend(&node.y);
            }
            let mut pass = node.x.iter().filter_map(|x| passes.get(x)).max().copied().unwrap_or(0);
            let is_mean = matches!(&node.source, Source::Op(op) if op.as_any().is::<MeanOfParts>());
            if is_mean && needed.contains(&node.y[0]) && !follow.contains(&node.y[0]) {
                cut.resize(cut.len().max(pass + 1), Vec::new());
                cut[pass].push((node.x[0], node.y[0]));
                pass += 1;
            }
            passes.extend(node.y.iter().map(|&y| (y, pass)));
        }
        let mut graph = g.clone();
        let (mut means, mut from, mut to) = (Vec::new(), Vec::new(), Vec::new());
        for (pass, all) in cut.iter().enumerate() {
            let name = format!("{prefix}/{pass}");
            let len = all.iter().map(|&(_, y)| g.ty(y).count()).sum();
            let state = graph.state(&name, &[len])?;
            let mut start = 0;
            for &(_, y) in all {
                let (shape, len) = (g.shape(y).to_vec(), g.ty(y).count());
                let own = graph.slice(state, 0, start, len)?;
                from.push(y);
                to.push(graph.reshape(own, &shape)?);
                start += len;
            }
            means.push((name, len));
        }
        let own = cut.iter().flatten().map(|&(x, _)| x);
        let mut made = graph.replay(&own.chain(values.iter().copied()).collect::<Vec<_>>(), &from, &to)?;
        let values = made.split_off(from.len());
        let mut rest = made.into_iter();
        let own = cut.iter().map(|all| rest.by_ref().take(all.len()).collect()).collect();
        Ok(Cut { graph, values, own, means, count })
    }

    /// The graph of a pass, which adds a micro-batch's share to the state.
    fn pass(&self, pass: usize) -> Result<Graph> {
        let mut g = self.graph.clone();
        let own = flatten(&mut g, &self.own[pass])?;
        accumulate(&mut g, &self.means[pass].0, own, self.count)?;
        Ok(g)
    }

    /// The same with memory for time: graphs for the passes, and a last one for `values`, of a micro-batch that keeps what
    /// later ones need of it in states named `prefix/…`.
    pub fn chain(&self, prefix: &str) -> Result<Chain> {
        let (mut rest, mut own, mut values) = (self.graph.clone(), self.own.clone(), self.values.clone());
        let ty = |len: &usize| Type::f32([*len]);
        let mut states: Vec<Named> =
            self.means.iter().map(|(name, len)| Named { name: name.clone(), ty: ty(len) }).collect();
        let mut graphs = Vec::new();
        for (pass, (mean, _)) in self.means.iter().enumerate() {
            let on: Vec<Var> = self.means[pass..].iter().filter_map(|(name, _)| state_named(&rest, name)).collect();
            let later = [own[pass + 1..].concat(), values].concat();
            let split = rest.split(&own[pass], &later, &on, &format!("{prefix}/{pass}"))?;
            let mut g = split.before;
            let means = flatten(&mut g, &split.fixed)?;
            accumulate(&mut g, mean, means, self.count)?;
            graphs.push(g);
            states.extend(split.kept);
            rest = split.after;
            let mut varying = split.varying.into_iter();
            own[pass + 1..].iter_mut().for_each(|own| *own = varying.by_ref().take(own.len()).collect());
            values = varying.collect();
        }
        graphs.push(rest);
        Ok(Chain { graphs, values, states })
    }

    /// Whether there are means to wait for.
    pub fn waits(&self) -> bool {
        !self.own.is_empty()
    }

    /// Bytes that the last pass needs, in which most is computed; none where there is none.
    pub fn bytes(&self) -> Result<u64> {
        match self.own.len() {
            0 => Ok(0),
            passes => Ok(own_bytes(&Plan::new(&self.pass(passes - 1)?, &[], true)?)),
        }
    }

    /// Makes the states.
    pub fn reserve(&self, session: &mut Session) -> Result<()> {
        for (name, len) in &self.means {
            session.reserve(name, &Type::f32([*len]))?;
        }
        Ok(())
    }
}

/// A micro-batch's own graphs, to be run in turn: each on all micro-batches before the next.
#[derive(Debug)]
pub(crate) struct Chain {
    pub graphs: Vec<Graph>,
    /// The wanted values in the last one.
    pub values: Vec<Var>,
    /// What is kept between them.
    pub states: Vec<Named>,
}

impl Chain {
    /// Bytes that are kept.
    pub fn bytes(&self) -> u64 {
        self.states.iter().map(|s| s.ty.bytes() as u64).sum()
    }
}

/// The values on which others depend, and they themselves.
fn needed(g: &Graph, values: &[Var]) -> HashSet<Var> {
    let mut needed: HashSet<Var> = values.iter().copied().collect();
    for node in g.nodes().iter().rev() {
        if node.y.iter().any(|y| needed.contains(y)) {
            needed.extend(&node.x);
        }
    }
    needed
}

/// Bytes of a plan that are its own.
pub(crate) fn own_bytes(plan: &Plan) -> u64 {
    let inputs: u64 = plan.inputs.iter().map(|n| n.ty.bytes() as u64).sum();
    plan.slot_bytes() + inputs + plan.literals.iter().map(|l| 4 * l.len() as u64).sum::<u64>()
}

/// Runs `run` on each micro-batch in turn, with its feeds: its samples, and what its share is weighted by.
pub(crate) fn each(
    problem: &Problem,
    pieces: &[Fed],
    mut run: impl FnMut(usize, &[(&str, Data)]) -> Result<()>,
) -> Result<()> {
    for (i, (range, drawn)) in pieces.iter().enumerate() {
        let (samples, keep) = ([range.len() as f32], [f32::from(u8::from(i > 0))]);
        let mut feeds = problem.samples.feeds(range.clone());
        feeds.extend([("lab/keep", Data::F32(&keep)), ("lab/samples", Data::F32(&samples))]);
        feeds.extend(drawn.iter().map(|d| (crate::kind::DRAWN, Data::F32(d))));
        run(i, &feeds)?;
    }
    Ok(())
}

/// Computes the means of cuts, which are one graph for micro-batches of different sizes. Each pass is compiled for the time
/// that it runs: memory is that of one.
pub(crate) fn settle(session: &mut Session, problem: &Problem, cuts: &[(usize, &Cut)], pieces: &[Fed]) -> Result<()> {
    let passes = cuts.iter().map(|(_, cut)| cut.own.len()).max().unwrap_or(0);
    for pass in 0..passes {
        let mut programs: HashMap<usize, Program> = HashMap::new();
        for (size, cut) in cuts {
            cut.reserve(session)?;
            programs.insert(*size, session.compile(&cut.pass(pass)?, &[])?);
        }
        each(problem, pieces, |i, feeds| match programs.get_mut(&pieces[i].0.len()) {
            Some(program) => Ok(program.run(session, feeds)?),
            None => Ok(()),
        })?;
    }
    Ok(())
}

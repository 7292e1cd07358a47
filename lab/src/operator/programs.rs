//! Programs that pass all samples in micro-batches: one for each size of those.

use std::{collections::BTreeMap, ops::Range};

use hillshade_engine::{Data, Graph, Program, Scope, Session, Tensor, Var, block_on};

use crate::{error::*, operator::micro_batches::*, problem::*};

/// What a graph for a micro-batch is asked for: values to be read, and one whose mean over all samples is taken.
pub(crate) type Wanted<'g> = (Vec<Tensor<'g>>, Option<Tensor<'g>>);

/// The programs, and the cross-batch means that they wait for.
#[derive(Debug)]
pub(crate) struct Programs {
    problem: Problem,
    pub batches: Vec<MicroBatch>,
    programs: BTreeMap<usize, (Program, Vec<Var>)>,
    reductions: BTreeMap<usize, Reduction>,
    /// The state that holds the mean after a run.
    pub state: String,
    _scope: Scope,
}

impl Programs {
    /// By the graphs that `build` makes for micro-batches of each size.
    pub fn new(
        session: &mut Session, problem: &Problem, batches: &[MicroBatch],
        mut build: impl for<'g> FnMut(&mut Session, &'g Graph, usize) -> Result<Wanted<'g>>,
    ) -> Result<Self> {
        let (scope, problem, batches) = (session.scope(), problem.clone(), batches.to_vec());
        let (means, state) = (scope.name("means"), scope.name("mean"));
        let (mut programs, mut reductions) = (BTreeMap::new(), BTreeMap::new());
        for size in sizes(&batches) {
            let g = Graph::new();
            let (read, mean) = build(session, &g, size)?;
            let values: Vec<Tensor> = read.iter().copied().chain(mean).collect();
            let reduction = Reduction::new(&g, &values, None, problem.samples.count(), &means)?;
            reserve(session, &reduction.means)?;
            let last = match mean {
                Some(mean) => {
                    session.reserve(&state, mean.ty()?)?;
                    reduction.last(read.len(), &state)
                }
                None => reduction.graph.clone(),
            };
            let read = reduction.values[..read.len()].to_vec();
            programs.insert(size, (session.compile(&last, &last.tensors(&read))?, read));
            reductions.insert(size, reduction);
        }
        Ok(Programs { problem, batches, programs, reductions, state, _scope: scope })
    }

    /// Passes all micro-batches, with these inputs beside the samples: calls `f` with each and its values.
    pub fn run(
        &mut self, session: &mut Session, more: &[(&str, Data)], f: impl FnMut(&MicroBatch, Vec<f64>),
    ) -> Result<()> {
        self.reduce(session)?;
        self.last(session, 0..self.batches.len(), more, f)
    }

    /// The passes before the last: computes the cross-batch means.
    pub fn reduce(&self, session: &mut Session) -> Result<()> {
        reduce(session, &self.problem, self.reductions.iter(), &self.batches)
    }

    /// The last pass, of some of the micro-batches.
    pub fn last(
        &mut self, session: &mut Session, which: Range<usize>, more: &[(&str, Data)],
        mut f: impl FnMut(&MicroBatch, Vec<f64>),
    ) -> Result<()> {
        each(&self.problem, &self.batches[which], more, |_, batch, inputs| {
            let (program, read) = of_size(&mut self.programs, batch);
            program.run(session, inputs)?;
            let mut values = Vec::new();
            for &y in &*read {
                values.extend(block_on(program.read_wide(session, y))?);
            }
            f(batch, values);
            Ok(())
        })
    }

    /// Bytes that the largest program needs at its peak.
    pub fn peak_bytes(&self) -> u64 {
        self.programs.values().map(|(p, _)| p.plan().bytes()).max().unwrap_or(0)
    }
}

//! The loss at points around the session's parameters.

pub(crate) mod directions;
mod flips;
mod grid;
mod measures;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    ops::Range,
};

use hillshade_engine::{Data, Program, Session, Source, Type, Var, block_on, ops};
use hillshade_models::{Builder, Param};
use serde::{Deserialize, Serialize};

pub use directions::{Direction, Directions, Principal, Scaling, parameters};
pub use flips::Flips;
pub use grid::{Grid, places};
pub(crate) use measures::second_difference;
pub use measures::{
    Ball, Secant, Sharpness, Step, StepPoint, average_sharpness, secant, step_measures, worst_sharpness,
};

use crate::{
    BatchNorm, Block, Parts, Problem, Result,
    error::argument,
    gradient::{accumulate, chosen, flatten, layout, unflatten},
};

/// Which statistics batch normalization takes away from the parameters for which it has running ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Statistics {
    /// The running ones, of the session's parameters: those of another network, seen from elsewhere.
    #[default]
    Frozen,
    /// At each point those of the batches of so many samples in which the loss is computed.
    Batch(usize),
    /// At each point measured anew, as means over batches of so many samples of the batch means and biased variances;
    /// then the loss in evaluation mode. As many as there are or more means one batch of all.
    Reestimated(usize),
}

impl Statistics {
    /// Those that matter for a problem: frozen where it has no batch normalization.
    ///
    /// # Errors
    ///
    /// Those of the problem's graph.
    pub fn of(self, problem: &Problem) -> Result<Self> {
        let (b, _) = problem.graph(BatchNorm::Eval, 1)?;
        Ok(if norms(&b.params).is_empty() { Statistics::Frozen } else { self })
    }

    /// The mode in which gradient and curvature are those of a landscape over so many samples: none for statistics that
    /// are estimated in several batches, through which no derivative is taken.
    pub fn exact(self, samples: usize) -> Option<BatchNorm> {
        match self {
            Statistics::Frozen => Some(BatchNorm::Eval),
            Statistics::Batch(size) => Some(BatchNorm::Batch(size)),
            Statistics::Reestimated(size) => (size >= samples).then_some(BatchNorm::Full),
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Statistics::Frozen => f.write_str("frozen"),
            Statistics::Batch(size) => write!(f, "batch({size})"),
            Statistics::Reestimated(size) => write!(f, "re-estimated({size})"),
        }
    }
}

/// How a landscape is computed.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// Statistics of batch normalization.
    pub statistics: Statistics,
    /// Samples at once where it does not matter; 128 by default.
    pub micro_batch: Option<usize>,
    /// Parameters whose names begin with one of these move; all where there are none.
    pub blocks: Vec<String>,
}

/// The mean loss at `θ + Σ cᵢ dᵢ`, for the session's parameters `θ` and directions `dᵢ` in a block of the session: as a
/// compiled program of the coefficients, by which neither the parameters nor any other state of training is changed.
#[derive(Debug)]
pub struct Landscape {
    problem: Problem,
    conditions: Conditions,
    statistics: Statistics,
    block: String,
    directions: usize,
    layout: Vec<Block>,
    norms: Vec<Norm>,
    pieces: Vec<Range<usize>>,
    losses: HashMap<usize, (Program, Var)>,
    estimates: Option<Estimates>,
    gradients: HashMap<usize, Program>,
    flips: HashMap<usize, (Program, Vec<Var>)>,
}

/// Measures statistics: the batches, and the program for each size.
type Estimates = (Vec<Range<usize>>, HashMap<usize, Program>);

/// A batch normalization: the path of its parameters and the number of its channels.
#[derive(Debug, Clone)]
struct Norm {
    path: String,
    channels: usize,
}

/// Means and variances of all batch normalizations, one after the other.
const STATISTICS: &str = "lab/statistics";

/// Coefficients, as two f32 whose sum is the number.
struct At {
    high: Vec<f32>,
    low: Vec<f32>,
}

/// A graph whose parameters are moved.
struct Moved {
    b: Builder,
    parts: Parts,
    /// The parameters, and where they are moved to.
    from: Vec<Var>,
    to: Vec<Var>,
}

impl Moved {
    /// Values as they are at the moved parameters.
    fn replay(&mut self, y: &[Var]) -> Result<Vec<Var>> {
        Ok(self.b.g.replay(y, &self.from, &self.to)?)
    }
}

/// The batch normalizations among parameters.
fn norms(params: &[Param]) -> Vec<Norm> {
    let norm = |p: &Param| {
        let path = p.name.strip_suffix("running_mean")?;
        Some(Norm { path: path.into(), channels: p.shape.iter().product() })
    };
    params.iter().filter_map(norm).collect()
}

fn named<'a>(params: &'a [Param], path: &str, part: &str) -> Option<&'a Param> {
    params.iter().find(|p| p.name.strip_prefix(path).is_some_and(|rest| rest == part))
}

impl Landscape {
    /// Over directions on the session.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for batches that the samples do not make, and those of the problem's
    /// graph.
    pub fn new(
        session: &mut Session,
        problem: &Problem,
        directions: &Directions,
        conditions: &Conditions,
    ) -> Result<Self> {
        Self::over(session, problem, directions.block(), directions.list().len(), conditions)
    }

    /// Over a block `[k, n]` of the session.
    pub(crate) fn over(
        session: &mut Session,
        problem: &Problem,
        block: &str,
        k: usize,
        conditions: &Conditions,
    ) -> Result<Self> {
        let (b, _) = problem.graph(BatchNorm::Eval, 1)?;
        let norms = norms(&b.params);
        let statistics = if norms.is_empty() { Statistics::Frozen } else { conditions.statistics };
        let mut l = Landscape {
            problem: problem.clone(),
            conditions: conditions.clone(),
            statistics,
            block: block.into(),
            directions: k,
            layout: layout(chosen(b.trained(), &conditions.blocks)?.iter()),
            norms,
            pieces: Vec::new(),
            losses: HashMap::new(),
            estimates: None,
            gradients: HashMap::new(),
            flips: HashMap::new(),
        };
        l.pieces = problem.pieces(l.mode(), conditions.micro_batch)?;
        if let Statistics::Reestimated(size) = statistics {
            l.prepare_estimates(session, size)?;
        }
        for size in l.pieces.iter().map(Range::len).collect::<BTreeSet<_>>() {
            let mut m = l.moved(l.mode(), size)?;
            let losses = m.replay(&[m.parts.losses])?[0];
            l.losses.insert(size, (session.compile(&m.b.g, &[losses])?, losses));
        }
        Ok(l)
    }

    /// The statistics that are taken: frozen where there is no batch normalization.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// How many batch normalizations the network has.
    pub fn batch_norms(&self) -> usize {
        self.norms.len()
    }

    /// How many samples the loss is a mean over.
    pub fn samples(&self) -> usize {
        self.problem.samples.count()
    }

    /// Length of a direction.
    pub fn dimension(&self) -> usize {
        directions::dimension(&self.layout)
    }

    /// The parameters' places in a direction.
    pub fn layout(&self) -> &[Block] {
        &self.layout
    }

    /// The mode in which gradient and curvature at `θ` are those of this landscape: [`Statistics::exact`].
    pub fn exact(&self) -> Option<BatchNorm> {
        self.statistics.exact(self.samples())
    }

    /// The mode in which the network passes samples.
    fn mode(&self) -> BatchNorm {
        match self.statistics {
            Statistics::Batch(size) => BatchNorm::Batch(size),
            _ => BatchNorm::Eval,
        }
    }

    /// The graph for `size` samples with parameters moved along the directions, and with estimated statistics where
    /// those are taken.
    fn moved(&self, mode: BatchNorm, size: usize) -> Result<Moved> {
        let (mut b, parts) = self.problem.graph(mode, size)?;
        let params = chosen(b.trained(), &self.conditions.blocks)?;
        let (k, n, g) = (self.directions, self.dimension(), &mut b.g);
        let block = g.state(&self.block, &[k, n])?;
        let (high, low) = (g.input("lab/high", &[1, k])?, g.input("lab/low", &[1, k])?);
        let c = g.add(high, low)?;
        let step = g.matmul(c, block)?;
        let step = g.reshape(step, &[n])?;
        let steps = unflatten(g, step, &self.layout)?;
        let mut from: Vec<Var> = params.iter().map(|p| p.var).collect();
        let mut to = Vec::new();
        for (&p, step) in from.iter().zip(steps) {
            to.push(g.add(p, step)?);
        }
        if matches!(self.statistics, Statistics::Reestimated(_)) && mode == BatchNorm::Eval {
            let all = b.g.state(STATISTICS, &[self.channels()])?;
            let mut start = 0;
            for norm in &self.norms {
                for part in ["running_mean", "running_var"] {
                    let own = named(&b.params, &norm.path, part).map(|p| p.var);
                    from.push(own.ok_or_else(|| argument("batch norm", format!("{}{part}", norm.path), "none"))?);
                    to.push(b.g.slice(all, 0, start, norm.channels)?);
                    start += norm.channels;
                }
            }
        }
        Ok(Moved { b, parts, from, to })
    }

    /// Numbers that the statistics of all batch normalizations are.
    fn channels(&self) -> usize {
        self.norms.iter().map(|n| 2 * n.channels).sum()
    }

    /// The programs that measure statistics at a point.
    fn prepare_estimates(&mut self, session: &mut Session, size: usize) -> Result<()> {
        let pieces = self.problem.pieces(BatchNorm::Batch(size.min(self.samples())), None)?;
        session.reserve(STATISTICS, &Type::f32([self.channels()]))?;
        let mut programs = HashMap::new();
        for size in pieces.iter().map(Range::len).collect::<BTreeSet<_>>() {
            let mut m = self.moved(BatchNorm::Batch(size), size)?;
            let mut all = Vec::new();
            for norm in &self.norms {
                let gain = named(&m.b.params, &norm.path, "weight").map(|p| p.var);
                let found = m.b.g.nodes().iter().find_map(|node| match &node.source {
                    Source::Op(op) if node.x.get(1).copied() == gain => {
                        let op = op.as_any().downcast_ref::<ops::BatchNorm>()?;
                        Some((node.y[1], node.y[2], op.eps))
                    }
                    _ => None,
                });
                let expected = || format!("a batch normalization with the gain {}weight", norm.path);
                let (mean, rstd, eps) = found.ok_or_else(|| argument("problem", expected(), "none"))?;
                let at = m.replay(&[mean, rstd])?;
                let square = m.b.g.mul(at[1], at[1])?;
                let shifted = m.b.g.recip(square)?;
                all.extend([at[0], m.b.g.affine(shifted, 1.0, -eps)?]);
            }
            let all = flatten(&mut m.b.g, &all)?;
            accumulate(&mut m.b.g, STATISTICS, all, self.samples())?;
            programs.insert(size, session.compile(&m.b.g, &[])?);
        }
        self.estimates = Some((pieces, programs));
        Ok(())
    }

    fn at(&self, c: &[f64]) -> Result<At> {
        if c.len() != self.directions || c.iter().any(|c| !c.is_finite()) {
            return Err(argument("point", format!("{} finite coefficients", self.directions), format!("{c:?}")));
        }
        let high: Vec<f32> = c.iter().map(|&c| c as f32).collect();
        let low = c.iter().zip(&high).map(|(&c, &h)| (c - f64::from(h)) as f32).collect();
        Ok(At { high, low })
    }

    /// Measures the statistics at a point, where those are taken.
    fn estimate(&mut self, session: &mut Session, at: &At) -> Result<()> {
        let Some((pieces, programs)) = &mut self.estimates else { return Ok(()) };
        for (i, piece) in pieces.iter().enumerate() {
            let (keep, samples) = ([f32::from(u8::from(i > 0))], [piece.len() as f32]);
            let mut feeds = feeds(&self.problem, piece, at);
            feeds.extend([("lab/keep", Data::F32(&keep)), ("lab/samples", Data::F32(&samples))]);
            if let Some(program) = programs.get_mut(&piece.len()) {
                program.run(session, &feeds)?;
            }
        }
        Ok(())
    }

    /// The mean loss at a point, which need not be finite.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) unless there is a finite coefficient for each direction; the engine's.
    pub fn loss(&mut self, session: &mut Session, at: &[f64]) -> Result<f64> {
        let at = self.at(at)?;
        self.estimate(session, &at)?;
        let mut total = 0.0;
        for piece in &self.pieces {
            if let Some((program, losses)) = self.losses.get_mut(&piece.len()) {
                program.run(session, &feeds(&self.problem, piece, &at))?;
                total += block_on(program.read_wide(session, *losses))?.iter().sum::<f64>();
            }
        }
        Ok(total / self.samples() as f64)
    }

    /// The gradient in the parameters at a point.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) where [`Landscape::exact`] is none, and those of [`Landscape::loss`].
    pub fn gradient(&mut self, session: &mut Session, at: &[f64]) -> Result<Vec<f64>> {
        let at = self.at(at)?;
        let (n, count) = (self.dimension(), self.samples());
        let mode = match self.exact() {
            Some(BatchNorm::Full) => BatchNorm::Batch(count),
            Some(mode) => mode,
            None => return Err(argument("statistics", "those of one batch, for a gradient", self.statistics)),
        };
        let name = format!("lab/{n}/moved");
        session.reserve(&name, &Type::f32([n]))?;
        let pieces = self.problem.pieces(mode, self.conditions.micro_batch)?;
        for (i, piece) in pieces.iter().enumerate() {
            if !self.gradients.contains_key(&piece.len()) {
                let mut m = self.moved(mode, piece.len())?;
                let loss = m.b.g.mean(m.parts.losses, &[0])?;
                let there = m.replay(&[loss])?[0];
                let moved = m.to[..self.layout.len()].to_vec();
                let slopes = m.b.g.grad(there, &moved)?;
                let flat = flatten(&mut m.b.g, &slopes)?;
                accumulate(&mut m.b.g, &name, flat, count)?;
                self.gradients.insert(piece.len(), session.compile(&m.b.g, &[])?);
            }
            let (keep, samples) = ([f32::from(u8::from(i > 0))], [piece.len() as f32]);
            let mut feeds = feeds(&self.problem, piece, &at);
            feeds.extend([("lab/keep", Data::F32(&keep)), ("lab/samples", Data::F32(&samples))]);
            if let Some(program) = self.gradients.get_mut(&piece.len()) {
                program.run(session, &feeds)?;
            }
        }
        Ok(block_on(session.get_wide(&name))?)
    }
}

fn feeds<'a>(problem: &'a Problem, piece: &Range<usize>, at: &'a At) -> Vec<(&'a str, Data<'a>)> {
    let mut feeds = problem.samples.feeds(piece.clone());
    feeds.extend([("lab/high", Data::F32(&at.high)), ("lab/low", Data::F32(&at.low))]);
    feeds
}

//! The loss at points around the session's parameters.

use std::fmt;

use hillshade_engine::{Data, Graph, Scope, Session, Source, Tensor, block_on, ops};
use hillshade_models::{Builder, Param};
use serde::{Deserialize, Serialize};

use crate::{error::*, landscape::directions::*, layout::*, operator::*, problem::*};

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
    pub fn of(self, problem: &Problem) -> Result<Self> {
        let g = Graph::new();
        let built = problem.graph(&g, BatchNorm::Eval, 1, &[]);
        built.map(|(b, ..)| if norms(&b.params).is_empty() { Statistics::Frozen } else { self })
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
    /// The paths of the batch normalizations.
    norms: Vec<String>,
    /// The losses of samples, once they are built.
    losses: Option<Programs>,
    /// Means and variances of all batch normalizations, one after the other, where those are estimated.
    estimates: Option<Programs>,
    gradients: Option<Programs>,
    pub(crate) flips: Option<Programs>,
    pub(crate) scope: Scope,
}

/// Coefficients of a point, as two f32 whose sum is the number.
pub(crate) struct At {
    high: Vec<f32>,
    low: Vec<f32>,
}

impl At {
    pub fn inputs(&self) -> [(&str, Data<'_>); 2] {
        [("lab/high", Data::F32(&self.high)), ("lab/low", Data::F32(&self.low))]
    }
}

/// A graph whose parameters are moved.
pub(crate) struct Moved<'g> {
    b: Builder<'g>,
    pub parts: Parts<'g>,
    /// The parameters, and where they are moved to.
    from: Vec<Tensor<'g>>,
    to: Vec<Tensor<'g>>,
}

impl<'g> Moved<'g> {
    /// Values as they are at the moved parameters.
    pub fn there(&self, y: &[Tensor<'g>]) -> hillshade_engine::Result<Vec<Tensor<'g>>> {
        self.b.g.substitute(y, &self.from, &self.to)
    }
}

/// The paths of the batch normalizations among parameters.
fn norms(params: &[Param]) -> Vec<String> {
    params.iter().filter_map(|p| Some(p.name.strip_suffix("running_mean")?.into())).collect()
}

/// A parameter of a batch normalization.
fn named<'a>(params: &'a [Param], norm: &str, part: &str) -> Result<&'a Param> {
    let name = format!("{norm}{part}");
    params.iter().find(|p| p.name == name).ok_or_else(|| argument("batch norm", name, "none"))
}

impl Landscape {
    /// Over directions on the session.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for batches that the samples do not make.
    pub fn new(
        session: &mut Session, problem: &Problem, directions: &Directions, conditions: &Conditions,
    ) -> Result<Self> {
        Self::over(session, problem, directions.block(), directions.list().len(), conditions)
    }

    /// Over a block `[k, n]` of the session.
    pub(crate) fn over(
        session: &mut Session, problem: &Problem, block: &str, k: usize, conditions: &Conditions,
    ) -> Result<Self> {
        let g = Graph::new();
        let (b, _, params) = problem.graph(&g, BatchNorm::Eval, 1, &conditions.blocks)?;
        let norms = norms(&b.params);
        let statistics = if norms.is_empty() { Statistics::Frozen } else { conditions.statistics };
        let mut l = Landscape {
            problem: problem.clone(),
            conditions: conditions.clone(),
            statistics,
            block: block.into(),
            directions: k,
            layout: layout(&params),
            norms,
            losses: None,
            estimates: None,
            gradients: None,
            flips: None,
            scope: session.scope(),
        };
        if let Statistics::Reestimated(size) = statistics {
            let mode = BatchNorm::Batch(size.min(l.samples()));
            l.estimates = Some(l.programs(session, mode, |_, m| l.estimated(m))?);
        }
        l.losses = Some(l.programs(session, l.mode(), |_, m| Ok((m.there(&[m.parts.losses])?, None)))?);
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
        dimension(&self.layout)
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
    pub(crate) fn mode(&self) -> BatchNorm {
        if let Statistics::Batch(size) = self.statistics { BatchNorm::Batch(size) } else { BatchNorm::Eval }
    }

    /// Programs from graphs whose parameters are moved.
    pub(crate) fn programs(
        &self, session: &mut Session, mode: BatchNorm,
        mut build: impl for<'g> FnMut(&mut Session, &Moved<'g>) -> Result<Wanted<'g>>,
    ) -> Result<Programs> {
        let batches = self.problem.micro_batches(mode, self.conditions.micro_batch)?;
        Programs::new(session, &self.problem, &batches, |session, g, size| build(session, &self.moved(g, mode, size)?))
    }

    /// The graph for `size` samples with parameters moved along the directions, and with statistics where those are estimated.
    fn moved<'g>(&self, g: &'g Graph, mode: BatchNorm, size: usize) -> Result<Moved<'g>> {
        let (b, parts, params) = self.problem.graph(g, mode, size, &self.conditions.blocks)?;
        let (k, n) = (self.directions, self.dimension());
        let c = g.input("lab/high", &[1, k]) + g.input("lab/low", &[1, k]);
        let step = c.matmul(g.state(&self.block, &[k, n])).reshape(&[n]);
        let steps = unflatten(step, self.layout.iter().map(|b| &b.shape[..]));
        let mut from: Vec<Tensor> = params.iter().map(|p| p.value(g)).collect();
        let mut to: Vec<Tensor> = from.iter().zip(steps).map(|(&p, step)| p + step).collect();
        if let (Some(estimates), BatchNorm::Eval) = (&self.estimates, mode) {
            let parts = self.norms.iter().flat_map(|norm| [(norm, "running_mean"), (norm, "running_var")]);
            let own = parts.map(|(norm, part)| named(&b.params, norm, part)).collect::<Result<Vec<_>>>()?;
            let all = g.state(&estimates.state, &[own.iter().flat_map(|p| &p.shape).sum()]);
            from.extend(own.iter().map(|p| p.value(g)));
            to.extend(unflatten(all, own.iter().map(|p| &p.shape[..])));
        }
        Ok(Moved { b, parts, from, to })
    }

    /// The batch means and variances of all batch normalizations, one after the other.
    fn estimated<'g>(&self, m: &Moved<'g>) -> Result<Wanted<'g>> {
        let (g, mut all) = (m.b.g, Vec::new());
        for norm in &self.norms {
            let gain = named(&m.b.params, norm, "weight")?.var;
            let found = g.nodes().filter(|node| node.x.get(1) == Some(&gain)).find_map(|node| match &node.source {
                Source::Op(op) => Some((&node.y, op.as_any().downcast_ref::<ops::BatchNorm>()?.eps)),
                _ => None,
            });
            let expected = || format!("a batch normalization with the gain {norm}weight");
            let (y, eps) = found.ok_or_else(|| argument("problem", expected(), "none"))?;
            // The mean, and what one over the square root of the variance and ε is.
            let at = m.there(&g.tensors(&y[1..3]))?;
            all.extend([at[0], (at[1] * at[1]).recip() - eps]);
        }
        Ok((Vec::new(), Some(flatten(g, &all))))
    }

    fn at(&self, c: &[f64]) -> Result<At> {
        let fits = c.len() == self.directions && c.iter().all(|c| c.is_finite());
        refuse!(!fits, "point", format!("{} finite coefficients", self.directions), format!("{c:?}"));
        let (high, low) = halves(c);
        Ok(At { high, low })
    }

    /// The coefficients of a point, once the statistics are measured there, where those are taken.
    pub(crate) fn estimate(&mut self, session: &mut Session, c: &[f64]) -> Result<At> {
        let at = self.at(c)?;
        let done = self.estimates.as_mut().map(|programs| programs.run(session, &at.inputs(), |_, _| ()));
        done.transpose().map(|_| at)
    }

    /// The mean loss at a point, which need not be finite.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless there is a finite coefficient for each direction.
    pub fn loss(&mut self, session: &mut Session, at: &[f64]) -> Result<f64> {
        let at = self.estimate(session, at)?;
        let mut total = 0.0;
        let programs = self.losses.as_mut().expect("they were built with the landscape");
        programs.run(session, &at.inputs(), |_, losses| total += losses.iter().sum::<f64>())?;
        Ok(total / self.samples() as f64)
    }

    /// The mean losses at several points.
    pub(crate) fn losses<const N: usize>(&mut self, session: &mut Session, at: [Vec<f64>; N]) -> Result<[f64; N]> {
        let mut losses = [0.0; N];
        for (loss, at) in losses.iter_mut().zip(&at) {
            *loss = self.loss(session, at)?;
        }
        Ok(losses)
    }

    /// The gradient in the parameters at a point.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] where [`Landscape::exact`] is none, and those of [`Landscape::loss`].
    pub fn gradient(&mut self, session: &mut Session, at: &[f64]) -> Result<Vec<f64>> {
        let at = self.at(at)?;
        let mode = match self.exact() {
            Some(BatchNorm::Full) => BatchNorm::Batch(self.samples()),
            Some(mode) => mode,
            None => return Err(argument("statistics", "those of one batch, for a gradient", self.statistics)),
        };
        if self.gradients.is_none() {
            self.gradients = Some(self.programs(session, mode, |_, m| {
                let loss = m.there(&[m.parts.losses.mean_all()])?[0];
                Ok((vec![], Some(flatten(m.b.g, &loss.grad(&m.to[..self.layout.len()])?))))
            })?);
        }
        let programs = self.gradients.as_mut().expect("they were built if they were not there");
        programs.run(session, &at.inputs(), |_, _| ())?;
        block_on(session.get_wide(&programs.state)).map_err(Error::from)
    }
}

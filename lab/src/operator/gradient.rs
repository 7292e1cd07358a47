//! The loss and its gradient over all samples, at the session's parameters.

use hillshade_engine::{Session, block_on};

use crate::operator::{programs::*, vectors::*};
use crate::{error::*, layout::*, problem::*};

/// A loss's value and gradient over all samples.
#[derive(Debug)]
pub struct Gradient {
    programs: Programs,
    layout: Vec<Block>,
    samples: usize,
}

impl Gradient {
    /// Of these parameters, those whose names begin with one of `blocks`, all where there are none. Micro-batches are as
    /// the batch-norm mode has them, or of so many samples: [`Options::micro_batch`](crate::Options::micro_batch).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a block that is not there.
    pub fn new(
        session: &mut Session, problem: &Problem, batch_norm: BatchNorm, micro_batch: Option<usize>, blocks: &[String],
    ) -> Result<Self> {
        let (batches, mut own) = (problem.micro_batches(batch_norm, micro_batch)?, Vec::new());
        let programs = Programs::new(session, problem, &batches, |_, g, size| {
            let (_, parts, params) = problem.graph(g, batch_norm, size, blocks)?;
            own = layout(&params);
            let wrt: Vec<_> = params.iter().map(|p| p.value(g)).collect();
            let loss = parts.losses.mean_all();
            Ok((vec![loss], Some(flatten(g, &loss.grad(&wrt)?).reshape(&[1, dimension(&own)]))))
        })?;
        Ok(Gradient { programs, layout: own, samples: problem.samples.count() })
    }

    /// The parameters' places in the vector.
    pub fn layout(&self) -> &[Block] {
        &self.layout
    }

    /// Length of the vector.
    pub fn dimension(&self) -> usize {
        dimension(&self.layout)
    }

    /// The block `[1, n]` that holds the gradient after [`Gradient::run`].
    pub fn state(&self) -> &str {
        &self.programs.state
    }

    /// Bytes that its largest program needs at its peak.
    pub fn peak_bytes(&self) -> u64 {
        self.programs.peak_bytes()
    }

    /// Computes both; returns the loss.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] when the loss is not.
    pub fn run(&mut self, session: &mut Session) -> Result<f64> {
        self.programs.reduce(session)?;
        self.finish(session)
    }

    /// The last pass.
    fn finish(&mut self, session: &mut Session) -> Result<f64> {
        let (mut total, all) = (0.0, 0..self.programs.batches.len());
        self.programs.last(session, all, &[], |batch, loss| {
            total += batch.size() as f64 / self.samples as f64 * loss[0];
        })?;
        match total.is_finite() {
            true => Ok(total),
            false => Err(Error::NotFinite { what: "the loss".into(), found: total }),
        }
    }

    /// Computes twice, layer by layer the last pass alone, and refuses a problem whose gradient is not the same, bit for bit.
    ///
    /// # Errors
    ///
    /// [`Error::NotDeterministic`], and those of [`Gradient::run`].
    pub fn probe(&mut self, session: &mut Session) -> Result<f64> {
        let loss = self.run(session)?;
        let first = block_on(session.get(self.state()))?;
        let again = self.finish(session)?;
        let second = block_on(session.get(self.state()))?;
        let differing = first.iter().zip(&second).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        if differing > 0 || loss.to_bits() != again.to_bits() {
            let most = first.iter().zip(&second).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            return Err(Error::NotDeterministic { differing, count: first.len(), most });
        }
        Ok(loss)
    }

    /// The Euclidean norm of the gradient that was computed last.
    pub fn norm(&self, session: &mut Session) -> Result<f64> {
        let squares = Vectors::new(self.dimension()).inner(session, self.state(), self.state());
        squares.map(|squares| squares[(0, 0)].sqrt())
    }
}

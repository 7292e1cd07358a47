//! The loss along a line through the parameters.

use std::{collections::HashMap, ops::Range};

use hillshade_engine::{Data, Program, Session, Var, block_on};

use crate::{
    BatchNorm, Problem, Result,
    gradient::{layout, unflatten},
};

const STEP: &str = "lab/step";

/// `t ↦ L(θ + t d)`, the mean loss of all samples.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    problem: &'a Problem,
    pieces: Vec<Range<usize>>,
    programs: HashMap<usize, (Program, Var)>,
}

impl<'a> Segment<'a> {
    /// Along `d`, in the order of the parameters; micro-batches are those of [`crate::Gradient`].
    pub fn new(
        session: &mut Session,
        problem: &'a Problem,
        batch_norm: BatchNorm,
        micro_batch: usize,
        d: &[f32],
    ) -> Result<Self> {
        let pieces = problem.pieces(batch_norm, micro_batch)?;
        let state = format!("lab/{}/segment", d.len());
        session.set(&state, &[1, d.len()], d)?;
        let mut programs = HashMap::new();
        for size in pieces.iter().map(Range::len).collect::<std::collections::BTreeSet<_>>() {
            let (b, parts) = problem.graph(batch_norm, size)?;
            let params: Vec<Var> = b.trained().map(|p| p.var).collect();
            let layout = layout(b.trained());
            let mut g = b.g;
            let (d, t) = (g.state(&state, &[1, d.len()])?, g.input(STEP, &[1])?);
            let by = g.mul(d, t)?;
            let by = g.reshape(by, &[layout.last().map_or(0, |b| b.range.end)])?;
            let by = unflatten(&mut g, by, &layout)?;
            let moved = params.iter().zip(by).map(|(&p, by)| g.add(p, by)).collect::<Result<Vec<_>, _>>()?;
            let losses = g.replay(&[parts.losses], &params, &moved)?[0];
            programs.insert(size, (session.compile(&g, &[losses])?, losses));
        }
        Ok(Segment { problem, pieces, programs })
    }

    /// The loss at `t`, summed in f64 over the samples.
    pub fn loss(&mut self, session: &mut Session, t: f64) -> Result<f64> {
        let (mut total, step) = (0.0, [t as f32]);
        for piece in &self.pieces {
            let mut feeds = self.problem.samples.feeds(piece.clone());
            feeds.push((STEP, Data::F32(&step)));
            if let Some((program, losses)) = self.programs.get_mut(&piece.len()) {
                program.run(session, &feeds)?;
                total += block_on(program.read_wide(session, *losses))?.iter().sum::<f64>();
            }
        }
        Ok(total / self.problem.samples.count() as f64)
    }

    /// The second derivative at 0, from second differences at steps that halve from `widest` on: extrapolated for the
    /// error in the step (Richardson 1911), where neighbours agree best (Ridders 1982). Long steps err by the third and
    /// higher derivatives, short ones by the rounding of the losses.
    pub fn second_difference(&mut self, session: &mut Session, widest: f64) -> Result<f64> {
        let mut differences = Vec::new();
        let middle = self.loss(session, 0.0)?;
        for halvings in 0..14 {
            // As a number that f32 holds, so that the step taken is the step divided by.
            let h = f64::from((widest / f64::from(1 << halvings)) as f32);
            let (above, below) = (self.loss(session, h)?, self.loss(session, -h)?);
            differences.push((above - 2.0 * middle + below) / (h * h));
        }
        let better: Vec<f64> = differences.windows(2).map(|d| (4.0 * d[1] - d[0]) / 3.0).collect();
        let apart = |w: &[f64]| (w[0] - w[1]).abs().max((w[1] - w[2]).abs());
        let best = better.windows(3).filter(|w| apart(w).is_finite()).min_by(|a, b| apart(a).total_cmp(&apart(b)));
        Ok(best.map_or(f64::NAN, |w| w[1]))
    }
}

//! ReLU flips: kinks of the loss between two points.

use hillshade_engine::{Node, Session, Source};
use serde::{Deserialize, Serialize};

use crate::{error::*, landscape::landscape::*, operator::*};

/// Signs of the inputs of ReLUs that differ between two points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flips {
    /// How many differ.
    pub count: u64,
    /// How many there are: inputs of all ReLUs for all samples.
    pub of: u64,
}

impl Landscape {
    /// Inputs of ReLUs that are positive at one of two points and not at the other: kinks that the segment between them
    /// crosses, where a second derivative at a point does not see that the slope jumps. Those crossed twice do not count,
    /// nor do those of other functions with kinks, as the choices of max-pooling.
    pub fn flips(&mut self, session: &mut Session, from: &[f64], to: &[f64]) -> Result<Flips> {
        let mut programs = match self.flips.take() {
            Some(programs) => programs,
            None => self.programs(session, self.mode(), |session, m| self.signs(session, m))?,
        };
        let mut flips = Flips { count: 0, of: 0 };
        for i in 0..programs.batches.len() {
            for (end, point) in [from, to].into_iter().enumerate() {
                let at = self.estimate(session, point)?;
                programs.last(session, i..i + 1, &at.inputs(), |_, counts| {
                    let (differ, all) = counts.split_at(counts.len() / 2);
                    let [differ, all] = [differ, all].map(|counts| counts.iter().sum::<f64>() as u64);
                    flips.count += end as u64 * differ;
                    flips.of += end as u64 * all;
                })?;
            }
        }
        self.flips = Some(programs);
        Ok(flips)
    }

    /// Of the inputs of the ReLUs on which the loss depends, counts of those whose sign is another than in the last run, and
    /// of all; by the first axis, as more than f32 counts are added up outside.
    fn signs<'g>(&self, session: &mut Session, m: &Moved<'g>) -> Result<Wanted<'g>> {
        let (g, size) = (m.parts.losses.graph(), m.parts.losses.count()?);
        let is_relu = |node: &&Node| matches!(&node.source, Source::Op(op) if op.name() == "relu");
        let inputs: Vec<_> =
            live(&[m.parts.losses]).into_iter().filter(is_relu).map(|node| g.tensor(node.x[0])).collect();
        let (mut differ, mut all) = (Vec::new(), Vec::new());
        for (i, x) in m.there(&inputs)?.into_iter().enumerate() {
            let (name, ty) = (self.scope.name(&format!("signs/{size}/{i}")), x.ty()?);
            session.reserve(&name, ty)?;
            let (old, new) = (g.state(&name, &ty.shape), x.gt(x.fill_like(0.0)));
            g.assign(old, new);
            differ.push(new.ne(old).sum(&(1..ty.shape.len()).collect::<Vec<_>>()));
            all.push(g.fill(&ty.shape[..ty.shape.len().min(1)], ty.shape.iter().skip(1).product::<usize>() as f64));
        }
        Ok(([differ, all].concat(), None))
    }
}

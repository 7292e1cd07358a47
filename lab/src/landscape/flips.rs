//! Kinks between two points.

use std::collections::HashSet;

use hillshade_engine::{Program, Session, Source, Type, Var, block_on};
use hillshade_models::Builder;
use serde::{Deserialize, Serialize};

use super::{Landscape, feeds};
use crate::{Parts, Result};

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
    /// crosses, where a second derivative at a point says nothing of the loss's bending. Those crossed twice do not count,
    /// nor do those of other functions with kinks, as the choices of max-pooling.
    ///
    /// # Errors
    ///
    /// Those of [`Landscape::loss`].
    pub fn flips(&mut self, session: &mut Session, from: &[f64], to: &[f64]) -> Result<Flips> {
        let ends = [self.at(from)?, self.at(to)?];
        let mut flips = Flips { count: 0, of: 0 };
        for piece in self.pieces.clone() {
            if !self.flips.contains_key(&piece.len()) {
                let made = self.flips_of(session, piece.len())?;
                self.flips.insert(piece.len(), made);
            }
            for (i, end) in ends.iter().enumerate() {
                self.estimate(session, end)?;
                let Some((program, counts)) = self.flips.get_mut(&piece.len()) else { continue };
                program.run(session, &feeds(&self.problem, &piece, end))?;
                for count in counts.iter().filter(|_| i == 1) {
                    flips.count += block_on(program.read_wide(session, *count))?.iter().sum::<f64>() as u64;
                }
            }
            flips.of += self.relus(piece.len())? as u64;
        }
        Ok(flips)
    }

    /// Inputs of ReLUs in the graph for so many samples.
    fn relus(&self, size: usize) -> Result<usize> {
        let (b, parts) = self.problem.graph(self.mode(), size)?;
        Ok(relus(&b, parts).iter().map(|&v| b.g.ty(v).count()).sum())
    }

    /// A program that counts which signs are others than in its last run.
    fn flips_of(&self, session: &mut Session, size: usize) -> Result<(Program, Vec<Var>)> {
        let mut m = self.moved(self.mode(), size)?;
        let inputs = relus(&m.b, m.parts);
        let mut counts = Vec::new();
        for (i, x) in m.replay(&inputs)?.into_iter().enumerate() {
            let shape = m.b.g.shape(x).to_vec();
            let g = &mut m.b.g;
            let name = format!("lab/signs/{size}/{i}");
            session.reserve(&name, &Type::f32(&shape[..]))?;
            let (old, zero) = (g.state(&name, &shape)?, g.fill_like(x, 0.0)?);
            let new = g.gt(x, zero)?;
            let differs = g.ne(new, old)?;
            // By the first axis: more than f32 counts are added up outside.
            counts.push(g.sum(differs, &(1..shape.len()).collect::<Vec<_>>())?);
            g.assign(old, new)?;
        }
        Ok((session.compile(&m.b.g, &counts)?, counts))
    }
}

/// The inputs of the ReLUs on which a loss depends.
fn relus(b: &Builder, parts: Parts) -> Vec<Var> {
    let mut depends = HashSet::from([parts.losses]);
    let mut found = Vec::new();
    for node in b.g.nodes().iter().rev() {
        if !node.y.iter().any(|y| depends.contains(y)) {
            continue;
        }
        depends.extend(&node.x);
        match &node.source {
            Source::Op(op) if op.name() == "relu" => found.push(node.x[0]),
            _ => {}
        }
    }
    found
}

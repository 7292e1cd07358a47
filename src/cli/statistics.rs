//! Batch-norm statistics away from a run's weights, on the command line.

use std::str::FromStr;

use hillshade::lab::{BatchNorm, Conditions, Statistics};

use super::{Result, subject};

/// Which, with a size or without.
#[derive(Clone, Copy)]
pub enum Handling {
    Frozen,
    Batch(Option<usize>),
    Reestimate(Option<usize>),
}

impl FromStr for Handling {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, size) = match text.split_once(':') {
            Some((name, size)) => (name, Some(size.parse().ok().filter(|&s: &usize| s > 0))),
            None => (text, None),
        };
        match (name, size) {
            ("frozen", None) => Ok(Handling::Frozen),
            ("batch", None | Some(Some(_))) => Ok(Handling::Batch(size.flatten())),
            ("reestimate", None | Some(Some(_))) => Ok(Handling::Reestimate(size.flatten())),
            _ => Err(format!("expected frozen, batch[:SIZE] or reestimate[:SIZE], found {text}")),
        }
    }
}

impl Handling {
    /// Those of a subject, which must not ask for others.
    pub fn conditions(self, s: &subject::Subject) -> Result<Conditions> {
        if s.batch_norm != BatchNorm::Eval {
            let found = s.batch_norm.to_string();
            return Err(subject::argument("batch-norm", "nothing beside --statistics", &found));
        }
        let samples = s.problem.samples.count();
        let statistics = match self {
            Handling::Frozen => Statistics::Frozen,
            Handling::Batch(size) => Statistics::Batch(size.unwrap_or(128.min(samples))),
            Handling::Reestimate(size) => Statistics::Reestimated(size.unwrap_or(samples)),
        };
        Ok(Conditions { statistics: statistics.of(&s.problem)?, micro_batch: s.micro_batch, blocks: Vec::new() })
    }
}

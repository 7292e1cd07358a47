//! Checks of identities: by how much each is missed, and how that is tried.

use serde::{Deserialize, Serialize};

use crate::{operator::uniform, problem::BatchNorm};

/// How a network is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    /// Statistics of batch normalization. The identities of batch normalization hold with those of batches alone: in
    /// evaluation mode they are tried all the same, and fail.
    pub batch_norm: BatchNorm,
    /// Samples at once in evaluation mode; 128 by default.
    pub micro_batch: Option<usize>,
    /// Seed of random directions.
    pub seed: u64,
}

impl Default for Verify {
    fn default() -> Self {
        Verify { batch_norm: BatchNorm::Full, micro_batch: None, seed: 0 }
    }
}

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The residual is within the bound.
    Pass,
    /// It is not.
    Fail,
    /// The identity says nothing about this network, and why.
    Skipped(String),
}

/// An identity, and by how much it is missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// What must hold, as a formula.
    pub what: String,
    /// The weight of the layer that it is about, where it is about one.
    pub layer: Option<String>,
    /// By how much it is missed, relative to its sides; none where it could not be tried.
    pub residual: Option<f64>,
    /// The most by which it may be.
    pub bound: f64,
    /// How it came out.
    pub status: Status,
}

/// Of an identity in f32: symmetry, linearity, one direction and several.
pub(crate) const ROUNDING: f64 = 1e-5;

pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// A part of a whole; nothing is none of nothing.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { part / whole }
}

/// Numbers in (−1, 1) that a seed and a stream determine.
pub(crate) fn random(n: usize, seed: u64, stream: u32) -> Vec<f64> {
    let one = |i: usize| 2.0 * uniform([i as u32, stream, 0], b"veri", seed)[0] - 1.0;
    (0..n).map(|i| f64::from(one(i) as f32)).collect()
}

impl Check {
    pub(crate) fn new(name: &str, what: &str, layer: Option<&str>, residual: f64, bound: f64) -> Self {
        // Not a number is no pass.
        let status = if residual <= bound { Status::Pass } else { Status::Fail };
        let layer = layer.map(String::from);
        Check { name: name.into(), what: what.into(), layer, residual: Some(residual), bound, status }
    }

    pub(crate) fn skipped(name: &str, what: &str, bound: f64, why: &str) -> Self {
        let status = Status::Skipped(why.into());
        Check { name: name.into(), what: what.into(), layer: None, residual: None, bound, status }
    }
}

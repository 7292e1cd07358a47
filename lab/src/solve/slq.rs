//! Stochastic Lanczos quadrature (SLQ): the density of a spectrum, and traces of functions.

use hillshade_engine::Session;
use serde::{Deserialize, Serialize};

use crate::solve::{eigen::*, krylov::*, trace::*};
use crate::{error::*, operator::*};

/// How a density is measured.
#[derive(Debug, Clone, Copy)]
pub struct Quadrature {
    /// Lanczos steps for each probe: moments up to `2 steps − 1` are exact for it.
    pub steps: usize,
    /// Probes.
    pub probes: usize,
    /// How probes are drawn.
    pub probe: Probe,
    /// Seed of the probes.
    pub seed: u64,
}

impl Default for Quadrature {
    fn default() -> Self {
        Quadrature { steps: 80, probes: 10, probe: Probe::Rademacher, seed: 0 }
    }
}

/// The quadratures of each probe: nodes, ascending, and weights that add up to 1. No smoothing is in them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Density {
    /// Dimension of the operator.
    pub dimension: usize,
    /// For each probe its nodes and weights.
    pub probes: Vec<Vec<(f64, f64)>>,
    /// Lanczos steps of a probe.
    pub steps: usize,
    /// How probes were drawn.
    pub probe: Probe,
    /// Products with one direction.
    pub products: u64,
    /// Seed of the probes.
    pub seed: u64,
    /// What was measured.
    pub setting: Setting,
}

impl Density {
    /// Measures probes that are not yet there: a density that was stored goes on where it stopped. `watch` hears of
    /// products done and of all; `done` of every probe, so that it can be stored.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for no steps or no probes.
    pub fn measure(
        session: &mut Session, a: &mut dyn Operator, quadrature: Quadrature, stored: Option<Density>,
        watch: &mut Watch, mut done: impl FnMut(&Density) -> Result<()>,
    ) -> Result<Density> {
        let n = a.dimension();
        let none = quadrature.steps == 0 || quadrature.probes == 0;
        refuse!(none, "quadrature", "1 or more steps and probes", format!("{quadrature:?}"));
        let (steps, probe, seed) = (quadrature.steps.min(n), quadrature.probe, quadrature.seed);
        let (probes, setting) = (Vec::new(), measured(session, a));
        let empty = Density { dimension: n, probes, steps, probe, products: 0, seed, setting };
        if let Some(old) = &stored
            && (Density { probes: Vec::new(), products: 0, ..old.clone() }) != empty
        {
            let expected = format!("one of {quadrature:?}, {:?}", empty.setting);
            return Err(argument("stored density", expected, "another one"));
        }
        let mut density = stored.unwrap_or(empty);
        let all = (quadrature.probes * steps) as u64;
        for index in density.probes.len()..quadrature.probes {
            let mut krylov = Krylov::new(session, n, steps, 1, probe, seed, index as u32)?;
            for _ in 0..steps {
                krylov.step(session, a)?;
                watch((index * steps) as u64 + krylov.products, all);
                // An invariant subspace: the quadrature is exact, what follows would have weight 0.
                if krylov.rest[(0, 0)] == 0.0 {
                    break;
                }
            }
            let ritz = krylov.ritz();
            let weight = |j: usize| ritz.vectors[(0, j)] * ritz.vectors[(0, j)];
            density.probes.push(ritz.values.iter().enumerate().map(|(j, &theta)| (theta, weight(j))).collect());
            density.products += krylov.products;
            done(&density)?;
        }
        Ok(density)
    }

    /// `tr f(A) ≈ n mean Σ wₖ f(θₖ)`, with the standard error over probes.
    pub fn trace_of(&self, f: impl Fn(f64) -> f64) -> Estimate {
        let of_probe = |p: &Vec<(f64, f64)>| self.dimension as f64 * p.iter().map(|&(t, w)| w * f(t)).sum::<f64>();
        let samples: Vec<f64> = self.probes.iter().map(of_probe).collect();
        Estimate::new(&samples, 0.0, "lanczos quadrature", [self.products, self.seed], self.setting.clone())
    }

    /// The sum of squared eigenvalues, that of their moduli, the number of negative ones and the trace.
    pub fn summary(&self) -> [(&'static str, Estimate); 4] {
        [
            ("trace", self.trace_of(|t| t)),
            ("sum of squares", self.trace_of(|t| t * t)),
            ("sum of moduli", self.trace_of(f64::abs)),
            ("negative eigenvalues", self.trace_of(|t| f64::from(u8::from(t < 0.0)))),
        ]
    }

    /// The smoothed density at `t` of each probe: `Σ wₖ N(t; θₖ, σ²)`.
    pub fn at(&self, t: f64, sigma: f64) -> Vec<f64> {
        let scale = 1.0 / (sigma * std::f64::consts::TAU.sqrt());
        let kernel = |theta: f64| scale * (-0.5 * ((t - theta) / sigma).powi(2)).exp();
        self.probes.iter().map(|p| p.iter().map(|&(theta, w)| w * kernel(theta)).sum()).collect()
    }

    /// The width of Papyan (2019): for nodes mapped to ±1, `σ = 2/((m − 1) √(8 ln 3))`.
    pub fn sigma(&self) -> f64 {
        let nodes = || self.probes.iter().flatten().map(|&(t, _)| t);
        let (low, high) = (nodes().fold(f64::INFINITY, f64::min), nodes().fold(f64::NEG_INFINITY, f64::max));
        let m = self.probes.iter().map(Vec::len).max().unwrap_or(2).max(2) as f64;
        let half = (0.5 * 1.05 * (high - low)).max(f64::MIN_POSITIVE);
        half * 2.0 / ((m - 1.0) * (8.0 * 3f64.ln()).sqrt())
    }
}

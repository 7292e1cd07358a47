//! Sharpness-aware gradients: taken not where the parameters are but uphill of there.

use hillshade_engine::{Graph, Var};
use serde::{Deserialize, Serialize};

use crate::{Param, Result};

/// A step uphill from the parameters `θ` to `θ + e`, where the gradient is taken by which any optimizer then updates `θ`.
///
/// Norms and inner products are over all trained parameters together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Perturbation {
    /// `e = ρ g / (‖g‖ + 1e-12)`, sharpness-aware minimization (Foret et al. 2021).
    Sam {
        /// The length `ρ` of the step, above 0; 0.05 is usual.
        rho: f64,
    },
    /// `e = ρ T² g / (‖T g‖ + 1e-16)` with `T = |w| + 0.01` for parameters of two or more axes, the weights, and `T = 1`
    /// for the others: a step that does not change when weights are rescaled (Kwon et al. 2021).
    Asam {
        /// The size `ρ` of the step, in units of the weights, above 0; 0.5 is usual.
        rho: f64,
    },
}

/// The least scale of a weight in [`Perturbation::Asam`]; η in the paper.
const LEAST: f64 = 0.01;

impl Perturbation {
    /// The gradient of `loss` at `θ + e`, in the order of `params`, whose values in the graph are `θ`. The ops between
    /// them and the loss are added again; what else the graph does, such as the assignments of running statistics, stays
    /// that of `θ`. Ops that do not depend on the parameters are shared: a dropout mask is the same at both places.
    ///
    /// To first order in `ρ`, SAM's is `g + ρ H g / ‖g‖`.
    ///
    /// # Errors
    ///
    /// The engine's: an op without a derivative, or a loss that is no scalar.
    pub fn gradient(&self, g: &mut Graph, loss: Var, params: &[&Param]) -> Result<Vec<Var>> {
        let at: Vec<Var> = params.iter().map(|p| p.var).collect();
        let gradient = g.grad(loss, &at)?;
        let mut scales = Vec::new();
        for p in params {
            let adaptive = matches!(self, Perturbation::Asam { .. }) && p.shape.len() > 1;
            let magnitude = adaptive.then(|| g.abs(p.var)).transpose()?;
            scales.push(magnitude.map(|m| g.affine(m, 1.0, LEAST)).transpose()?);
        }
        let scaled = scale(g, &gradient, &scales)?;
        let (rho, least) = match *self {
            Perturbation::Sam { rho } => (rho, 1e-12),
            Perturbation::Asam { rho } => (rho, 1e-16),
        };
        let norm = norm(g, &scaled)?;
        let length = g.affine(norm, 1.0, least)?;
        let inverse = g.recip(length)?;
        let factor = g.affine(inverse, rho, 0.0)?;
        let uphill = scale(g, &scaled, &scales)?;
        let mut there = Vec::new();
        for (&p, step) in at.iter().zip(self::scaled(g, &uphill, factor)?) {
            there.push(g.add(p, step)?);
        }
        let perturbed = g.replay(&[loss], &at, &there)?;
        Ok(g.grad(perturbed[0], &there)?)
    }
}

/// `T x`, where there is a `T`.
fn scale(g: &mut Graph, x: &[Var], scales: &[Option<Var>]) -> Result<Vec<Var>> {
    let product = |(&x, &scale): (&Var, &Option<Var>)| Ok(scale.map_or(Ok(x), |scale| g.mul(scale, x))?);
    x.iter().zip(scales).map(product).collect()
}

/// `factor x`, for each array.
pub(crate) fn scaled(g: &mut Graph, x: &[Var], factor: Var) -> Result<Vec<Var>> {
    x.iter().map(|&x| Ok(g.mul(x, factor)?)).collect()
}

/// `‖x‖₂` over all arrays together, `[]`; of none, 0.
pub(crate) fn norm(g: &mut Graph, x: &[Var]) -> Result<Var> {
    let mut total = None;
    for &x in x {
        let square = g.mul(x, x)?;
        let axes: Vec<usize> = (0..g.shape(square).len()).collect();
        let sum = g.sum(square, &axes)?;
        total = Some(match total {
            Some(total) => g.add(total, sum)?,
            None => sum,
        });
    }
    match total {
        Some(total) => Ok(g.sqrt(total)?),
        None => Ok(g.fill(&[], 0.0)?),
    }
}

//! Sharpness-aware minimization: gradients taken uphill of the parameters.

use hillshade_engine::Tensor;
use serde::{Deserialize, Serialize};

use crate::{error::*, nn::Param, train::intervention::*, train::task::Task};

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
    pub fn gradient<'g>(&self, loss: Tensor<'g>, params: &[&Param]) -> Result<Vec<Tensor<'g>>> {
        let at: Vec<Tensor> = params.iter().map(|p| p.value(loss.graph())).collect();
        self.uphill(loss, params, &loss.grad(&at)?)
    }

    /// The same from the gradient at `θ`.
    fn uphill<'g>(&self, loss: Tensor<'g>, params: &[&Param], gradient: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        let g = loss.graph();
        let (rho, least, adaptive) = match *self {
            Perturbation::Sam { rho } => (rho, 1e-12, false),
            Perturbation::Asam { rho } => (rho, 1e-16, true),
        };
        let at: Vec<Tensor> = params.iter().map(|p| p.value(g)).collect();
        let scales = params.iter().map(|p| (adaptive && p.shape.len() > 1).then(|| p.value(g).abs() + LEAST));
        let scales: Vec<Option<Tensor>> = scales.collect();
        let scaled = |x: &[Tensor<'g>]| -> Vec<Tensor<'g>> {
            x.iter().zip(&scales).map(|(&x, scale)| scale.map_or(x, |scale| scale * x)).collect()
        };
        let gradient = scaled(gradient);
        let factor = (norm(g, &gradient) + least).recip() * rho;
        let there: Vec<Tensor> = at.iter().zip(scaled(&gradient)).map(|(&p, uphill)| p + uphill * factor).collect();
        let perturbed = g.substitute(&[loss], &at, &there)?;
        Ok(perturbed[0].grad(&there)?)
    }
}

impl Intervention for Perturbation {
    fn check(&self, _: &Task, _: usize) -> Result<()> {
        match *self {
            Perturbation::Sam { rho } => expect_positive("sam", rho, ""),
            Perturbation::Asam { rho } => expect_positive("asam", rho, ""),
        }
    }

    fn gradient<'g>(
        &self, loss: Tensor<'g>, gradients: Vec<Tensor<'g>>, step: &mut Step<'_, 'g>,
    ) -> Result<Vec<Tensor<'g>>> {
        expect(step.scale.is_none(), "loss-scale", "no sharpness-aware steps beside it", "both")?;
        self.uphill(loss, &step.builder.trained().collect::<Vec<_>>(), &gradients)
    }
}

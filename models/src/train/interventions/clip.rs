//! Gradient clipping: no gradient is longer than a given norm.

use hillshade_engine::Tensor;

use crate::{error::*, train::intervention::*, train::task::Task};

/// Shortens gradients, all by one factor, where together they are longer than this: `g min(1, most/(‖g‖ + 1e-6))`, as
/// PyTorch's `clip_grad_norm_` (Pascanu et al. 2013).
#[derive(Debug)]
pub struct Clip(pub f64);

impl Intervention for Clip {
    fn check(&self, _: &Task, _: usize) -> Result<()> {
        expect_positive("clip", self.0, "")
    }

    fn gradient<'g>(
        &self, _: Tensor<'g>, gradients: Vec<Tensor<'g>>, step: &mut Step<'_, 'g>,
    ) -> Result<Vec<Tensor<'g>>> {
        let g = step.graph();
        let factor = ((norm(g, &gradients) + 1e-6).recip() * self.0).min(g.fill(&[], 1.0));
        Ok(gradients.into_iter().map(|gradient| gradient * factor).collect())
    }
}

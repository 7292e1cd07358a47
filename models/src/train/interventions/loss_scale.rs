//! Loss scaling: gradients of a multiple of the loss; a step whose gradient is not finite is left out.

use hillshade_engine::Tensor;
use serde::{Deserialize, Serialize};

use crate::{error::*, nn::*, train::intervention::*, train::task::Task};

/// What the loss is multiplied by before its gradient is taken, and the gradient divided by after (Micikevicius et al.
/// 2018). A step whose gradient is not finite is left out: parameters and the optimizer's states stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossScale {
    /// A number.
    Static(f64),
    /// A power of two from 65,536 on: halved by a step that is left out, doubled, up to 2²⁴, by 2,000 that are not.
    Dynamic,
}

/// Good steps after which a dynamic scale is doubled.
const PATIENCE: f64 = 2000.0;

/// The state that counts steps that were left out.
pub(crate) const SKIPPED: &str = "scale/skipped";

impl Intervention for LossScale {
    fn check(&self, _: &Task, _: usize) -> Result<()> {
        match *self {
            LossScale::Static(scale) => expect_positive("loss-scale", scale, ", or dynamic"),
            LossScale::Dynamic => Ok(()),
        }
    }

    fn loss<'g>(&self, losses: Tensor<'g>, step: &mut Step<'_, 'g>) -> Result<Tensor<'g>> {
        let begin = if let LossScale::Static(scale) = *self { scale } else { 65_536.0 };
        step.scale = Some(step.state("scale/loss", &[1], Init::Constant(begin)));
        Ok(losses)
    }

    fn update<'g>(&self, gradients: &[Tensor<'g>], step: &mut Step<'_, 'g>) -> Result<()> {
        let g = step.graph();
        let finite = norm(g, gradients).le(g.fill(&[], f32::MAX.into()));
        for (state, value) in g.take_assigns() {
            let kept = if step.learned.contains(&state) { finite.select(value, state) } else { value };
            g.assign(state, kept);
        }
        let skipped = step.state(SKIPPED, &[1], Init::Zeros);
        step.log(SKIPPED, skipped + (1.0 - finite));
        if let (LossScale::Dynamic, Some(held)) = (self, step.scale) {
            let (good, zero) = (step.state("scale/good", &[1], Init::Zeros), g.fill(&[], 0.0));
            let more = good + 1.0;
            let due = more.ge(g.fill(&[], PATIENCE));
            let grown = (held * (due + 1.0)).clamp(0.0, 16_777_216.0);
            g.assign(held, finite.select(grown, held * 0.5));
            g.assign(good, finite.select(due.select(zero, more), zero));
        }
        Ok(())
    }
}

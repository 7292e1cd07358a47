//! Gradients of a multiple of the loss, and steps that are left out because theirs is not finite.

use hillshade_engine::{Graph, Tensor};
use serde::{Deserialize, Serialize};

use crate::{error::*, nn::*, train::interventions::sam::norm};

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

/// A state of one number.
fn state(g: &Graph, name: &str, value: f64) -> Param {
    Param::state(g, name.into(), &[1], Init::Constant(value))
}

impl LossScale {
    /// The state that holds the scale.
    pub(crate) fn state(self, g: &Graph) -> Param {
        let begin = match self {
            LossScale::Static(scale) => scale,
            LossScale::Dynamic => 65_536.0,
        };
        state(g, "scale/loss", begin)
    }

    /// The states as they are after a step, those that are `learned` as they were before where the gradient is not finite.
    /// Returns its own states.
    pub(crate) fn guard(self, g: &Graph, gradient: &[Tensor], learned: &[Tensor], scale: Param) -> Vec<Param> {
        let finite = norm(g, gradient).le(g.fill(&[], f32::MAX.into()));
        for (state, value) in g.take_assigns() {
            let kept = if learned.contains(&state) { finite.select(value, state) } else { value };
            g.assign(state, kept);
        }
        let (skipped, held) = (state(g, SKIPPED, 0.0), scale.value(g));
        g.assign(skipped.value(g), skipped.value(g) + (1.0 - finite));
        let mut states = vec![scale, skipped];
        if self == LossScale::Dynamic {
            states.push(state(g, "scale/good", 0.0));
            let (good, zero) = (states[2].value(g), g.fill(&[], 0.0));
            let more = good + 1.0;
            let due = more.ge(g.fill(&[], PATIENCE));
            let grown = (held * (due + 1.0)).clamp(0.0, 16_777_216.0);
            g.assign(held, finite.select(grown, held * 0.5));
            g.assign(good, finite.select(due.select(zero, more), zero));
        }
        states
    }
}

/// The gradient of `scale · loss`, divided by the scale.
pub(crate) fn gradient<'g>(loss: Tensor<'g>, wrt: &[Tensor<'g>], scale: Tensor<'g>) -> Result<Vec<Tensor<'g>>> {
    let (scaled, inverse) = (loss.graph().vjp(&[loss], &[scale.reshape(&[])], wrt)?, scale.recip());
    Ok(scaled.into_iter().map(|d| d * inverse).collect())
}

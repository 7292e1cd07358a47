//! Gradients of a multiple of the loss, and steps that are left out because theirs is not finite.

use hillshade_engine::{Graph, Var};
use serde::{Deserialize, Serialize};

use crate::{Init, Param, Result, sharpness::norm};

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
fn state(g: &mut Graph, name: &str, value: f64) -> Result<Param> {
    let (name, shape, init) = (name.to_string(), vec![1], Init::Constant(value));
    let var = g.state(&name, &shape)?;
    Ok(Param { name, shape, init, trained: false, decayed: false, image: None, var })
}

impl LossScale {
    /// The state that holds the scale.
    pub(crate) fn state(self, g: &mut Graph) -> Result<Param> {
        let begin = match self {
            LossScale::Static(scale) => scale,
            LossScale::Dynamic => 65_536.0,
        };
        state(g, "scale/loss", begin)
    }

    /// The states as they are after a step, those that are `learned` as they were before where the gradient is not finite.
    /// Returns its own states.
    pub(crate) fn guard(self, g: &mut Graph, gradient: &[Var], learned: &[Var], scale: Param) -> Result<Vec<Param>> {
        let (length, most) = (norm(g, gradient)?, g.fill(&[], f32::MAX.into())?);
        let finite = g.le(length, most)?;
        let assigns = g.assigns().to_vec();
        *g = g.without_assigns();
        for (state, value) in assigns {
            let value = if learned.contains(&state) { g.select(finite, value, state)? } else { value };
            g.assign(state, value)?;
        }
        let (skipped, lost) = (state(g, SKIPPED, 0.0)?, g.affine(finite, -1.0, 1.0)?);
        let lost = g.add(skipped.var, lost)?;
        g.assign(skipped.var, lost)?;
        let mut states = vec![scale.clone(), skipped];
        if self == LossScale::Dynamic {
            let good = state(g, "scale/good", 0.0)?;
            let (more, enough) = (g.affine(good.var, 1.0, 1.0)?, g.fill(&[], PATIENCE)?);
            let due = g.ge(more, enough)?;
            let [grown, shrunk, zero] = [g.affine(due, 1.0, 1.0)?, g.affine(scale.var, 0.5, 0.0)?, g.fill(&[], 0.0)?];
            let grown = g.mul(scale.var, grown).and_then(|grown| g.clamp(grown, 0.0, 16_777_216.0))?;
            let next = g.select(finite, grown, shrunk)?;
            g.assign(scale.var, next)?;
            let counted = g.select(due, zero, more)?;
            let counted = g.select(finite, counted, zero)?;
            g.assign(good.var, counted)?;
            states.push(good);
        }
        Ok(states)
    }
}

/// The gradient of `scale · loss`, divided by the scale.
pub(crate) fn gradient(g: &mut Graph, loss: Var, wrt: &[Var], scale: Var) -> Result<Vec<Var>> {
    let ct = g.reshape(scale, &[])?;
    let (scaled, inverse) = (g.vjp(&[loss], &[ct], wrt)?, g.recip(scale)?);
    scaled.into_iter().map(|d| Ok(g.mul(d, inverse)?)).collect()
}

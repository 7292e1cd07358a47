//! The kinds of curvature matrices, and their products as graphs.

use std::fmt;

use hillshade_engine::{Graph, Var, philox};
use serde::{Deserialize, Serialize};

use crate::{Likelihood, Parts, Result};

/// Which matrix. `Jᵢ` is the Jacobian of target `i`'s outputs, `Hᵢ` the second derivative of its loss in them, `rᵢ` the first.
/// With batch statistics `Jᵢ` is that of the whole batch's output map.
///
/// An image has one target. A sequence has one for each token, and means are over all tokens: these are the Fisher matrices
/// of the distribution of a token, given those before it (Kunstner et al. 2019).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The Hessian of the mean loss.
    #[default]
    Hessian,
    /// Generalized Gauss-Newton: `mean Jᵢᵀ Hᵢ Jᵢ` (Schraudolph 2002).
    Ggn,
    /// `mean Jᵢᵀ ĝ ĝᵀ Jᵢ` with `ĝ = rᵢ` at targets drawn from the model, averaged over `draws` draws (Martens 2020).
    Fisher {
        /// Targets drawn for each sample.
        draws: u32,
    },
    /// `mean Jᵢᵀ rᵢ rᵢᵀ Jᵢ`, with the data's own targets.
    Empirical,
    /// `mean gₛ gₛᵀ` over the gradients `gₛ` of the samples' losses, which for a sequence are means over its tokens; the
    /// empirical Fisher matrix where a sample has one target.
    Moment,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Kind::Hessian => f.write_str("hessian"),
            Kind::Ggn => f.write_str("ggn"),
            Kind::Fisher { draws } => write!(f, "fisher({draws})"),
            Kind::Empirical => f.write_str("empirical fisher"),
            Kind::Moment => f.write_str("second moment"),
        }
    }
}

/// The input that holds the gradients in the outputs at drawn targets.
pub(crate) const DRAWN: &str = "lab/drawn";

/// The gradient in a target's outputs where it is drawn from the likelihood: the same for a seed, place and draw.
pub(crate) fn slope_at_draw(likelihood: Likelihood, z: &[f64], seed: u64, place: usize, draw: u32) -> Vec<f32> {
    let uniform = |entry: usize| {
        let word = philox(
            [place as u32, entry as u32, draw, u32::from_be_bytes(*b"fish")],
            [seed as u32, (seed >> 32) as u32],
        );
        [word[0], word[1]].map(|w| (f64::from(w) + 0.5) / 4_294_967_296.0)
    };
    match likelihood {
        Likelihood::Categorical => {
            let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = z.iter().map(|z| (z - most).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut rest = uniform(0)[0] * total;
            let target = weights.iter().position(|w| {
                rest -= w;
                rest < 0.0
            });
            let target = target.unwrap_or(z.len() - 1);
            weights.iter().enumerate().map(|(c, w)| (w / total - f64::from(u8::from(c == target))) as f32).collect()
        }
        Likelihood::Gaussian { curvature } => (0..z.len())
            .map(|c| {
                let [a, b] = uniform(c);
                let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
                (curvature.sqrt() * normal) as f32
            })
            .collect(),
    }
}

/// A product of a curvature matrix and a direction, both in the parameters' shapes; a sample has so many targets.
pub(crate) fn product(
    g: &mut Graph,
    kind: Kind,
    loss: Var,
    parts: Parts,
    targets: usize,
    [wrt, v]: [&[Var]; 2],
) -> Result<Vec<Var>> {
    let outputs = parts.outputs;
    if kind == Kind::Hessian {
        return Ok(g.hvp(loss, wrt, v)?);
    }
    let moved = g.jvp(&[outputs], wrt, v)?;
    let pulled = match kind {
        Kind::Ggn => {
            let slope = g.grad(loss, &[outputs])?;
            g.jvp(&slope, &[outputs], &moved)?[0]
        }
        _ => {
            let shape = g.shape(outputs).to_vec();
            let (slopes, draws) = match kind {
                Kind::Fisher { draws } => (g.input(DRAWN, &[&[draws as usize], &shape[..]].concat())?, draws),
                _ => {
                    let total = g.sum(parts.losses, &[0])?;
                    let own = g.grad(total, &[outputs])?[0];
                    // A sample's loss is the mean of its targets'.
                    let each = if kind == Kind::Moment { 1.0 } else { targets as f64 };
                    let own = g.affine(own, each, 0.0)?;
                    (g.unsqueeze(own, &[0])?, 1)
                }
            };
            let (first, terms) = match (kind, targets) {
                (Kind::Moment, _) | (_, 1) => (2, shape[0]),
                _ => (3, shape[0] * targets),
            };
            let axes: Vec<usize> = (first..=shape.len()).collect();
            let along = g.mul(slopes, moved[0])?;
            let along = g.sum(along, &axes)?;
            let along = g.unsqueeze(along, &axes)?;
            let scaled = g.mul(slopes, along)?;
            let sum = g.sum(scaled, &[0])?;
            g.affine(sum, 1.0 / (f64::from(draws) * terms as f64), 0.0)?
        }
    };
    Ok(g.vjp(&[outputs], &[pulled], wrt)?)
}

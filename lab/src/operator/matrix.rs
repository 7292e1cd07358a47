//! Which curvature matrix: the Hessian, Gauss-Newton and Fisher matrices, and their products as graphs.

use std::fmt;

use hillshade_engine::Tensor;
use serde::{Deserialize, Serialize};

use crate::{operator::vectors::*, problem::*};

/// Which matrix. `Jᵢ` is the Jacobian of target `i`'s outputs, `Hᵢ` the second derivative of its loss in them, `rᵢ` the first.
/// With batch statistics `Jᵢ` is that of the whole batch's output map.
///
/// An image has one target. A sequence has one for each token, and means are over all tokens: these are the Fisher matrices
/// of the distribution of a token, given those before it (Kunstner et al. 2019).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matrix {
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

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Matrix::Hessian => f.write_str("hessian"),
            Matrix::Ggn => f.write_str("ggn"),
            Matrix::Fisher { draws } => write!(f, "fisher({draws})"),
            Matrix::Empirical => f.write_str("empirical fisher"),
            Matrix::Moment => f.write_str("second moment"),
        }
    }
}

/// The input that holds the gradients in the outputs at drawn targets.
pub(crate) const DRAWN: &str = "lab/drawn";

/// The gradient in a target's outputs where it is drawn from the likelihood: the same for a seed, place and draw.
pub(crate) fn slope_at_draw(likelihood: Likelihood, z: &[f64], seed: u64, place: usize, draw: u32) -> Vec<f32> {
    let uniform = |entry: usize| uniform([place as u32, entry as u32, draw], b"fish", seed);
    match likelihood {
        Likelihood::Categorical => {
            let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = z.iter().map(|z| (z - most).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut rest = uniform(0)[0] * total;
            let below = weights.iter().position(|w| {
                rest -= w;
                rest < 0.0
            });
            let target = below.unwrap_or(z.len() - 1);
            weights.iter().enumerate().map(|(c, w)| (w / total - f64::from(u8::from(c == target))) as f32).collect()
        }
        Likelihood::Gaussian { curvature } => {
            (0..z.len()).map(|c| (curvature.sqrt() * box_muller(uniform(c))) as f32).collect()
        }
    }
}

/// A product of a curvature matrix and a direction, both in the parameters' shapes; a sample has so many targets.
pub(crate) fn product<'g>(
    matrix: Matrix, loss: Tensor<'g>, Parts { losses, outputs }: Parts<'g>, targets: usize,
    [wrt, v]: [&[Tensor<'g>]; 2],
) -> hillshade_engine::Result<Vec<Tensor<'g>>> {
    let g = loss.graph();
    if matrix == Matrix::Hessian {
        return loss.hvp(wrt, v);
    }
    let moved = g.jvp(&[outputs], wrt, v)?;
    if matrix == Matrix::Ggn {
        let pulled = g.jvp(&loss.grad(&[outputs])?, &[outputs], &moved)?;
        return g.vjp(&[outputs], &pulled, wrt);
    }
    let shape = outputs.shape()?;
    let (slopes, draws) = match matrix {
        Matrix::Fisher { draws } => (g.input(DRAWN, &[&[draws as usize], shape].concat()), draws),
        _ => {
            // A sample's loss is the mean of its targets'.
            let each = if matrix == Matrix::Moment { 1.0 } else { targets as f64 };
            ((losses.sum_all().grad(&[outputs])?[0] * each).unsqueeze(&[0]), 1)
        }
    };
    let (first, terms) = match (matrix, targets) {
        (Matrix::Moment, _) | (_, 1) => (2, shape[0]),
        _ => (3, shape[0] * targets),
    };
    let axes: Vec<usize> = (first..=shape.len()).collect();
    let along = (slopes * moved[0]).sum(&axes).unsqueeze(&axes);
    let pulled = (slopes * along).sum(&[0]) / (f64::from(draws) * terms as f64);
    g.vjp(&[outputs], &[pulled], wrt)
}

//! Weights, and what may stand for them.

use hillshade_engine::Var;

use super::Builder;
use crate::{Init, Result};

/// How the weights of dense layers and convolutions come from parameters; a *filter* is what leads to one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reparametrization {
    /// They are the parameters.
    #[default]
    None,
    /// `w = g v/‖v‖` by filters: length and direction apart (Salimans and Kingma 2016). The lengths `g` begin as those
    /// that `v` has in the mean, as far as the way in which it begins tells.
    Norm,
    /// `w = (v − mean)/√(variance + 1e-5)` by filters of convolutions: weight standardization (Qiao et al. 2019).
    Standardized,
}

/// Added to the variance of a filter; 1e-5 in the paper.
const EPS: f64 = 1e-5;

impl Builder {
    /// A weight whose last axis is that of the filters. With [`Reparametrization::Norm`] its parameters are PyTorch's
    /// `weight_g` and `weight_v`, else `weight`.
    pub(super) fn weight(&mut self, shape: &[usize], init: Init, image: Option<[usize; 3]>) -> Result<Var> {
        let name = if self.reparametrization == Reparametrization::Norm { "weight_v" } else { "weight" };
        let v = self.param(name, shape, init)?;
        if let Some(p) = self.params.last_mut() {
            p.image = image;
        }
        let axes: Vec<usize> = (0..shape.len() - 1).collect();
        match self.reparametrization {
            Reparametrization::None => Ok(v),
            Reparametrization::Standardized if shape.len() < 4 => Ok(v),
            Reparametrization::Standardized => self.standardize(v, &axes, EPS),
            Reparametrization::Norm => {
                let filters = [shape[shape.len() - 1]];
                let length = self.param("weight_g", &filters, Init::Constant(init.length(shape)))?;
                let squares = self.g.mul(v, v)?;
                let squares = self.g.sum(squares, &axes)?;
                let inverse = self.g.rsqrt(squares)?;
                let scale = self.g.mul(length, inverse)?;
                Ok(self.g.mul(v, scale)?)
            }
        }
    }
}

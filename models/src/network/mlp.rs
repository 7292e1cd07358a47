//! Dense layers with an activation between them.

use hillshade_engine::Var;

use super::{Activation, Weights};
use crate::{Builder, Result};

/// A multilayer perceptron.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// Features of the hidden layers.
    pub widths: Vec<usize>,
    /// What hidden features go through.
    pub activation: Activation,
    /// How weights begin; by default as suits the activation: Glorot's way for tanh, He's for the others.
    pub init: Option<Weights>,
    /// Probability with which hidden features are dropped in training.
    pub dropout: f32,
}

impl Default for Mlp {
    fn default() -> Self {
        Mlp { widths: vec![256, 256], activation: Activation::Relu, init: None, dropout: 0.0 }
    }
}

impl Mlp {
    pub(super) fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        let mut y = b.flatten(x)?;
        let init = self.init.unwrap_or(match self.activation {
            Activation::Tanh => Weights::Glorot,
            _ => Weights::He,
        });
        for (i, &width) in self.widths.iter().enumerate() {
            let init = init.of(b.g.shape(y)[1]);
            y = b.dense_from(&format!("hidden{i}"), y, width, init)?;
            y = self.activation.build(b, y)?;
            y = b.dropout(y, self.dropout)?;
        }
        let init = init.of(b.g.shape(y)[1]);
        b.dense_from("head", y, classes, init)
    }
}

//! Dense layers with an activation between them.

use hillshade_engine::Var;

use super::Activation;
use crate::{Builder, Result};

/// A multilayer perceptron.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// Features of the hidden layers.
    pub widths: Vec<usize>,
    /// What hidden features go through.
    pub activation: Activation,
    /// Probability with which hidden features are dropped in training.
    pub dropout: f32,
}

impl Default for Mlp {
    fn default() -> Self {
        Mlp { widths: vec![256, 256], activation: Activation::Relu, dropout: 0.0 }
    }
}

impl Mlp {
    pub(super) fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        let mut y = b.flatten(x)?;
        for (i, &width) in self.widths.iter().enumerate() {
            y = b.dense(&format!("hidden{i}"), y, width)?;
            y = self.activation.build(b, y)?;
            y = b.dropout(y, self.dropout)?;
        }
        b.dense("head", y, classes)
    }
}

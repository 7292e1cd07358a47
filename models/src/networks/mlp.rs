//! Multilayer perceptrons: dense layers with an activation between them.

use hillshade_engine::Tensor;

use crate::networks::{choices::*, family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["mlp"],
    about: "dense layers with an activation between them",
    source: "Rumelhart, Hinton and Williams 1986",
    ..Family::of::<Mlp>()
};

options! {
    /// A multilayer perceptron.
    Mlp {
        widths: Vec<usize> = "256-256", "features of the hidden layers";
        activation: Activation = "relu", "what hidden features go through";
        init: Weights = "auto", "how weights begin; auto is he, or glorot for tanh";
        dropout: f32 = "0", "share of hidden features dropped in training";
    }
}

impl Architecture for Mlp {
    fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, classes: usize) -> Result<Tensor<'g>> {
        let mut y = b.flatten(x);
        for (i, &width) in self.widths.iter().enumerate() {
            let init = self.init.of(self.activation, features(y)?);
            y = self.activation.of(b.dense_from(&format!("hidden{i}"), y, width, [init, Init::Zeros]));
            y = b.dropout(y, self.dropout);
        }
        let init = self.init.of(self.activation, features(y)?);
        Ok(b.dense_from("head", y, classes, [init, Init::Zeros]))
    }
}

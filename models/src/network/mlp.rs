//! Dense layers with an activation between them.

use std::sync::Arc;

use hillshade_engine::Var;

use super::{
    Architecture, Family, Setting, Takes,
    choices::{Activation, Weights},
};
use crate::{Builder, Init, Result};

pub(super) const FAMILY: Family = Family {
    names: &["mlp"],
    about: "dense layers with an activation between them",
    source: "Rumelhart, Hinton and Williams 1986",
    takes: Takes::Images,
    size: [28, 28, 1],
    classes: 10,
    has: |name| name == "mlp",
    settings: || {
        vec![
            Setting::sizes("widths", "256-256", "features of the hidden layers"),
            Setting::choice::<Activation>("activation", "relu", "what hidden features go through"),
            Setting::choice::<Weights>("init", "auto", "how weights begin; auto is he, or glorot for tanh"),
            Setting::share("dropout", "0", "share of hidden features dropped in training"),
        ]
    },
    make: |_, values| {
        Ok(Arc::new(Mlp {
            widths: values.sizes("widths")?,
            activation: values.choice("activation")?,
            init: values.choice("init")?,
            dropout: values.share("dropout")?,
        }))
    },
};

/// A multilayer perceptron.
#[derive(Debug)]
struct Mlp {
    widths: Vec<usize>,
    activation: Activation,
    init: Weights,
    dropout: f32,
}

impl Architecture for Mlp {
    fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        let mut y = b.flatten(x)?;
        for (i, &width) in self.widths.iter().enumerate() {
            let init = self.init.of(self.activation, b.g.shape(y)[1]);
            y = b.dense_from(&format!("hidden{i}"), y, width, [init, Init::Zeros])?;
            y = self.activation.build(b, y)?;
            y = b.dropout(y, self.dropout)?;
        }
        let init = self.init.of(self.activation, b.g.shape(y)[1]);
        b.dense_from("head", y, classes, [init, Init::Zeros])
    }
}

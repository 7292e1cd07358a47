//! Deep stacks of equal dense layers.

use std::sync::Arc;

use hillshade_engine::Var;

use super::{Architecture, Choice, Family, Setting, Takes, choices::Activation};
use crate::{Builder, Init, Result};

pub(super) const FAMILY: Family = Family {
    names: &["plain"],
    about: "dense layers of one width, as deep as one likes, for the mean-field theory of signals",
    source: "Poole et al. 2016; Schoenholz et al. 2017; Pennington et al. 2017",
    takes: Takes::Images,
    size: [28, 28, 1],
    classes: 10,
    has: |name| name == "plain",
    settings: || {
        vec![
            Setting::size("depth", "50", "hidden layers"),
            Setting::size("width", "128", "features of each"),
            Setting::choice::<Activation>("activation", "tanh", "what hidden features go through"),
            Setting::choice::<Start>("init", "orthogonal", "how weights begin"),
            Setting::number("sigma_w", "auto", "their scale: variance σ²/fan-in; auto is 1, or √2 for relu"),
            Setting::number("sigma_b", "0", "standard deviation of the first biases"),
        ]
    },
    make: |_, values| {
        let activation = values.choice("activation")?;
        let critical = if activation == Activation::Relu { std::f64::consts::SQRT_2 } else { 1.0 };
        Ok(Arc::new(Plain {
            depth: values.size("depth")?,
            width: values.size("width")?,
            activation,
            init: values.choice("init")?,
            sigma_w: values.number("sigma_w", "auto")?.unwrap_or(critical),
            sigma_b: values.number("sigma_b", "none")?.unwrap_or(0.0),
        }))
    },
};

/// How weights begin.
#[derive(Debug, Clone, Copy)]
enum Start {
    Gaussian,
    Orthogonal,
}

impl Choice for Start {
    const ALL: &'static [(&'static str, Self)] = &[("gaussian", Start::Gaussian), ("orthogonal", Start::Orthogonal)];
}

/// `depth` dense layers of `width` features, each with an activation; then one to the classes.
#[derive(Debug)]
struct Plain {
    depth: usize,
    width: usize,
    activation: Activation,
    init: Start,
    sigma_w: f64,
    sigma_b: f64,
}

impl Architecture for Plain {
    fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        let weight = match self.init {
            Start::Gaussian => Init::Scaled { gain: self.sigma_w },
            Start::Orthogonal => Init::Orthogonal { gain: self.sigma_w },
        };
        let init = [weight, Init::Normal { std: self.sigma_b }];
        let mut y = b.flatten(x)?;
        for i in 0..self.depth {
            y = b.dense_from(&format!("layer{i}"), y, self.width, init)?;
            y = self.activation.build(b, y)?;
        }
        b.dense_from("head", y, classes, init)
    }
}

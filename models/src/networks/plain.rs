//! Deep plain networks: equal dense layers without skip connections.

use hillshade_engine::Tensor;

use crate::networks::{choices::*, family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["plain"],
    about: "dense layers of one width, as deep as one likes, for the mean-field theory of signals",
    source: "Poole et al. 2016; Schoenholz et al. 2017; Pennington et al. 2017",
    ..Family::of::<Plain>()
};

choices! {
    /// Initializers of weights.
    Start { Gaussian = "gaussian", Orthogonal = "orthogonal", }
}

options! {
    /// `depth` dense layers of `width` features, each with an activation; then one to the classes.
    Plain {
        depth: usize = "50", "hidden layers";
        width: usize = "128", "features of each";
        activation: Activation = "tanh", "what hidden features go through";
        init: Start = "orthogonal", "how weights begin";
        sigma_w: Option<f64> = "auto", "their scale: variance σ²/fan-in; auto is 1, or √2 for relu";
        sigma_b: Option<f64> = "0", "standard deviation of the first biases";
    }
}

impl Architecture for Plain {
    fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, classes: usize) -> Result<Tensor<'g>> {
        let critical = if self.activation == Activation::Relu { std::f64::consts::SQRT_2 } else { 1.0 };
        let gain = self.sigma_w.unwrap_or(critical);
        let weight = match self.init {
            Start::Gaussian => Init::Scaled { gain },
            Start::Orthogonal => Init::Orthogonal { gain },
        };
        let init = [weight, Init::Normal { std: self.sigma_b.unwrap_or(0.0) }];
        let mut y = b.flatten(x);
        for i in 0..self.depth {
            y = self.activation.of(b.dense_from(&format!("layer{i}"), y, self.width, init));
        }
        Ok(b.dense_from("head", y, classes, init))
    }
}

//! Options that several networks have: activations, initializers, normalizations.

use hillshade_engine::Tensor;

use crate::{networks::options::*, nn::*};

choices! {
    /// What hidden features go through.
    Activation {
        /// `max(x, 0)`.
        Relu = "relu",
        /// `tanh x`.
        Tanh = "tanh",
        /// `x Φ(x)`, with the normal distribution function (Hendrycks and Gimpel 2016).
        Gelu = "gelu",
        /// `log(1 + eˣ)`.
        Softplus = "softplus",
        /// `x/(1 + e⁻ˣ)`.
        Silu = "silu",
    }
}

impl Activation {
    /// Of these features.
    #[track_caller]
    pub fn of(self, x: Tensor) -> Tensor {
        match self {
            Activation::Relu => x.relu(),
            Activation::Tanh => x.tanh(),
            Activation::Gelu => x.gelu(),
            Activation::Softplus => x.softplus(),
            Activation::Silu => x.silu(),
        }
    }
}

choices! {
    /// Initializers of the weights of dense layers.
    Weights {
        /// As suits the activation: Glorot's for tanh, He's for the others.
        Auto = "auto",
        /// [`Init::KaimingUniform`].
        He = "he",
        /// [`Init::XavierUniform`].
        Glorot = "glorot",
        /// [`Init::Uniform`], as PyTorch's dense layers.
        Uniform = "uniform",
        /// [`Init::Orthogonal`].
        Orthogonal = "orthogonal",
    }
}

impl Weights {
    /// The initializer of weights from so many features, before an activation.
    pub fn of(self, activation: Activation, fan_in: usize) -> Init {
        match (self, activation) {
            (Weights::Auto, Activation::Tanh) | (Weights::Glorot, _) => Init::XavierUniform,
            (Weights::Auto | Weights::He, _) => Init::KaimingUniform,
            (Weights::Uniform, _) => Init::Uniform { fan_in },
            (Weights::Orthogonal, _) => Init::Orthogonal { gain: 1.0 },
        }
    }
}

impl Choice for bool {
    const ALL: &'static [(&'static str, Self)] = &[("yes", true), ("no", false)];
}

impl Choice for Norm {
    const ALL: &'static [(&'static str, Self)] = &[
        ("batch", Norm::Batch),
        ("none", Norm::None),
        ("group", Norm::Group),
        ("layer", Norm::Layer),
        ("instance", Norm::Instance),
    ];
}

impl Choice for Reparametrization {
    const ALL: &'static [(&'static str, Self)] = &[
        ("plain", Reparametrization::None),
        ("normalized", Reparametrization::Norm),
        ("standardized", Reparametrization::Standardized),
    ];
}

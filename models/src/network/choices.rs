//! What several networks let one choose.

use hillshade_engine::Var;

use super::Choice;
use crate::{Builder, Init, Norm, Reparametrization, Result};

/// What hidden features go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `tanh x`.
    Tanh,
    /// `x Φ(x)`, with the normal distribution function (Hendrycks and Gimpel 2016).
    Gelu,
    /// `log(1 + eˣ)`.
    Softplus,
    /// `x/(1 + e⁻ˣ)`.
    Silu,
}

impl Choice for Activation {
    const ALL: &'static [(&'static str, Self)] = &[
        ("relu", Activation::Relu),
        ("tanh", Activation::Tanh),
        ("gelu", Activation::Gelu),
        ("softplus", Activation::Softplus),
        ("silu", Activation::Silu),
    ];
}

impl Activation {
    pub(super) fn build(self, b: &mut Builder, x: Var) -> Result<Var> {
        Ok(match self {
            Activation::Relu => b.g.relu(x)?,
            Activation::Tanh => b.g.tanh(x)?,
            Activation::Gelu => b.g.gelu(x)?,
            Activation::Softplus => b.g.softplus(x)?,
            Activation::Silu => b.g.silu(x)?,
        })
    }
}

/// How the weights of dense layers begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    /// As suits the activation: Glorot's way for tanh, He's for the others.
    Auto,
    /// [`Init::KaimingUniform`].
    He,
    /// [`Init::XavierUniform`].
    Glorot,
    /// [`Init::Uniform`], as PyTorch's dense layers.
    Uniform,
    /// [`Init::Orthogonal`].
    Orthogonal,
}

impl Choice for Weights {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Weights::Auto),
        ("he", Weights::He),
        ("glorot", Weights::Glorot),
        ("uniform", Weights::Uniform),
        ("orthogonal", Weights::Orthogonal),
    ];
}

impl Weights {
    pub(super) fn of(self, activation: Activation, fan_in: usize) -> Init {
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

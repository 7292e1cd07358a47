//! The networks, by name.

mod cnn;
mod mlp;
mod resnet;

pub use cnn::Cnn;
pub use mlp::Mlp;
pub use resnet::ResNet;

use hillshade_engine::{Conv, Var};

use crate::{Builder, Error, Init, Result};

/// A network with its options.
#[derive(Debug, Clone, PartialEq)]
pub enum Network {
    /// Dense layers.
    Mlp(Mlp),
    /// Convolutions for small images.
    Cnn(Cnn),
    /// The residual networks of He et al. 2015 for CIFAR.
    ResNet(ResNet),
}

/// The known names, with their options.
const KNOWN: &str = "mlp[:widths=256-256,activation=relu,init=he,dropout=0], cnn[:widths=16-32-64,norm=batch], \
                     resnet20[:norm=batch], resnet32, resnet44, resnet56, resnet110";

/// What hidden features go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
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

impl Activation {
    const ALL: [(&str, Activation); 5] = [
        ("relu", Activation::Relu),
        ("tanh", Activation::Tanh),
        ("gelu", Activation::Gelu),
        ("softplus", Activation::Softplus),
        ("silu", Activation::Silu),
    ];

    fn build(self, b: &mut Builder, x: Var) -> Result<Var> {
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
pub enum Weights {
    /// [`Init::KaimingUniform`].
    He,
    /// [`Init::XavierUniform`].
    Glorot,
    /// [`Init::Uniform`], as PyTorch's dense layers.
    Uniform,
    /// [`Init::Orthogonal`].
    Orthogonal,
}

impl Weights {
    const ALL: [(&str, Weights); 4] = [
        ("he", Weights::He),
        ("glorot", Weights::Glorot),
        ("uniform", Weights::Uniform),
        ("orthogonal", Weights::Orthogonal),
    ];

    fn of(self, fan_in: usize) -> Init {
        match self {
            Weights::He => Init::KaimingUniform,
            Weights::Glorot => Init::XavierUniform,
            Weights::Uniform => Init::Uniform { fan_in },
            Weights::Orthogonal => Init::Orthogonal,
        }
    }
}

/// What follows a convolution. Either way its weights begin as those of He et al. 2015; without normalization the
/// variance of a residual network's features doubles from block to block at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Norm {
    /// Batch normalization.
    #[default]
    Batch,
    /// A bias.
    None,
}

impl Norm {
    const ALL: [(&str, Norm); 2] = [("batch", Norm::Batch), ("none", Norm::None)];

    /// A convolution and what follows it, under these two names; the bias goes by the convolution's.
    fn conv2d(
        self,
        b: &mut Builder,
        [name, norm]: [&str; 2],
        x: Var,
        outs: usize,
        k: usize,
        conv: Conv,
    ) -> Result<Var> {
        match self {
            Norm::Batch => {
                let y = b.conv2d(name, x, outs, k, conv)?;
                b.batch_norm(norm, y)
            }
            Norm::None => b.conv2d_bias(name, x, outs, k, conv),
        }
    }
}

impl Network {
    /// From a name with options: `cnn`, `mlp:widths=512-256,activation=tanh,dropout=0.5`, `resnet20:norm=none`.
    ///
    /// | | options |
    /// |---|---|
    /// | `mlp` | `widths`, positive; `activation` among relu, tanh, gelu, softplus, silu; `dropout`, from 0 to below 1 |
    /// | `cnn` | `widths`, positive; `norm`, batch or none |
    /// | `resnetN` | `norm`, batch or none; the depth `N` is `6n + 2` |
    ///
    /// # Errors
    ///
    /// [`Error::Name`] for an unknown name or option, [`Error::Argument`] for a value that does not parse.
    pub fn parse(spec: &str) -> Result<Self> {
        let (name, options) = spec.split_once(':').unwrap_or((spec, ""));
        let unknown = || Error::Name { what: "network", name: spec.into(), known: KNOWN.into() };
        let mut network = match name {
            "mlp" => Network::Mlp(Mlp::default()),
            "cnn" => Network::Cnn(Cnn::default()),
            _ => match name.strip_prefix("resnet").and_then(|d| d.parse().ok()).and_then(ResNet::new) {
                Some(resnet) => Network::ResNet(resnet),
                None => return Err(unknown()),
            },
        };
        for option in options.split(',').filter(|o| !o.is_empty()) {
            let (key, value) = option.split_once('=').ok_or_else(unknown)?;
            match (&mut network, key) {
                (Network::Mlp(mlp), "widths") => mlp.widths = widths(value)?,
                (Network::Mlp(mlp), "activation") => mlp.activation = choice(key, value, &Activation::ALL)?,
                (Network::Mlp(mlp), "init") => mlp.init = Some(choice(key, value, &Weights::ALL)?),
                (Network::Mlp(mlp), "dropout") => mlp.dropout = probability(value)?,
                (Network::Cnn(cnn), "widths") => cnn.widths = widths(value)?,
                (Network::Cnn(cnn), "norm") => cnn.norm = choice(key, value, &Norm::ALL)?,
                (Network::ResNet(resnet), "norm") => resnet.norm = choice(key, value, &Norm::ALL)?,
                _ => return Err(unknown()),
            }
        }
        Ok(network)
    }

    /// Adds the network to a graph: images `[n, h, w, c]` to logits `[n, classes]`.
    ///
    /// # Errors
    ///
    /// The engine's, for images that are too small.
    pub fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        match self {
            Network::Mlp(net) => net.build(b, x, classes),
            Network::Cnn(net) => net.build(b, x, classes),
            Network::ResNet(net) => net.build(b, x, classes),
        }
    }
}

fn widths(value: &str) -> Result<Vec<usize>> {
    let parsed: Option<Vec<usize>> = value.split('-').map(|w| w.parse().ok().filter(|&w| w > 0)).collect();
    parsed.ok_or_else(|| Error::Argument {
        what: "widths".into(),
        expected: "positive numbers with dashes between them, as 256-128".into(),
        found: format!("\"{value}\""),
    })
}

fn choice<T: Copy>(what: &str, value: &str, known: &[(&str, T)]) -> Result<T> {
    known.iter().find(|(name, _)| *name == value).map(|&(_, choice)| choice).ok_or_else(|| Error::Argument {
        what: what.into(),
        expected: known.iter().map(|&(name, _)| name).collect::<Vec<_>>().join(" or "),
        found: format!("\"{value}\""),
    })
}

fn probability(value: &str) -> Result<f32> {
    value.parse().ok().filter(|p| (0.0..1.0).contains(p)).ok_or_else(|| Error::Argument {
        what: "dropout".into(),
        expected: "a probability from 0 to below 1".into(),
        found: format!("\"{value}\""),
    })
}

#[cfg(test)]
mod tests {
    use hillshade_engine::Source;

    use super::*;
    use crate::Mode;

    fn count(spec: &str, size: [usize; 3]) -> usize {
        let mut b = Builder::new(Mode::Eval);
        let x = b.g.input("x", &[1, size[0], size[1], size[2]]).expect("a fresh graph");
        Network::parse(spec).and_then(|n| n.build(&mut b, x, 10)).expect("known and fitting");
        b.trained().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn parameter_counts_are_the_published_ones() {
        assert_eq!(count("mlp:widths=256-256", [28, 28, 1]), 784 * 256 + 256 + 256 * 256 + 256 + 2560 + 10);
        // He et al. 2015, table 6: 0.27 M and 1.7 M; with projection shortcuts.
        assert_eq!(count("resnet20", [32, 32, 3]), 272_474);
        assert_eq!(count("resnet110", [32, 32, 3]), 1_730_714);
    }

    #[test]
    fn without_normalization_a_bias_stands_for_gain_and_offset() {
        assert_eq!(count("cnn", [8, 8, 1]) - count("cnn:norm=none", [8, 8, 1]), 16 + 32 + 64);
        // 7 convolutions of 16 channels, 6 + 1 of 32 and of 64.
        let channels = 7 * (16 + 32 + 64);
        assert_eq!(count("resnet20:norm=none", [32, 32, 3]), 272_474 - channels);
        assert_eq!(count("resnet20:norm=batch", [32, 32, 3]), 272_474);
    }

    #[test]
    fn every_activation_is_the_one_it_is_called() {
        for (name, _) in Activation::ALL {
            let mut b = Builder::new(Mode::Train);
            let x = b.g.input("x", &[2, 3, 3, 1]).expect("a fresh graph");
            let spec = format!("mlp:widths=5-4,activation={name}");
            Network::parse(&spec).and_then(|n| n.build(&mut b, x, 10)).expect("known and fitting");
            let is = |n: &&hillshade_engine::Node| matches!(&n.source, Source::Op(op) if op.name() == name);
            assert_eq!(b.g.nodes().iter().filter(is).count(), 2, "{name}");
        }
        assert_eq!(Network::parse("mlp").ok(), Network::parse("mlp:activation=relu,widths=256-256").ok());
    }

    #[test]
    fn unknown_names_and_options_are_refused() {
        for spec in ["vgg", "resnet21", "cnn:depth=3", "mlp:widths=0", "mlp:dropout=1", "cnn:widths", "mlp:norm=none"] {
            assert!(Network::parse(spec).is_err(), "{spec}");
        }
        let told = |spec| Network::parse(spec).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(told("cnn:norm=layer"), Err("norm: expected batch or none, found \"layer\"".into()));
        let known = "relu or tanh or gelu or softplus or silu";
        assert_eq!(told("mlp:activation=sin"), Err(format!("activation: expected {known}, found \"sin\"")));
    }
}

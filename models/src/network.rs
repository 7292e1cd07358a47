//! The networks, by name.

mod cnn;
mod mlp;
mod resnet;

pub use cnn::Cnn;
pub use mlp::Mlp;
pub use resnet::ResNet;

use hillshade_engine::Var;

use crate::{Builder, Error, Result};

/// A network with its options.
#[derive(Debug, Clone, PartialEq)]
pub enum Network {
    /// Dense layers.
    Mlp(Mlp),
    /// Convolutions with batch normalization, for small images.
    Cnn(Cnn),
    /// The residual networks of He et al. 2015 for CIFAR.
    ResNet(ResNet),
}

/// The known names, with their options.
const KNOWN: &str =
    "mlp[:widths=256-256,dropout=0], cnn[:widths=16-32-64], resnet20, resnet32, resnet44, resnet56, resnet110";

impl Network {
    /// From a name with options: `cnn`, `mlp:widths=512-256,dropout=0.5`, `resnet20`.
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
                (Network::Mlp(mlp), "dropout") => mlp.dropout = probability(value)?,
                (Network::Cnn(cnn), "widths") => cnn.widths = widths(value)?,
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

fn probability(value: &str) -> Result<f32> {
    value.parse().ok().filter(|p| (0.0..1.0).contains(p)).ok_or_else(|| Error::Argument {
        what: "dropout".into(),
        expected: "a probability from 0 to below 1".into(),
        found: format!("\"{value}\""),
    })
}

#[cfg(test)]
mod tests {
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
    fn unknown_names_and_options_are_refused() {
        for spec in ["vgg", "resnet21", "cnn:depth=3", "mlp:widths=0", "mlp:dropout=1", "cnn:widths"] {
            assert!(Network::parse(spec).is_err(), "{spec}");
        }
    }
}

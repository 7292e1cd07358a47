//! The networks: a table of families, each in a file of its own.

mod choices;
mod cnn;
mod gpt2;
mod llama;
mod lstm;
mod mlp;
mod options;
mod resnet;
mod vit;

pub use choices::{Activation, Weights};
pub use options::{Choice, Setting, Values};

use std::{fmt, sync::Arc};

use hillshade_engine::Var;

use crate::{Builder, Error, Result};

/// The table.
static FAMILIES: [Family; 7] =
    [mlp::FAMILY, cnn::FAMILY, resnet::FAMILY, vit::FAMILY, gpt2::FAMILY, llama::FAMILY, lstm::FAMILY];

/// What a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Images `[n, h, w, c]`, f32; it gives `[n, classes]`.
    Images,
    /// Tokens `[n, t]`, u32; it gives `[n, t, vocabulary]`.
    Tokens,
}

/// Networks that differ in size and options: a row of the table.
#[derive(Debug)]
pub struct Family {
    /// Its names, as they are listed.
    pub names: &'static [&'static str],
    /// What it is, in one line.
    pub about: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// What its networks take.
    pub takes: Takes,
    /// Whether a name is one of its.
    has: fn(&str) -> bool,
    /// Its options.
    pub settings: fn() -> Vec<Setting>,
    /// The network of a name with these options.
    make: fn(&str, &Values) -> Result<Arc<dyn Architecture>>,
}

/// A network whose options are set.
pub(crate) trait Architecture: fmt::Debug + Send + Sync {
    /// Adds it to a graph.
    fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var>;

    /// For one that takes tokens: of how many the sequences are that it is trained on, and at most continues.
    fn context(&self) -> Option<usize> {
        None
    }
}

/// A network with its options.
#[derive(Debug, Clone)]
pub struct Network {
    name: String,
    values: Values,
    family: &'static Family,
    architecture: Arc<dyn Architecture>,
}

impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.values) == (&other.name, &other.values)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}{}", self.name, self.values)
    }
}

impl Network {
    /// The table of networks.
    pub fn families() -> &'static [Family] {
        &FAMILIES
    }

    /// From a name with options: `cnn`, `mlp:widths=512-256,activation=tanh,dropout=0.5`, `resnet20:norm=none`; names and
    /// options are those of [`Network::families`].
    ///
    /// # Errors
    ///
    /// [`Error::Name`] for an unknown name, [`Error::Argument`] for an unknown option or a value that does not parse.
    pub fn parse(spec: &str) -> Result<Self> {
        let (name, options) = spec.split_once(':').unwrap_or((spec, ""));
        let Some(family) = FAMILIES.iter().find(|f| (f.has)(name)) else {
            let known = FAMILIES.iter().flat_map(|f| f.names).copied().collect::<Vec<_>>().join(", ");
            return Err(Error::Name { what: "network", name: name.into(), known });
        };
        let values = Values::parse(name, &(family.settings)(), options)?;
        let architecture = (family.make)(name, &values)?;
        Ok(Network { name: name.into(), values, family, architecture })
    }

    /// What the network takes.
    pub fn takes(&self) -> Takes {
        self.family.takes
    }

    /// For a network that takes tokens: of how many the sequences are that it is trained on, and at most continues.
    pub fn context(&self) -> Option<usize> {
        self.architecture.context()
    }

    /// Adds the network to a graph: what it [takes](Takes) to its logits.
    ///
    /// # Errors
    ///
    /// The engine's, for images that are too small.
    pub fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        self.architecture.build(b, x, classes)
    }
}

/// The tokens of a table: those of the data, or more where that is asked for.
fn vocabulary(asked: Option<usize>, needed: usize) -> Result<usize> {
    match asked {
        Some(count) if count < needed => {
            let expected = format!("{needed} or more, the tokens of the data");
            Err(Error::Argument { what: "vocab".into(), expected, found: count.to_string() })
        }
        asked => Ok(asked.unwrap_or(needed)),
    }
}

#[cfg(test)]
mod tests {
    use hillshade_engine::Source;

    use super::*;
    use crate::Mode;

    fn of_tokens(spec: &str, vocab: usize) -> usize {
        let mut b = Builder::new(Mode::Eval);
        let x = b.g.input_u32("tokens", &[1, 8]).expect("a fresh graph");
        Network::parse(spec).and_then(|n| n.build(&mut b, x, vocab)).expect("known and fitting");
        b.trained().map(|p| p.shape.iter().product::<usize>()).sum()
    }

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
        // Radford et al. 2019 say 117 M; the weights that they published are these, and Touvron et al. 2023's 6.74 G.
        assert_eq!(of_tokens("gpt2", 50257), 124_439_808);
        assert_eq!(of_tokens("llama:layers=32,heads=32,width=4096,hidden=11008,context=2048", 32000), 6_738_415_616);
        // Dosovitskiy et al. 2021, table 1: ViT-Base has 86 M.
        assert_eq!(count("vit:layers=12,heads=12,width=768,patch=16", [224, 224, 3]), 86_567_656 - 990 * 769);
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
            let is = |n: &&hillshade_engine::Node| matches!(&n.source, Source::Op(op) if op.name() == *name);
            assert_eq!(b.g.nodes().iter().filter(is).count(), 2, "{name}");
        }
        assert_eq!(Network::parse("mlp").ok(), Network::parse("mlp:activation=relu,widths=256-256").ok());
        assert_ne!(Network::parse("mlp").ok(), Network::parse("mlp:activation=tanh").ok());
    }

    #[test]
    fn names_and_defaults_of_the_table_are_networks() {
        for family in Network::families() {
            for name in family.names {
                let network = Network::parse(name).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(Some(&network), Network::parse(&network.to_string()).ok().as_ref(), "{network}");
                assert_eq!(network.takes(), family.takes);
            }
            assert!([family.about, family.source].iter().all(|text| !text.is_empty()));
        }
    }

    #[test]
    fn unknown_names_and_options_are_refused() {
        for spec in [
            "gpt2:heads=0",
            "llama:tied=maybe",
            "lstm:width=x",
            "vit:eps=-1",
            "lenet",
            "resnet21",
            "cnn:depth=3",
            "mlp:widths=0",
            "mlp:dropout=1",
            "cnn:widths",
            "mlp:norm=none",
        ] {
            assert!(Network::parse(spec).is_err(), "{spec}");
        }
        let told = |spec| Network::parse(spec).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(told("cnn:depth=3"), Err("cnn: expected options among widths, norm, found \"depth=3\"".into()));
        let twice = "cnn: expected every option once, found another \"norm=none\"";
        assert_eq!(told("cnn:norm=none,norm=none"), Err(twice.into()));
        assert_eq!(told("cnn:norm=max"), Err("norm: expected batch or none, found \"max\"".into()));
        let known = "relu or tanh or gelu or softplus or silu";
        assert_eq!(told("mlp:activation=sin"), Err(format!("activation: expected {known}, found \"sin\"")));
    }
}

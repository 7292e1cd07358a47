//! The networks: a table of families, each in a file of its own.

mod autoencoder;
mod choices;
mod cnn;
mod gpt2;
mod lenet;
mod llama;
mod lstm;
mod mlp;
mod options;
mod plain;
mod resnet;
mod vgg;
mod vit;
mod wrn;

pub use options::{Choice, Setting, Values};

use std::{fmt, sync::Arc};

use hillshade_engine::{Graph, Var};

use crate::{Builder, Error, Loss, Result};

/// The table.
static FAMILIES: [Family; 13] = [
    mlp::FAMILY,
    plain::FAMILY,
    lenet::FAMILY,
    cnn::FAMILY,
    vgg::FAMILY,
    resnet::CIFAR,
    resnet::IMAGENET,
    wrn::FAMILY,
    autoencoder::FAMILY,
    vit::FAMILY,
    gpt2::FAMILY,
    llama::FAMILY,
    lstm::FAMILY,
];

/// What a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Images `[n, h, w, c]`, f32; it gives `[n, classes]`.
    Images,
    /// Tokens `[n, t]`, u32; it gives `[n, t, vocabulary]`.
    Tokens,
}

/// What a network's outputs are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Logits, of which the label's is to be the largest.
    Labels,
    /// The network's own input, `[n, h·w·c]`.
    Input,
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
    /// Height, width and channels of the images that it is from, or for a network of tokens how many it takes first.
    pub size: [usize; 3],
    /// Their classes, or the tokens that there are.
    pub classes: usize,
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

    /// What its outputs are to be.
    fn goal(&self) -> Goal {
        Goal::Labels
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

    /// What its outputs are to be.
    pub fn goal(&self) -> Goal {
        self.architecture.goal()
    }

    /// The row of the table.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// Adds the network to a graph: what it [takes](Takes) to its outputs.
    ///
    /// # Errors
    ///
    /// The engine's, for images that are too small.
    pub fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        self.architecture.build(b, x, classes)
    }

    /// Adds the losses of `n` images: those of the outputs against the labels, smoothed as [`Loss::smoothed`] says, or half
    /// the squared distance to the images themselves, where these are the [`Goal`].
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a loss other than [`Loss::Squared`] where the images are the goal, and the engine's.
    pub fn losses(
        &self,
        g: &mut Graph,
        loss: Loss,
        smoothing: f64,
        [x, outputs]: [Var; 2],
        labels: Var,
        classes: usize,
    ) -> Result<Var> {
        match (self.goal(), loss) {
            (Goal::Labels, _) => loss.smoothed(g, outputs, labels, smoothing),
            (Goal::Input, Loss::Squared) => {
                let target = g.reshape(x, &g.shape(outputs).to_vec())?;
                let off = g.sub(outputs, target)?;
                let squares = g.mul(off, off)?;
                let sums = g.sum(squares, &[1])?;
                let halves = g.affine(sums, 0.5, 0.0)?;
                let counted = crate::loss::counted(g, labels, classes)?;
                Ok(g.mul(halves, counted)?)
            }
            (Goal::Input, _) => Err(Error::Argument {
                what: "loss".into(),
                expected: format!("squared, since {} is to give back its input", self.name),
                found: loss.name().into(),
            }),
        }
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

    fn count(spec: &str, size: [usize; 3], classes: usize) -> usize {
        let mut b = Builder::new(Mode::Eval);
        let x = b.g.input("x", &[1, size[0], size[1], size[2]]).expect("a fresh graph");
        Network::parse(spec).and_then(|n| n.build(&mut b, x, classes)).expect("known and fitting");
        b.trained().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn parameter_counts_are_the_published_ones() {
        assert_eq!(count("mlp:widths=256-256", [28, 28, 1], 10), 784 * 256 + 256 + 256 * 256 + 256 + 2560 + 10);
        // Radford et al. 2019 say 117 M; the weights that they published are these, and Touvron et al. 2023's 6.74 G.
        assert_eq!(of_tokens("gpt2", 50257), 124_439_808);
        assert_eq!(of_tokens("llama:layers=32,heads=32,width=4096,hidden=11008,context=2048", 32000), 6_738_415_616);
        for (spec, size, classes, parameters) in [
            // He et al. 2015, table 6: 0.27 M, 0.46, 0.66, 0.85 and 1.7; with projection shortcuts.
            ("resnet20", [32, 32, 3], 10, 272_474),
            ("resnet32", [32, 32, 3], 10, 466_906),
            ("resnet44", [32, 32, 3], 10, 661_338),
            ("resnet56", [32, 32, 3], 10, 855_770),
            ("resnet110", [32, 32, 3], 10, 1_730_714),
            // torchvision's.
            ("resnet18", [224, 224, 3], 1000, 11_689_512),
            ("resnet34", [224, 224, 3], 1000, 21_797_672),
            ("resnet50", [224, 224, 3], 1000, 25_557_032),
            ("vgg11", [224, 224, 3], 1000, 132_863_336),
            ("vgg13", [224, 224, 3], 1000, 133_047_848),
            ("vgg16", [224, 224, 3], 1000, 138_357_544),
            ("vgg16:norm=batch", [224, 224, 3], 1000, 138_365_992),
            ("vgg19", [224, 224, 3], 1000, 143_667_240),
            // Dosovitskiy et al. 2021, table 1: ViT-Base has 86 M.
            ("vit:layers=12,heads=12,width=768,patch=16", [224, 224, 3], 1000, 86_567_656),
            // Zagoruyko and Komodakis 2016, table 4: 36.5 M, 8.9, 2.7 (of depth 16).
            ("wrn28-10", [32, 32, 3], 10, 36_479_194),
            ("wrn40-4", [32, 32, 3], 10, 8_949_210),
            ("wrn16-4", [32, 32, 3], 10, 2_748_890),
            ("lenet5", [28, 28, 1], 10, 61_706),
            ("lenet5", [32, 32, 1], 10, 61_706),
            ("plain:depth=500,width=8", [2, 2, 1], 10, 40 + 499 * 72 + 90),
            ("autoencoder:widths=4-6", [9, 7, 1], 10, 40 + 222 + 220 + 37),
        ] {
            assert_eq!(count(spec, size, classes), parameters, "{spec}");
        }
    }

    #[test]
    fn options_change_the_parameters_that_they_should() {
        let cifar = |spec: &str| count(spec, [32, 32, 3], 10);
        let (gains, filters) = (2 * (7 * 16 + 7 * 32 + 7 * 64), 7 * 16 + 7 * 32 + 7 * 64 + 10);
        assert_eq!(cifar("resnet20") - cifar("resnet20:norm=none"), gains / 2);
        for norm in ["group", "layer", "instance"] {
            assert_eq!(cifar(&format!("resnet20:norm={norm}")), cifar("resnet20"), "{norm}");
        }
        // Two projections with their norms.
        assert_eq!(cifar("resnet20") - cifar("resnet20:skip=no"), 16 * 32 + 64 + 32 * 64 + 128);
        assert_eq!(cifar("resnet20:scale=0") - cifar("resnet20"), 9);
        assert_eq!(cifar("resnet20:weights=standardized"), cifar("resnet20"));
        assert_eq!(cifar("resnet20:weights=normalized") - cifar("resnet20"), filters);
        assert_eq!(
            cifar("vgg11:head=imagenet,hidden=16,width=4") - cifar("vgg11:width=4"),
            33 * 16 + 17 * 16 + 170 - 330
        );
        let stem = 64 * 3 * (49 - 9);
        assert_eq!(cifar("resnet18") - cifar("resnet18:stem=cifar"), stem);
    }

    #[test]
    fn layers_are_listed_with_what_they_give() {
        let mut b = Builder::new(Mode::Eval);
        let x = b.g.input("x", &[2, 32, 32, 3]).expect("a fresh graph");
        Network::parse("resnet20").and_then(|n| n.build(&mut b, x, 10)).expect("known and fitting");
        let named = |name: &str| b.layers.iter().find(|l| l.name == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(named("stem.conv").shape, [2, 32, 32, 16]);
        assert_eq!(named("stem.conv").flops, 2 * 2 * 32 * 32 * 27 * 16);
        assert_eq!(named("stage2.block0.shortcut.norm").shape, [2, 8, 8, 64]);
        assert_eq!(named("head").shape, [2, 10]);
        // 21 convolutions with as many norms, and the head; every parameter is a listed layer's.
        assert_eq!(b.layers.len(), 2 * 21 + 1);
        for p in &b.params {
            assert!(b.layers.iter().any(|l| p.name.starts_with(&format!("{}.", l.name))), "{}", p.name);
        }
    }

    #[test]
    fn every_activation_is_the_one_it_is_called() {
        for (name, _) in choices::Activation::ALL {
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
                assert!(std::ptr::eq(network.family(), family), "{name}");
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
            "vgg12",
            "wrn28",
            "wrn27-2",
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
        assert_eq!(
            told("cnn:norm=max"),
            Err("norm: expected batch or none or group or layer or instance, found \"max\"".into())
        );
        let known = "relu or tanh or gelu or softplus or silu";
        assert_eq!(told("mlp:activation=sin"), Err(format!("activation: expected {known}, found \"sin\"")));
    }
}

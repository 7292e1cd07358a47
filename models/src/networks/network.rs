//! The networks: a table of families.

use std::{fmt, sync::Arc};

use hillshade_engine::Tensor;

use crate::networks::{
    autoencoder, cnn, family::*, gpt2, lenet, llama, lstm, mlp, options::*, plain, resnet, vgg, vit, wrn,
};
use crate::{error::*, nn::*};

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
        let Some(family) = FAMILIES.iter().find(|f| f.names.contains(&name) || (f.has)(name)) else {
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
    /// [`Error::Argument`] for options that do not go with each other or with what it takes, and the engine's, for images
    /// that are too small.
    pub fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, classes: usize) -> Result<Tensor<'g>> {
        let y = self.architecture.build(b, x, classes)?;
        b.g.check()?;
        Ok(y)
    }

    /// The losses of `n` images: those of the outputs against the labels, smoothed as [`Loss::smoothed`] says, or half the
    /// squared distance to the images themselves, where these are the [`Goal`].
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a loss other than [`Loss::Squared`] where the images are the goal, and the engine's.
    pub fn losses<'g>(
        &self, loss: Loss, smoothing: f64, [x, outputs]: [Tensor<'g>; 2], labels: Tensor<'g>, classes: usize,
    ) -> Result<Tensor<'g>> {
        match (self.goal(), loss) {
            (Goal::Labels, _) => Ok(loss.smoothed(outputs, labels, smoothing)),
            (Goal::Input, Loss::Squared) => {
                Ok(half_square(outputs - x.reshape(outputs.shape()?)) * counted(labels, classes))
            }
            (Goal::Input, _) => {
                let expected = format!("squared, since {} is to give back its input", self.name);
                Err(Error::argument("loss", expected, loss.name()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hillshade_engine::{Graph, Node, Source};

    use super::*;
    use crate::networks::choices::Activation;

    /// A network built on an input.
    fn built<'g>(spec: &str, x: Tensor<'g>, classes: usize) -> Builder<'g> {
        let mut b = Builder::new(x.graph(), Mode::Eval);
        Network::parse(spec).and_then(|n| n.build(&mut b, x, classes)).expect("known and fitting");
        b
    }

    fn parameters(b: &Builder) -> usize {
        b.trained().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    fn of_tokens(spec: &str, vocab: usize) -> usize {
        parameters(&built(spec, Graph::new().input_u32("tokens", &[1, 8]), vocab))
    }

    fn count(spec: &str, [h, w, c]: [usize; 3], classes: usize) -> usize {
        parameters(&built(spec, Graph::new().input("x", &[1, h, w, c]), classes))
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
        for (option, more) in [("scale=0", 9), ("weights=standardized", 0), ("weights=normalized", filters)] {
            assert_eq!(cifar(&format!("resnet20:{option}")) - cifar("resnet20"), more, "{option}");
        }
        let dense = cifar("vgg11:head=imagenet,hidden=16,width=4") - cifar("vgg11:width=4");
        assert_eq!(dense, 33 * 16 + 17 * 16 + 170 - 330);
        assert_eq!(cifar("resnet18") - cifar("resnet18:stem=cifar"), 64 * 3 * (49 - 9));
    }

    #[test]
    fn layers_are_listed_with_what_they_give() {
        let g = Graph::new();
        let b = built("resnet20", g.input("x", &[2, 32, 32, 3]), 10);
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
        for (name, _) in Activation::ALL {
            let g = Graph::new();
            built(&format!("mlp:widths=5-4,activation={name}"), g.input("x", &[2, 3, 3, 1]), 10);
            let is = |n: &&Node| matches!(&n.source, Source::Op(op) if op.name() == *name);
            assert_eq!(g.nodes().filter(is).count(), 2, "{name}");
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
        let decoders = "gpt2:heads=0 llama:tied=maybe llama:low=4 lstm:width=x vit:eps=-1";
        let others =
            "lenet resnet21 vgg12 wrn28 wrn27-2 cnn:depth=3 cnn:widths mlp:widths=0 mlp:dropout=1 mlp:norm=none";
        for spec in decoders.split(' ').chain(others.split(' ')) {
            assert!(Network::parse(spec).is_err(), "{spec}");
        }
        let told = |spec| Network::parse(spec).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(told("cnn:depth=3"), Err("cnn: expected options among widths, norm, found \"depth=3\"".into()));
        let twice = "cnn: expected every option once, found another \"norm=none\"";
        assert_eq!(told("cnn:norm=none,norm=none"), Err(twice.into()));
        let known = "batch or none or group or layer or instance";
        assert_eq!(told("cnn:norm=max"), Err(format!("norm: expected {known}, found \"max\"")));
        let known = "relu or tanh or gelu or softplus or silu";
        assert_eq!(told("mlp:activation=sin"), Err(format!("activation: expected {known}, found \"sin\"")));
    }
}

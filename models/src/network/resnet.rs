//! Residual networks, for small images and for large ones.

use std::sync::Arc;

use hillshade_engine::{Conv, Pool, Var};

use super::{Architecture, Choice, Family, Setting, Takes, Values, choices::Activation};
use crate::{Builder, Init, Norm, Reparametrization, Result};

pub(super) const CIFAR: Family = Family {
    names: &["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"],
    about: "residual networks of depth 6n + 2 for small images, projection shortcuts",
    source: "He et al. 2015, section 4.2",
    takes: Takes::Images,
    size: [32, 32, 3],
    classes: 10,
    has: |name| cifar(name) > 0,
    settings: || settings("16"),
    make: |name, values| {
        Ok(Arc::new(ResNet {
            blocks: vec![cifar(name); 3],
            bottleneck: false,
            stem: Stem::Cifar,
            head: [Init::KaimingUniform, Init::Zeros].into(),
            branch: Branch::new(values)?,
            width: values.size("width")?,
        }))
    },
};

pub(super) const IMAGENET: Family = Family {
    names: &["resnet18", "resnet34", "resnet50"],
    about: "residual networks for large images, as torchvision's",
    source: "He et al. 2015, table 1, with the strides of its later version",
    takes: Takes::Images,
    size: [224, 224, 3],
    classes: 1000,
    has: |name| imagenet(name).is_some(),
    settings: || {
        let stem = Setting::choice::<Stem>("stem", "imagenet", "7×7 of stride 2 and max pooling, or 3×3 alone");
        [vec![stem], settings("64")].concat()
    },
    make: |name, values| {
        let (blocks, bottleneck) = imagenet(name).unwrap_or_default();
        Ok(Arc::new(ResNet {
            blocks,
            bottleneck,
            stem: values.choice("stem")?,
            head: None,
            branch: Branch::new(values)?,
            width: values.size("width")?,
        }))
    },
};

/// Blocks in each of the three stages, of which the depth is `6n + 2`; 0 for another name.
fn cifar(name: &str) -> usize {
    let depth = name.strip_prefix("resnet").and_then(|d| d.parse::<usize>().ok()).unwrap_or(0);
    let blocks = depth.saturating_sub(2) / 6;
    if 6 * blocks + 2 == depth && imagenet(name).is_none() { blocks } else { 0 }
}

/// Blocks in each of the four stages, and whether they are bottlenecks.
fn imagenet(name: &str) -> Option<(Vec<usize>, bool)> {
    match name {
        "resnet18" => Some((vec![2, 2, 2, 2], false)),
        "resnet34" => Some((vec![3, 4, 6, 3], false)),
        "resnet50" => Some((vec![3, 4, 6, 3], true)),
        _ => None,
    }
}

fn settings(width: &'static str) -> Vec<Setting> {
    vec![
        Setting::choice::<Norm>("norm", "batch", "what follows a convolution; none is a bias"),
        Setting::choice::<bool>("skip", "yes", "whether blocks are residual; no is the plain network"),
        Setting::number("scale", "none", "a trained factor of each residual branch that begins as this: 0 is SkipInit"),
        Setting::choice::<Activation>("activation", "relu", "what hidden features go through"),
        Setting::choice::<Reparametrization>("weights", "plain", "what stands for the weights"),
        Setting::size("width", width, "channels of the first stage; each other one has twice as many"),
    ]
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stem {
    ImageNet,
    Cifar,
}

impl Choice for Stem {
    const ALL: &'static [(&'static str, Self)] = &[("imagenet", Stem::ImageNet), ("cifar", Stem::Cifar)];
}

/// A residual network, with projections (the paper's option B) where the shape changes. Those for large images begin as
/// torchvision's.
#[derive(Debug)]
struct ResNet {
    blocks: Vec<usize>,
    bottleneck: bool,
    stem: Stem,
    /// How the last layer begins, if not as PyTorch's.
    head: Option<[Init; 2]>,
    branch: Branch,
    width: usize,
}

impl Architecture for ResNet {
    fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        b.reparametrize(self.branch.weights);
        if self.head.is_none() {
            b.begin_convolutions(Init::KaimingNormalOut);
        }
        let (kernel, conv) = match self.stem {
            Stem::ImageNet => (7, Conv::padded(3).strided(2)),
            Stem::Cifar => (3, Conv::padded(1)),
        };
        let mut y = b.scope("stem", |b| {
            let y = b.conv2d_norm(["conv", "norm"], self.branch.norm, x, self.width, kernel, conv)?;
            self.branch.activation.build(b, y)
        })?;
        if self.stem == Stem::ImageNet {
            y = b.g.max_pool(y, Pool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] })?[0];
        }
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            for block in 0..blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let convolutions = match (self.width << stage, self.bottleneck) {
                    (width, false) => vec![(width, 3, stride), (width, 3, 1)],
                    (width, true) => vec![(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)],
                };
                let name = format!("stage{stage}.block{block}");
                y = b.scope(&name, |b| self.branch.residual(b, y, &convolutions))?;
            }
        }
        let y = b.g.global_avg_pool(y)?;
        let init = [Init::Uniform { fan_in: b.g.shape(y)[1] }; 2];
        b.dense_from("head", y, classes, self.head.unwrap_or(init))
    }
}

/// What blocks are made of.
#[derive(Debug)]
struct Branch {
    norm: Norm,
    skip: bool,
    scale: Option<f64>,
    activation: Activation,
    weights: Reparametrization,
}

impl Branch {
    fn new(values: &Values) -> Result<Self> {
        Ok(Branch {
            norm: values.choice("norm")?,
            skip: values.choice("skip")?,
            scale: values.number("scale", "none")?,
            activation: values.choice("activation")?,
            weights: values.choice("weights")?,
        })
    }

    /// Convolutions, by outputs, kernel and stride, beside a shortcut.
    fn residual(&self, b: &mut Builder, x: Var, convolutions: &[(usize, usize, usize)]) -> Result<Var> {
        let (mut y, mut stride) = (x, 1);
        for (i, &(outs, kernel, step)) in convolutions.iter().enumerate() {
            if i > 0 {
                y = self.activation.build(b, y)?;
            }
            let names = [format!("conv{}", i + 1), format!("norm{}", i + 1)];
            let conv = Conv::padded(kernel / 2).strided(step);
            y = b.conv2d_norm([&names[0], &names[1]], self.norm, y, outs, kernel, conv)?;
            stride *= step;
        }
        if let Some(scale) = self.scale {
            // De and Smith 2020; with 1, the multiplier of Zhang et al. 2019 (Fixup).
            let scale = b.param("scale", &[1], Init::Constant(scale))?;
            y = b.g.mul(y, scale)?;
        }
        if self.skip {
            let outs = b.g.shape(y)[3];
            let shortcut = match (stride, b.g.shape(x)[3]) {
                (1, ins) if ins == outs => x,
                _ => {
                    let names = ["shortcut.conv", "shortcut.norm"];
                    b.conv2d_norm(names, self.norm, x, outs, 1, Conv::default().strided(stride))?
                }
            };
            y = b.g.add(y, shortcut)?;
        }
        self.activation.build(b, y)
    }
}

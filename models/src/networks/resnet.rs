//! Residual networks, those for small images and those for ImageNet.

use std::sync::Arc;

use hillshade_engine::{Conv, Pool, Tensor};

use crate::networks::{choices::*, family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const CIFAR: Family = Family {
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
            branch: Branch::read(values)?,
            width: values.read("width")?,
        }))
    },
};

pub(crate) const IMAGENET: Family = Family {
    names: &["resnet18", "resnet34", "resnet50"],
    about: "residual networks for large images, as torchvision's",
    source: "He et al. 2015, table 1, with the strides of its later version",
    takes: Takes::Images,
    size: [224, 224, 3],
    classes: 1000,
    has: |_| false,
    settings: || {
        let stem = Setting::new::<Stem>("stem", "imagenet", "7×7 of stride 2 and max pooling, or 3×3 alone");
        [vec![stem], settings("64")].concat()
    },
    make: |name, values| {
        let (blocks, bottleneck) = imagenet(name).expect("the family's names are those with stages");
        let (stem, branch, width) = (values.read("stem")?, Branch::read(values)?, values.read("width")?);
        Ok(Arc::new(ResNet { blocks, bottleneck, stem, head: None, branch, width }))
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
    let about = "channels of the first stage; each other one has twice as many";
    [Branch::settings(), vec![Setting::new::<usize>("width", width, about)]].concat()
}

choices! {
    /// What comes first.
    Stem { ImageNet = "imagenet", Cifar = "cifar", }
}

options! {
    /// What blocks are made of.
    Branch {
        norm: Norm = "batch", "what follows a convolution; none is a bias";
        skip: bool = "yes", "whether blocks are residual; no is the plain network";
        scale: Option<f64> = "none", "a trained factor of each residual branch that begins as this: 0 is SkipInit";
        activation: Activation = "relu", "what hidden features go through";
        weights: Reparametrization = "plain", "what stands for the weights";
    }
}

/// A residual network, with projections (the paper's option B) where the shape changes. Those for large images begin as
/// torchvision's.
#[derive(Debug)]
struct ResNet {
    blocks: Vec<usize>,
    bottleneck: bool,
    stem: Stem,
    /// Initializers of the last layer, if not PyTorch's.
    head: Option<[Init; 2]>,
    branch: Branch,
    width: usize,
}

impl Architecture for ResNet {
    fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, classes: usize) -> Result<Tensor<'g>> {
        b.reparametrize(self.branch.weights);
        if self.head.is_none() {
            b.begin_convolutions(Init::KaimingNormalOut);
        }
        let (kernel, conv) = match self.stem {
            Stem::ImageNet => (7, Conv::padded(3).strided(2)),
            Stem::Cifar => (3, Conv::padded(1)),
        };
        let (norm, names) = (self.branch.norm, ["conv", "norm"]);
        let y = b.scope("stem", |b| b.conv_norm(names, norm, x, self.width, kernel, conv));
        let mut y = self.branch.activation.of(y);
        if self.stem == Stem::ImageNet {
            [y, _] = y.max_pool(Pool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] });
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
        let y = y.global_avg_pool();
        let init = [Init::Uniform { fan_in: features(y)? }; 2];
        Ok(b.dense_from("head", y, classes, self.head.unwrap_or(init)))
    }
}

impl Branch {
    /// Convolutions, by outputs, kernel and stride, beside a shortcut.
    fn residual<'g>(
        &self, b: &mut Builder<'g>, x: Tensor<'g>, convolutions: &[(usize, usize, usize)],
    ) -> Result<Tensor<'g>> {
        let (mut y, mut stride) = (x, 1);
        for (i, &(outs, kernel, step)) in convolutions.iter().enumerate() {
            if i > 0 {
                y = self.activation.of(y);
            }
            let names = [format!("conv{}", i + 1), format!("norm{}", i + 1)];
            let conv = Conv::padded(kernel / 2).strided(step);
            y = b.conv_norm([&names[0], &names[1]], self.norm, y, outs, kernel, conv);
            stride *= step;
        }
        if let Some(scale) = self.scale {
            // De and Smith 2020; with 1, the multiplier of Zhang et al. 2019 (Fixup).
            y = y * b.param("scale", &[1], Init::Constant(scale));
        }
        if self.skip {
            let outs = features(y)?;
            let conv = Conv::default().strided(stride);
            let shortcut = match (stride, features(x)?) {
                (1, ins) if ins == outs => x,
                _ => b.conv_norm(["shortcut.conv", "shortcut.norm"], self.norm, x, outs, 1, conv),
            };
            y = y + shortcut;
        }
        Ok(self.activation.of(y))
    }
}

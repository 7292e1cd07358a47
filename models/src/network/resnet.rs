//! The residual networks for CIFAR.

use std::sync::Arc;

use hillshade_engine::{Conv, Var};

use super::{Architecture, Family, Setting, Takes};
use crate::{Builder, Norm, Result};

pub(super) const FAMILY: Family = Family {
    names: &["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"],
    about: "residual networks of depth 6n + 2 for small images, 16 to 64 channels, projection shortcuts",
    source: "He et al. 2015, section 4.2",
    takes: Takes::Images,
    has: |name| blocks(name) > 0,
    settings: || vec![Setting::choice::<Norm>("norm", "batch", "what follows a convolution; none is a bias")],
    make: |name, values| Ok(Arc::new(ResNet { blocks: blocks(name), norm: values.choice("norm")? })),
};

/// Blocks in each of the three stages, of which the depth is `6n + 2`; 0 for another name.
fn blocks(name: &str) -> usize {
    let depth = name.strip_prefix("resnet").and_then(|d| d.parse::<usize>().ok()).unwrap_or(0);
    let blocks = depth.saturating_sub(2) / 6;
    if 6 * blocks + 2 == depth { blocks } else { 0 }
}

/// ResNet with 16, 32 and 64 channels and projection shortcuts (the paper's option B) where the shape changes.
#[derive(Debug)]
struct ResNet {
    blocks: usize,
    norm: Norm,
}

impl Architecture for ResNet {
    fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        let mut y = b.scope("stem", |b| {
            let y = b.conv2d_norm(["conv", "norm"], self.norm, x, 16, 3, Conv::padded(1))?;
            Ok(b.g.relu(y)?)
        })?;
        for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
            for block in 0..self.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                y = b.scope(&format!("stage{stage}.block{block}"), |b| self.residual(b, y, channels, stride))?;
            }
        }
        let y = b.g.global_avg_pool(y)?;
        b.dense("head", y, classes)
    }
}

impl ResNet {
    fn residual(&self, b: &mut Builder, x: Var, channels: usize, stride: usize) -> Result<Var> {
        let y = b.conv2d_norm(["conv1", "norm1"], self.norm, x, channels, 3, Conv::padded(1).strided(stride))?;
        let y = b.g.relu(y)?;
        let y = b.conv2d_norm(["conv2", "norm2"], self.norm, y, channels, 3, Conv::padded(1))?;
        let shortcut = if stride == 1 && b.g.shape(x)[3] == channels {
            x
        } else {
            let names = ["shortcut.conv", "shortcut.norm"];
            b.conv2d_norm(names, self.norm, x, channels, 1, Conv::default().strided(stride))?
        };
        let y = b.g.add(y, shortcut)?;
        Ok(b.g.relu(y)?)
    }
}

//! The residual networks for CIFAR.

use hillshade_engine::{Conv, Var};

use super::Norm;
use crate::{Builder, Result};

/// ResNet of depth `6n + 2` with 16, 32 and 64 channels (He et al. 2015, section 4.2), with projection shortcuts
/// (their option B) where the shape changes.
#[derive(Debug, Clone, PartialEq)]
pub struct ResNet {
    /// Blocks in each of the three stages.
    pub blocks: usize,
    /// Whether there is batch normalization.
    pub norm: Norm,
}

impl ResNet {
    /// Of this depth, if it is `6n + 2`.
    pub fn new(depth: usize) -> Option<Self> {
        let blocks = depth.checked_sub(2)? / 6;
        (blocks > 0 && 6 * blocks + 2 == depth).then_some(ResNet { blocks, norm: Norm::Batch })
    }

    pub(super) fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        let mut y = b.scope("stem", |b| {
            let y = self.norm.conv2d(b, ["conv", "norm"], x, 16, 3, Conv::padded(1))?;
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

    fn residual(&self, b: &mut Builder, x: Var, channels: usize, stride: usize) -> Result<Var> {
        let y = self.norm.conv2d(b, ["conv1", "norm1"], x, channels, 3, Conv::padded(1).strided(stride))?;
        let y = b.g.relu(y)?;
        let y = self.norm.conv2d(b, ["conv2", "norm2"], y, channels, 3, Conv::padded(1))?;
        let shortcut = if stride == 1 && b.g.shape(x)[3] == channels {
            x
        } else {
            let names = ["shortcut.conv", "shortcut.norm"];
            self.norm.conv2d(b, names, x, channels, 1, Conv::default().strided(stride))?
        };
        let y = b.g.add(y, shortcut)?;
        Ok(b.g.relu(y)?)
    }
}

//! Convolutions, with or without batch normalization, for small images.

use hillshade_engine::{Conv, Var};

use super::Norm;
use crate::{Builder, Result};

/// Blocks of 3×3 convolution, batch normalization or a bias, and ReLU, halved by max pooling between them; then a dense
/// layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Cnn {
    /// Channels of the blocks.
    pub widths: Vec<usize>,
    /// Whether there is batch normalization.
    pub norm: Norm,
}

impl Default for Cnn {
    fn default() -> Self {
        Cnn { widths: vec![16, 32, 64], norm: Norm::Batch }
    }
}

impl Cnn {
    pub(super) fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        let mut y = x;
        for (i, &width) in self.widths.iter().enumerate() {
            if i > 0 {
                y = b.max_pool(y, 2)?;
            }
            y = b.scope(&format!("block{i}"), |b| {
                let y = self.norm.conv2d(b, ["conv", "norm"], y, width, 3, Conv::padded(1))?;
                Ok(b.g.relu(y)?)
            })?;
        }
        let y = b.flatten(y)?;
        b.dense("head", y, classes)
    }
}

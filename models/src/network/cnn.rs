//! Convolutions, with or without normalization, for small images.

use std::sync::Arc;

use hillshade_engine::{Conv, Var};

use super::{Architecture, Family, Setting, Takes};
use crate::{Builder, Norm, Result};

pub(super) const FAMILY: Family = Family {
    names: &["cnn"],
    about: "blocks of convolution, normalization, ReLU and max pooling, for small images",
    source: "LeCun et al. 1998; Ioffe and Szegedy 2015",
    takes: Takes::Images,
    size: [28, 28, 1],
    classes: 10,
    has: |name| name == "cnn",
    settings: || {
        vec![
            Setting::sizes("widths", "16-32-64", "channels of the blocks"),
            Setting::choice::<Norm>("norm", "batch", "what follows a convolution; none is a bias"),
        ]
    },
    make: |_, values| Ok(Arc::new(Cnn { widths: values.sizes("widths")?, norm: values.choice("norm")? })),
};

/// Blocks of 3×3 convolution, normalization or a bias, and ReLU, halved by max pooling between them; then a dense layer.
#[derive(Debug)]
struct Cnn {
    widths: Vec<usize>,
    norm: Norm,
}

impl Architecture for Cnn {
    fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        let mut y = x;
        for (i, &width) in self.widths.iter().enumerate() {
            if i > 0 {
                y = b.max_pool(y, 2)?;
            }
            y = b.scope(&format!("block{i}"), |b| {
                let y = b.conv2d_norm(["conv", "norm"], self.norm, y, width, 3, Conv::padded(1))?;
                Ok(b.g.relu(y)?)
            })?;
        }
        let y = b.flatten(y)?;
        b.dense("head", y, classes)
    }
}

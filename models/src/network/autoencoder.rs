//! A network that learns to give back what it is given.

use std::sync::Arc;

use hillshade_engine::{Conv, Var};

use super::{Architecture, Family, Goal, Setting, Takes, choices::Activation};
use crate::{Builder, Result};

pub(super) const FAMILY: Family = Family {
    names: &["autoencoder"],
    about: "strided convolutions to a few pixels and transposed ones back; its loss is --loss squared against its input",
    source: "Masci et al. 2011; Zeiler et al. 2010",
    takes: Takes::Images,
    size: [28, 28, 1],
    classes: 10,
    has: |name| name == "autoencoder",
    settings: || {
        vec![
            Setting::sizes("widths", "16-32", "channels of the convolutions, each of which halves the image"),
            Setting::choice::<Activation>("activation", "relu", "what hidden features go through"),
        ]
    },
    make: |_, values| {
        Ok(Arc::new(Autoencoder { widths: values.sizes("widths")?, activation: values.choice("activation")? }))
    },
};

/// 3×3 convolutions of stride 2, each with an activation, and their transposes in reverse, with one between them.
#[derive(Debug)]
struct Autoencoder {
    widths: Vec<usize>,
    activation: Activation,
}

impl Architecture for Autoencoder {
    /// The images again, as vectors; classes do not matter.
    fn build(&self, b: &mut Builder, x: Var, _: usize) -> Result<Var> {
        let conv = Conv::padded(1).strided(2);
        let (mut y, mut sizes) = (x, Vec::new());
        for (i, &width) in self.widths.iter().enumerate() {
            sizes.push([1, 2, 3].map(|axis| b.g.shape(y)[axis]));
            y = b.conv2d_bias(&format!("encoder{i}"), y, width, 3, conv)?;
            y = self.activation.build(b, y)?;
        }
        for (i, &size) in sizes.iter().enumerate().rev() {
            y = b.conv2d_transposed(&format!("decoder{i}"), y, size, 3, conv)?;
            if i > 0 {
                y = self.activation.build(b, y)?;
            }
        }
        b.flatten(y)
    }

    fn goal(&self) -> Goal {
        Goal::Input
    }
}

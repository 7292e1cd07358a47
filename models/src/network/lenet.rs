//! The first convolutional network.

use std::sync::Arc;

use hillshade_engine::{Conv, Var};

use super::{Architecture, Choice, Family, Setting, Takes, choices::Activation};
use crate::{Builder, Init, Result};

pub(super) const FAMILY: Family = Family {
    names: &["lenet5"],
    about: "two convolutions with pooling and three dense layers; images of less than 32 pixels get a margin of 2",
    source: "LeCun et al. 1998",
    takes: Takes::Images,
    size: [28, 28, 1],
    classes: 10,
    has: |name| name == "lenet5",
    settings: || {
        vec![
            Setting::choice::<Activation>("activation", "tanh", "what hidden features go through"),
            Setting::choice::<Pooling>("pool", "avg", "what becomes of windows of 2×2 pixels"),
        ]
    },
    make: |_, values| Ok(Arc::new(LeNet { activation: values.choice("activation")?, pool: values.choice("pool")? })),
};

/// What becomes of a window.
#[derive(Debug, Clone, Copy)]
enum Pooling {
    Avg,
    Max,
}

impl Choice for Pooling {
    const ALL: &'static [(&'static str, Self)] = &[("avg", Pooling::Avg), ("max", Pooling::Max)];
}

/// LeNet-5 with all channels connected, a dense layer for the Gaussian connections at its end, and poolings without
/// parameters, as it is used today. Weights begin as PyTorch's, biases as zeros.
#[derive(Debug)]
struct LeNet {
    activation: Activation,
    pool: Pooling,
}

impl Architecture for LeNet {
    fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        let padding = if b.g.shape(x)[1] < 32 { 2 } else { 0 };
        let mut y = x;
        for (name, outs, padding) in [("conv1", 6, padding), ("conv2", 16, 0)] {
            b.begin_convolutions(Init::Uniform { fan_in: 25 * b.g.shape(y)[3] });
            y = b.conv2d_bias(name, y, outs, 5, Conv::padded(padding))?;
            y = self.activation.build(b, y)?;
            y = match self.pool {
                Pooling::Avg => b.g.avg_pool(y, [2, 2], [2, 2], [0, 0])?,
                Pooling::Max => b.max_pool(y, 2)?,
            };
        }
        y = b.flatten(y)?;
        for (name, outs) in [("fc1", 120), ("fc2", 84)] {
            let init = Init::Uniform { fan_in: b.g.shape(y)[1] };
            y = b.dense_from(name, y, outs, [init, Init::Zeros])?;
            y = self.activation.build(b, y)?;
        }
        b.dense_from("fc3", y, classes, [Init::Uniform { fan_in: 84 }, Init::Zeros])
    }
}

//! LeNet-5.

use hillshade_engine::{Conv, Tensor};

use crate::networks::{choices::*, family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["lenet5"],
    about: "two convolutions with pooling and three dense layers; images of less than 32 pixels get a margin of 2",
    source: "LeCun et al. 1998",
    ..Family::of::<LeNet>()
};

choices! {
    /// What becomes of a window.
    Pooling { Avg = "avg", Max = "max", }
}

options! {
    /// LeNet-5 with all channels connected, a dense layer for the Gaussian connections at its end, and poolings without
    /// parameters, as it is used today. Initial weights are PyTorch's, biases zeros.
    LeNet {
        activation: Activation = "tanh", "what hidden features go through";
        pool: Pooling = "avg", "what becomes of windows of 2×2 pixels";
    }
}

impl Architecture for LeNet {
    fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, classes: usize) -> Result<Tensor<'g>> {
        let padding = if x.shape()?[1] < 32 { 2 } else { 0 };
        let mut y = x;
        for (name, outs, padding) in [("conv1", 6, padding), ("conv2", 16, 0)] {
            b.begin_convolutions(Init::Uniform { fan_in: 25 * features(y)? });
            y = self.activation.of(b.conv_bias(name, y, outs, 5, Conv::padded(padding)));
            y = match self.pool {
                Pooling::Avg => y.avg_pool([2, 2], [2, 2], [0, 0]),
                Pooling::Max => b.max_pool(y, 2),
            };
        }
        y = b.flatten(y);
        for (name, outs) in [("fc1", 120), ("fc2", 84)] {
            let init = Init::Uniform { fan_in: features(y)? };
            y = self.activation.of(b.dense_from(name, y, outs, [init, Init::Zeros]));
        }
        Ok(b.dense_from("fc3", y, classes, [Init::Uniform { fan_in: 84 }, Init::Zeros]))
    }
}

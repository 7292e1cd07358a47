//! Small convolutional networks, with or without normalization.

use hillshade_engine::{Conv, Tensor};

use crate::networks::{family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["cnn"],
    about: "blocks of convolution, normalization, ReLU and max pooling, for small images",
    source: "LeCun et al. 1998; Ioffe and Szegedy 2015",
    ..Family::of::<Cnn>()
};

options! {
    /// Blocks of 3×3 convolution, normalization or a bias, and ReLU, halved by max pooling between them; then a dense layer.
    Cnn {
        widths: Vec<usize> = "16-32-64", "channels of the blocks";
        norm: Norm = "batch", "what follows a convolution; none is a bias";
    }
}

impl Architecture for Cnn {
    fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, classes: usize) -> Result<Tensor<'g>> {
        let mut y = x;
        for (i, &width) in self.widths.iter().enumerate() {
            if i > 0 {
                y = b.max_pool(y, 2);
            }
            let conv = Conv::padded(1);
            y = b.scope(&format!("block{i}"), |b| b.conv_norm(["conv", "norm"], self.norm, y, width, 3, conv)).relu();
        }
        let y = b.flatten(y);
        Ok(b.dense("head", y, classes))
    }
}

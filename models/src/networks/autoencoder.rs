//! Autoencoders: networks that predict their own input.

use hillshade_engine::{Conv, Tensor};

use crate::networks::{choices::*, family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["autoencoder"],
    about: "strided convolutions to a few pixels and transposed ones back; its loss is --loss squared against its input",
    source: "Masci et al. 2011; Zeiler et al. 2010",
    ..Family::of::<Autoencoder>()
};

options! {
    /// 3×3 convolutions of stride 2, each with an activation, and their transposes in reverse, with one between them.
    Autoencoder {
        widths: Vec<usize> = "16-32", "channels of the convolutions, each of which halves the image";
        activation: Activation = "relu", "what hidden features go through";
    }
}

impl Architecture for Autoencoder {
    /// The images again, as vectors; classes do not matter.
    fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, _: usize) -> Result<Tensor<'g>> {
        let conv = Conv::padded(1).strided(2);
        let (mut y, mut sizes) = (x, Vec::new());
        for (i, &width) in self.widths.iter().enumerate() {
            let [_, size @ ..]: [usize; 4] = y.dims()?;
            sizes.push(size);
            y = self.activation.of(b.conv_bias(&format!("encoder{i}"), y, width, 3, conv));
        }
        for (i, &size) in sizes.iter().enumerate().rev() {
            y = b.conv_transposed(&format!("decoder{i}"), y, size, 3, conv);
            if i > 0 {
                y = self.activation.of(y);
            }
        }
        Ok(b.flatten(y))
    }

    fn goal(&self) -> Goal {
        Goal::Input
    }
}

//! Vision transformers (ViT).

use hillshade_engine::{Conv, Tensor};

use crate::networks::{family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["vit"],
    about: "a transformer on patches of images",
    source: "Dosovitskiy et al. 2021",
    size: [32, 32, 3],
    classes: 10,
    ..Family::of::<Vit>()
};

options! {
    /// The vision transformer of Dosovitskiy et al. 2021: patches of an image as tokens after one for the class, learned
    /// positions, normalization before each part of a block. Names are Hugging Face's.
    Vit {
        layers: usize = "6", "blocks";
        heads: usize = "4", "heads of attention, a divisor of the width";
        width: usize = "128", "features";
        hidden: Option<usize> = "auto", "features within a block; auto four times the width";
        patch: usize = "4", "pixels of the side of a patch";
        dropout: f32 = "0", "share of features dropped in training";
        eps: f64 = "1e-12", "what is added to variances";
    }
}

/// Initial weights.
const BEGIN: Init = Init::Normal { std: 0.02 };

/// Weights and biases of dense layers.
const DENSE: [Init; 2] = [BEGIN, Init::Zeros];

impl Architecture for Vit {
    fn build<'g>(&self, b: &mut Builder<'g>, images: Tensor<'g>, classes: usize) -> Result<Tensor<'g>> {
        let (n, width) = (images.shape()?[0], self.width);
        let y = b.scope("vit", |b| -> Result<_> {
            let mut x = b.scope("embeddings", |b| -> Result<_> {
                let conv = Conv::default().strided(self.patch);
                let x = b.scope("patch_embeddings", |b| b.conv_bias("projection", images, width, self.patch, conv));
                let patches = x.count()? / (n * width);
                let class = b.param("cls_token", &[1, 1, width], BEGIN).broadcast(&[n, 1, width]);
                let x = b.g.concat(&[class, x.reshape(&[n, patches, width])], 1);
                let places = b.param("position_embeddings", &[1, patches + 1, width], BEGIN);
                Ok(b.dropout(x + places, self.dropout))
            })?;
            for layer in 0..self.layers {
                x = b.scope(&format!("encoder.layer.{layer}"), |b| self.block(b, x))?;
            }
            Ok(b.layer_norm("layernorm", x, self.eps))
        })?;
        Ok(b.dense_from("classifier", y.slice(1, 0, 1).reshape(&[n, width]), classes, DENSE))
    }
}

impl Vit {
    fn block<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>) -> Result<Tensor<'g>> {
        let y = b.layer_norm("layernorm_before", x, self.eps);
        let y = b.scope("attention", |b| -> Result<_> {
            let mut part = |name: &str| {
                let part = b.scope("attention", |b| b.dense_from(name, y, self.width, DENSE));
                b.heads(part, self.heads)
            };
            let qkv = [part("query")?, part("key")?, part("value")?];
            let y = b.attention(qkv, false, None)?;
            Ok(b.dense_from("output.dense", y, self.width, DENSE))
        })?;
        let x = x + b.dropout(y, self.dropout);
        let y = b.layer_norm("layernorm_after", x, self.eps);
        let y = b.dense_from("intermediate.dense", y, self.hidden.unwrap_or(4 * self.width), DENSE).gelu();
        let y = b.dense_from("output.dense", y, self.width, DENSE);
        Ok(x + b.dropout(y, self.dropout))
    }
}

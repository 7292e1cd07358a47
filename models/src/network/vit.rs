//! Vision transformers.

use std::sync::Arc;

use hillshade_engine::{Conv, Var};

use super::{Architecture, Family, Setting, Takes};
use crate::{Builder, Init, Result};

pub(super) const FAMILY: Family = Family {
    names: &["vit"],
    about: "a transformer on patches of images",
    source: "Dosovitskiy et al. 2021",
    takes: Takes::Images,
    size: [32, 32, 3],
    classes: 10,
    has: |name| name == "vit",
    settings: || {
        vec![
            Setting::size("layers", "6", "blocks"),
            Setting::size("heads", "4", "heads of attention, a divisor of the width"),
            Setting::size("width", "128", "features"),
            Setting::size_or_auto("hidden", "features within a block; auto four times the width"),
            Setting::size("patch", "4", "pixels of the side of a patch"),
            Setting::share("dropout", "0", "share of features dropped in training"),
            Setting::scale("eps", "1e-12", "what is added to variances"),
        ]
    },
    make: |_, values| {
        Ok(Arc::new(Vit {
            layers: values.size("layers")?,
            heads: values.size("heads")?,
            width: values.size("width")?,
            hidden: values.size_or_auto("hidden")?,
            patch: values.size("patch")?,
            dropout: values.share("dropout")?,
            eps: values.scale("eps")?,
        }))
    },
};

/// The vision transformer of Dosovitskiy et al. 2021: patches of an image as tokens after one for the class, learned
/// positions, normalization before each part of a block. Names are Hugging Face's.
#[derive(Debug)]
struct Vit {
    layers: usize,
    heads: usize,
    width: usize,
    hidden: Option<usize>,
    patch: usize,
    dropout: f32,
    eps: f64,
}

/// Weights as they begin.
const BEGIN: Init = Init::Normal { std: 0.02 };

/// Weights and biases of dense layers.
const DENSE: [Init; 2] = [BEGIN, Init::Zeros];

impl Architecture for Vit {
    fn build(&self, b: &mut Builder, images: Var, classes: usize) -> Result<Var> {
        let (n, width) = (b.g.shape(images)[0], self.width);
        let y = b.scope("vit", |b| {
            let mut x = b.scope("embeddings", |b| {
                let conv = Conv::default().strided(self.patch);
                let x =
                    b.scope("patch_embeddings", |b| b.conv2d_bias("projection", images, width, self.patch, conv))?;
                let patches = b.g.shape(x)[1] * b.g.shape(x)[2];
                let x = b.g.reshape(x, &[n, patches, width])?;
                let class = b.param("cls_token", &[1, 1, width], BEGIN)?;
                let class = b.g.broadcast(class, &[n, 1, width])?;
                let x = b.g.concat(&[class, x], 1)?;
                let places = b.param("position_embeddings", &[1, patches + 1, width], BEGIN)?;
                let x = b.g.add(x, places)?;
                b.dropout(x, self.dropout)
            })?;
            for layer in 0..self.layers {
                x = b.scope(&format!("encoder.layer.{layer}"), |b| self.block(b, x))?;
            }
            b.layer_norm("layernorm", x, self.eps)
        })?;
        let class = b.g.slice(y, 1, 0, 1).and_then(|y| b.g.reshape(y, &[n, width]))?;
        b.dense_from("classifier", class, classes, DENSE)
    }
}

impl Vit {
    fn block(&self, b: &mut Builder, x: Var) -> Result<Var> {
        let y = b.layer_norm("layernorm_before", x, self.eps)?;
        let y = b.scope("attention", |b| {
            let mut part = |name: &str| {
                let part = b.scope("attention", |b| b.dense_from(name, y, self.width, DENSE))?;
                b.heads(part, self.heads)
            };
            let qkv = [part("query")?, part("key")?, part("value")?];
            let y = b.attention(qkv, false, None)?;
            b.dense_from("output.dense", y, self.width, DENSE)
        })?;
        let y = b.dropout(y, self.dropout)?;
        let x = b.g.add(x, y)?;
        let y = b.layer_norm("layernorm_after", x, self.eps)?;
        let y = b.dense_from("intermediate.dense", y, self.hidden.unwrap_or(4 * self.width), DENSE)?;
        let y = b.g.gelu(y)?;
        let y = b.dense_from("output.dense", y, self.width, DENSE)?;
        let y = b.dropout(y, self.dropout)?;
        Ok(b.g.add(x, y)?)
    }
}

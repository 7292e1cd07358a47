//! Decoders of the shape of GPT-2.

use std::sync::Arc;

use hillshade_engine::Var;

use super::{Architecture, Family, Setting, Takes, vocabulary};
use crate::{Builder, Init, Result};

pub(super) const FAMILY: Family = Family {
    names: &["gpt2"],
    about: "a transformer decoder; the default is the published one of 124 M parameters",
    source: "Radford et al. 2019",
    takes: Takes::Tokens,
    size: [1024, 1, 1],
    classes: 50257,
    has: |name| name == "gpt2",
    settings: || {
        vec![
            Setting::size("layers", "12", "blocks"),
            Setting::size("heads", "12", "heads of attention, a divisor of the width"),
            Setting::size("width", "768", "features"),
            Setting::size("context", "1024", "most tokens of a sequence"),
            Setting::size_or_auto("vocab", "tokens that there are; auto as many as the data have"),
            Setting::share("dropout", "0", "share of features dropped in training"),
            Setting::scale("eps", "1e-5", "what is added to variances"),
        ]
    },
    make: |_, values| {
        Ok(Arc::new(Gpt2 {
            layers: values.size("layers")?,
            heads: values.size("heads")?,
            width: values.size("width")?,
            context: values.size("context")?,
            vocab: values.size_or_auto("vocab")?,
            dropout: values.share("dropout")?,
            eps: values.scale("eps")?,
        }))
    },
};

/// The transformer decoder of Radford et al. 2019: learned positions, normalization before each part of a block, one table
/// for tokens and head. The default is the smallest of the published ones, of 124.44 M parameters. Names and layouts are
/// Hugging Face's.
#[derive(Debug)]
struct Gpt2 {
    layers: usize,
    heads: usize,
    width: usize,
    context: usize,
    vocab: Option<usize>,
    dropout: f32,
    eps: f64,
}

/// The deviation of weights as they begin.
const STD: f64 = 0.02;

impl Architecture for Gpt2 {
    fn build(&self, b: &mut Builder, tokens: Var, vocab: usize) -> Result<Var> {
        let (t, vocab) = (b.g.shape(tokens)[1], vocabulary(self.vocab, vocab)?);
        let begin = Init::Normal { std: STD };
        let (y, table) = b.scope("transformer", |b| {
            let [x, table] = b.embedding("wte", tokens, [vocab, self.width], begin)?;
            let places = b.positions("wpe", t, [self.context, self.width], begin)?;
            let x = b.g.add(x, places)?;
            let mut x = b.dropout(x, self.dropout)?;
            for layer in 0..self.layers {
                x = b.scope(&format!("h.{layer}"), |b| self.block(b, x))?;
            }
            Ok((b.layer_norm("ln_f", x, self.eps)?, table))
        })?;
        let y = b.asked(y)?;
        Ok(b.g.matmul_as(y, false, table, true)?)
    }

    fn context(&self) -> Option<usize> {
        Some(self.context)
    }
}

impl Gpt2 {
    fn block(&self, b: &mut Builder, x: Var) -> Result<Var> {
        // As many residuals add up as there are parts of blocks; together they are to have the variance of one.
        let last = Init::Normal { std: STD / (2.0 * self.layers as f64).sqrt() };
        let y = b.layer_norm("ln_1", x, self.eps)?;
        let y = b.scope("attn", |b| {
            let all = b.dense_from("c_attn", y, 3 * self.width, [Init::Normal { std: STD }, Init::Zeros])?;
            let mut part = |i: usize| {
                let part = b.g.slice(all, 2, i * self.width, self.width)?;
                b.heads(part, self.heads)
            };
            let qkv = [part(0)?, part(1)?, part(2)?];
            let y = b.attention(qkv, true, None)?;
            b.dense_from("c_proj", y, self.width, [last, Init::Zeros])
        })?;
        let y = b.dropout(y, self.dropout)?;
        let x = b.g.add(x, y)?;
        let y = b.layer_norm("ln_2", x, self.eps)?;
        let y = b.scope("mlp", |b| {
            let y = b.dense_from("c_fc", y, 4 * self.width, [Init::Normal { std: STD }, Init::Zeros])?;
            let y = b.g.gelu_tanh(y)?;
            b.dense_from("c_proj", y, self.width, [last, Init::Zeros])
        })?;
        let y = b.dropout(y, self.dropout)?;
        Ok(b.g.add(x, y)?)
    }
}

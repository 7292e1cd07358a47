//! GPT-2 and decoders of its shape.

use hillshade_engine::Tensor;

use crate::networks::{family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["gpt2"],
    about: "a transformer decoder; the default is the published one of 124 M parameters",
    source: "Radford et al. 2019",
    takes: Takes::Tokens,
    size: [1024, 1, 1],
    classes: 50257,
    ..Family::of::<Gpt2>()
};

options! {
    /// The transformer decoder of Radford et al. 2019: learned positions, normalization before each part of a block, one
    /// table for tokens and head. The default is the smallest of the published ones, of 124.44 M parameters. Names and
    /// layouts are Hugging Face's.
    Gpt2 {
        layers: usize = "12", "blocks";
        heads: usize = "12", "heads of attention, a divisor of the width";
        width: usize = "768", "features";
        context: usize = "1024", "most tokens of a sequence";
        vocab: Option<usize> = "auto", "tokens that there are; auto as many as the data have";
        dropout: f32 = "0", "share of features dropped in training";
        eps: f64 = "1e-5", "what is added to variances";
    }
}

/// The standard deviation of initial weights.
const STD: f64 = 0.02;

/// Initializers of most weights and biases.
const DENSE: [Init; 2] = [Init::Normal { std: STD }, Init::Zeros];

impl Architecture for Gpt2 {
    fn build<'g>(&self, b: &mut Builder<'g>, tokens: Tensor<'g>, vocab: usize) -> Result<Tensor<'g>> {
        let ([_, t], vocab) = (tokens.dims()?, vocabulary(self.vocab, vocab)?);
        let (y, table) = b.scope("transformer", |b| -> Result<_> {
            let [x, table] = b.embedding("wte", tokens, [vocab, self.width], DENSE[0]);
            let places = b.positions("wpe", t, [self.context, self.width], DENSE[0])?;
            let mut x = b.dropout(x + places, self.dropout);
            for layer in 0..self.layers {
                x = b.scope(&format!("h.{layer}"), |b| self.block(b, x))?;
            }
            Ok((b.layer_norm("ln_f", x, self.eps), table))
        })?;
        Ok(b.asked(y).matmul_as(false, table, true))
    }

    fn context(&self) -> Option<usize> {
        Some(self.context)
    }
}

impl Gpt2 {
    fn block<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>) -> Result<Tensor<'g>> {
        // As many residuals add up as there are parts of blocks; together they are to have the variance of one.
        let last = [Init::Normal { std: STD / (2.0 * self.layers as f64).sqrt() }, Init::Zeros];
        let y = b.layer_norm("ln_1", x, self.eps);
        let y = b.scope("attn", |b| -> Result<_> {
            let all = b.dense_from("c_attn", y, 3 * self.width, DENSE);
            let mut part = |i: usize| b.heads(all.slice(2, i * self.width, self.width), self.heads);
            let qkv = [part(0)?, part(1)?, part(2)?];
            let y = b.attention(qkv, true, None)?;
            Ok(b.dense_from("c_proj", y, self.width, last))
        })?;
        let x = x + b.dropout(y, self.dropout);
        let y = b.layer_norm("ln_2", x, self.eps);
        let y = b.scope("mlp", |b| {
            let y = b.dense_from("c_fc", y, 4 * self.width, DENSE).gelu_tanh();
            b.dense_from("c_proj", y, self.width, last)
        });
        Ok(x + b.dropout(y, self.dropout))
    }
}

//! Llama and decoders of its shape.

use std::sync::Arc;

use hillshade_engine::Tensor;

use crate::networks::{family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["llama"],
    about: "a transformer decoder with rotary positions and gated blocks",
    source: "Touvron et al. 2023",
    takes: Takes::Tokens,
    size: [256, 1, 1],
    classes: 32000,
    make: |_, values| match Llama::read(values)? {
        Llama { low, high, .. } if low >= high => {
            Err(Error::argument("high", format!("a number above low, {low}"), high))
        }
        llama => Ok(Arc::new(llama)),
    },
    ..Family::of::<Llama>()
};

options! {
    /// The transformer decoder of Touvron et al. 2023: rotary positions, normalization by the root mean square, gated SiLU
    /// in the blocks, no biases. Names are Hugging Face's.
    Llama {
        layers: usize = "6", "blocks";
        heads: usize = "6", "heads of queries, a divisor of the width";
        kv_heads as "kv-heads": Option<usize> =
            "auto", "heads of keys and values, a divisor of those of queries; auto as many";
        width: usize = "384", "features";
        hidden: Option<usize> = "auto", "features within a gate; auto 8/3 of the width, up to a multiple of 32";
        context: usize = "256", "most tokens of a sequence";
        vocab: Option<usize> = "auto", "tokens that there are; auto as many as the data have";
        theta: f64 = "10000", "base of the wavelengths of rotary positions";
        stretch: f64 = "1", "what the angles of rotary positions are divided by";
        original: Option<usize> = "auto", "context in which turns are counted; auto: all angles are stretched";
        low: f64 = "1", "turns in the original context up to which an angle is stretched";
        high: f64 = "4", "turns, above low, from which on it is not";
        eps: f64 = "1e-5", "what is added to mean squares";
        tied: bool = "no", "whether tokens and head share a table";
    }
}

/// Initial weights.
const BEGIN: Init = Init::Normal { std: 0.02 };

impl Architecture for Llama {
    fn build<'g>(&self, b: &mut Builder<'g>, tokens: Tensor<'g>, vocab: usize) -> Result<Tensor<'g>> {
        let ([_, t], vocab) = (tokens.dims()?, vocabulary(self.vocab, vocab)?);
        let bands = self.original.map(|original| RopeBands { original, low: self.low, high: self.high });
        let rope = Rope { theta: self.theta, stretch: self.stretch, bands };
        let (y, table) = b.scope("model", |b| -> Result<_> {
            let [mut x, table] = b.embedding("embed_tokens", tokens, [vocab, self.width], BEGIN);
            let rotation = b.rotation(t, self.width / self.heads, rope, self.context)?;
            for layer in 0..self.layers {
                x = b.scope(&format!("layers.{layer}"), |b| self.block(b, x, rotation))?;
            }
            Ok((b.rms_norm("norm", x, self.eps), table))
        })?;
        let y = b.asked(y);
        Ok(if self.tied { y.matmul_as(false, table, true) } else { b.projection("lm_head", y, vocab, BEGIN) })
    }

    fn context(&self) -> Option<usize> {
        Some(self.context)
    }
}

impl Llama {
    fn block<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, rotation: Rotation<'g>) -> Result<Tensor<'g>> {
        let (heads, kv_heads) = (self.heads, self.kv_heads.unwrap_or(self.heads));
        let last = Init::Normal { std: 0.02 / (2.0 * self.layers as f64).sqrt() };
        let y = b.rms_norm("input_layernorm", x, self.eps);
        let y = b.scope("self_attn", |b| -> Result<_> {
            let mut part = |name: &str, of: usize| {
                let part = b.projection(name, y, self.width / heads * of, BEGIN);
                b.heads(part, of)
            };
            let [q, k, v] = [part("q_proj", heads)?, part("k_proj", kv_heads)?, part("v_proj", kv_heads)?];
            let [q, k] = [b.rotate(q, rotation), b.rotate(k, rotation)];
            let y = b.attention([q, k, v], true, None)?;
            Ok(b.projection("o_proj", y, self.width, last))
        })?;
        let x = x + y;
        let y = b.rms_norm("post_attention_layernorm", x, self.eps);
        let y = b.scope("mlp", |b| {
            let hidden = self.hidden.unwrap_or((8 * self.width).div_ceil(3).next_multiple_of(32));
            let gate = b.projection("gate_proj", y, hidden, BEGIN);
            let up = b.projection("up_proj", y, hidden, BEGIN);
            b.projection("down_proj", gate.silu() * up, self.width, last)
        });
        Ok(x + y)
    }
}

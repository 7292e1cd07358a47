//! Decoders of the shape of Llama.

use std::sync::Arc;

use hillshade_engine::Var;

use super::{Architecture, Family, Setting, Takes, Values, vocabulary};
use crate::{Builder, Error, Init, Result, Rope, RopeBands, Rotation};

pub(super) const FAMILY: Family = Family {
    names: &["llama"],
    about: "a transformer decoder with rotary positions and gated blocks",
    source: "Touvron et al. 2023",
    takes: Takes::Tokens,
    size: [256, 1, 1],
    classes: 32000,
    has: |name| name == "llama",
    settings: || {
        vec![
            Setting::size("layers", "6", "blocks"),
            Setting::size("heads", "6", "heads of queries, a divisor of the width"),
            Setting::size_or_auto("kv-heads", "heads of keys and values, a divisor of those of queries; auto as many"),
            Setting::size("width", "384", "features"),
            Setting::size_or_auto("hidden", "features within a gate; auto 8/3 of the width, up to a multiple of 32"),
            Setting::size("context", "256", "most tokens of a sequence"),
            Setting::size_or_auto("vocab", "tokens that there are; auto as many as the data have"),
            Setting::scale("theta", "10000", "base of the wavelengths of rotary positions"),
            Setting::scale("stretch", "1", "what the angles of rotary positions are divided by"),
            Setting::size_or_auto("original", "context in which turns are counted; auto: all angles are stretched"),
            Setting::scale("low", "1", "turns in the original context up to which an angle is stretched"),
            Setting::scale("high", "4", "turns, above low, from which on it is not"),
            Setting::scale("eps", "1e-5", "what is added to mean squares"),
            Setting::choice::<bool>("tied", "no", "whether tokens and head share a table"),
        ]
    },
    make: |_, values| {
        Ok(Arc::new(Llama {
            layers: values.size("layers")?,
            heads: values.size("heads")?,
            kv_heads: values.size_or_auto("kv-heads")?,
            width: values.size("width")?,
            hidden: values.size_or_auto("hidden")?,
            context: values.size("context")?,
            vocab: values.size_or_auto("vocab")?,
            rope: rope(values)?,
            eps: values.scale("eps")?,
            tied: values.choice("tied")?,
        }))
    },
};

/// The transformer decoder of Touvron et al. 2023: rotary positions, normalization by the root mean square, gated SiLU in
/// the blocks, no biases. Names are Hugging Face's.
#[derive(Debug)]
struct Llama {
    layers: usize,
    heads: usize,
    kv_heads: Option<usize>,
    width: usize,
    hidden: Option<usize>,
    context: usize,
    vocab: Option<usize>,
    rope: Rope,
    eps: f64,
    tied: bool,
}

/// The angles of rotary positions.
fn rope(values: &Values) -> Result<Rope> {
    let [low, high] = [values.scale("low")?, values.scale("high")?];
    if low >= high {
        let expected = format!("a number above low, {low}");
        return Err(Error::Argument { what: "high".into(), expected, found: high.to_string() });
    }
    let bands = values.size_or_auto("original")?.map(|original| RopeBands { original, low, high });
    Ok(Rope { theta: values.scale("theta")?, stretch: values.scale("stretch")?, bands })
}

/// Weights as they begin.
const BEGIN: Init = Init::Normal { std: 0.02 };

impl Architecture for Llama {
    fn build(&self, b: &mut Builder, tokens: Var, vocab: usize) -> Result<Var> {
        let (t, vocab) = (b.g.shape(tokens)[1], vocabulary(self.vocab, vocab)?);
        let (y, table) = b.scope("model", |b| {
            let [mut x, table] = b.embedding("embed_tokens", tokens, [vocab, self.width], BEGIN)?;
            let rotation = b.rotation(t, self.width / self.heads.max(1), self.rope, self.context)?;
            for layer in 0..self.layers {
                x = b.scope(&format!("layers.{layer}"), |b| self.block(b, x, rotation))?;
            }
            Ok((b.rms_norm("norm", x, self.eps)?, table))
        })?;
        let y = b.asked(y)?;
        match self.tied {
            true => Ok(b.g.matmul_as(y, false, table, true)?),
            false => b.projection("lm_head", y, vocab, BEGIN),
        }
    }

    fn context(&self) -> Option<usize> {
        Some(self.context)
    }
}

impl Llama {
    fn block(&self, b: &mut Builder, x: Var, rotation: Rotation) -> Result<Var> {
        let (heads, kv_heads) = (self.heads, self.kv_heads.unwrap_or(self.heads));
        let last = Init::Normal { std: 0.02 / (2.0 * self.layers as f64).sqrt() };
        let y = b.rms_norm("input_layernorm", x, self.eps)?;
        let y = b.scope("self_attn", |b| {
            let mut part = |name: &str, of: usize| {
                let part = b.projection(name, y, self.width / heads.max(1) * of, BEGIN)?;
                b.heads(part, of)
            };
            let [q, k, v] = [part("q_proj", heads)?, part("k_proj", kv_heads)?, part("v_proj", kv_heads)?];
            let [q, k] = [b.rotate(q, rotation)?, b.rotate(k, rotation)?];
            let y = b.attention([q, k, v], true, None)?;
            b.projection("o_proj", y, self.width, last)
        })?;
        let x = b.g.add(x, y)?;
        let y = b.rms_norm("post_attention_layernorm", x, self.eps)?;
        let y = b.scope("mlp", |b| {
            let hidden = self.hidden.unwrap_or((8 * self.width).div_ceil(3).next_multiple_of(32));
            let gate = b.projection("gate_proj", y, hidden, BEGIN)?;
            let up = b.projection("up_proj", y, hidden, BEGIN)?;
            let y = b.g.silu(gate).and_then(|gate| b.g.mul(gate, up))?;
            b.projection("down_proj", y, self.width, last)
        })?;
        Ok(b.g.add(x, y)?)
    }
}

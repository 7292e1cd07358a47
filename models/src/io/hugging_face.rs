//! Folders of Hugging Face's library `transformers`: GPT-2, Llama and ViT, with their sizes, weights and tokenizer.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{data::*, error::*};

/// A folder with a network, as the library writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pretrained {
    /// The network: [`Network::parse`](crate::Network::parse).
    pub model: String,
    /// The classes, or tokens, of its head.
    pub classes: usize,
    /// Its tokenizer, where there is one.
    pub tokenizer: Option<PathBuf>,
    /// Tokens that end a text.
    pub ends: Vec<u32>,
}

/// A network's `config.json`.
struct Sizes<'a> {
    path: &'a Path,
    json: Value,
}

impl Sizes<'_> {
    fn refused<T>(&self, expected: impl ToString, found: &Value) -> Result<T> {
        Err(Error::format(self.path, expected, found))
    }

    fn count(&self, key: &str) -> Result<usize> {
        let count = self.json[key].as_u64().and_then(|n| usize::try_from(n).ok());
        count.map_or_else(|| self.refused(format!("a whole number as \"{key}\""), &self.json[key]), Ok)
    }

    fn count_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.json[key].is_null() { Ok(default) } else { self.count(key) }
    }

    fn number(&self, key: &str, default: f64) -> f64 {
        self.json[key].as_f64().unwrap_or(default)
    }

    /// Refuses what the network here is not.
    fn only(&self, key: &str, known: &[Value]) -> Result<()> {
        let value = &self.json[key];
        if value.is_null() || known.contains(value) {
            return Ok(());
        }
        let known = known.iter().map(Value::to_string).collect::<Vec<_>>().join(" or ");
        self.refused(format!("{known} as \"{key}\""), value)
    }

    /// The specification and the number of classes.
    fn network(&self) -> Result<(String, usize)> {
        match self.json["model_type"].as_str() {
            Some("gpt2") => self.gpt2(),
            Some("llama") => self.llama(),
            Some("vit") => self.vit(),
            _ => self.refused("\"gpt2\", \"llama\" or \"vit\" as \"model_type\"", &self.json["model_type"]),
        }
    }

    fn gpt2(&self) -> Result<(String, usize)> {
        let (width, vocab) = (self.count("n_embd")?, self.count("vocab_size")?);
        self.only("activation_function", &["gelu_new".into(), "gelu_pytorch_tanh".into()])?;
        self.only("n_inner", &[(4 * width).into()])?;
        self.only("scale_attn_weights", &[true.into()])?;
        self.only("scale_attn_by_inverse_layer_idx", &[false.into()])?;
        self.only("tie_word_embeddings", &[true.into()])?;
        let [layers, heads, context] = [self.count("n_layer")?, self.count("n_head")?, self.count("n_positions")?];
        let eps = self.number("layer_norm_epsilon", 1e-5);
        let sizes = format!("layers={layers},heads={heads},width={width},context={context}");
        Ok((format!("gpt2:{sizes},vocab={vocab},eps={eps}"), vocab))
    }

    fn llama(&self) -> Result<(String, usize)> {
        let (width, vocab, heads) =
            (self.count("hidden_size")?, self.count("vocab_size")?, self.count("num_attention_heads")?);
        self.only("hidden_act", &["silu".into()])?;
        self.only("head_dim", &[(width / heads.max(1)).into()])?;
        self.only("attention_bias", &[false.into()])?;
        self.only("mlp_bias", &[false.into()])?;
        // Before version 5 the base stood alone, and what stretches the angles in `rope_scaling`.
        let rope = [&self.json["rope_parameters"], &self.json["rope_scaling"]].into_iter().find(|r| r.is_object());
        let rope = rope.unwrap_or(&Value::Null);
        let theta = rope["rope_theta"].as_f64().unwrap_or(self.number("rope_theta", 1e4));
        let number = |key: &str| {
            let expected = || format!("a number as \"{key}\" of \"rope_scaling\"");
            rope[key].as_f64().map_or_else(|| self.refused(expected(), &rope[key]), Ok)
        };
        let stretch = match rope["rope_type"].as_str().or(rope["type"].as_str()).unwrap_or("default") {
            "default" => String::new(),
            "linear" => format!(",stretch={}", number("factor")?),
            "llama3" => {
                let (factor, original) = (number("factor")?, number("original_max_position_embeddings")?);
                let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
                format!(",stretch={factor},original={original},low={low},high={high}")
            }
            kind => {
                return self.refused("\"default\", \"linear\" or \"llama3\" as \"rope_type\"", &kind.into());
            }
        };
        let (layers, hidden) = (self.count("num_hidden_layers")?, self.count("intermediate_size")?);
        let (kv, context) =
            (self.count_or("num_key_value_heads", heads)?, self.count_or("max_position_embeddings", 2048)?);
        let tied = if self.json["tie_word_embeddings"] == true { "yes" } else { "no" };
        let eps = self.number("rms_norm_eps", 1e-6);
        let sizes =
            format!("layers={layers},heads={heads},kv-heads={kv},width={width},hidden={hidden},context={context}");
        Ok((format!("llama:{sizes},vocab={vocab},theta={theta}{stretch},eps={eps},tied={tied}"), vocab))
    }

    fn vit(&self) -> Result<(String, usize)> {
        self.only("hidden_act", &["gelu".into()])?;
        self.only("qkv_bias", &[true.into()])?;
        let [layers, heads, width] =
            [self.count("num_hidden_layers")?, self.count("num_attention_heads")?, self.count("hidden_size")?];
        let (hidden, patch) = (self.count("intermediate_size")?, self.count("patch_size")?);
        let eps = self.number("layer_norm_eps", 1e-12);
        let classes = self.json["id2label"].as_object().map_or(2, serde_json::Map::len);
        let sizes = format!("layers={layers},heads={heads},width={width},hidden={hidden},patch={patch}");
        Ok((format!("vit:{sizes},eps={eps}"), classes))
    }
}

/// Reads the sizes of a folder's network.
///
/// # Errors
///
/// [`Error::Missing`] and [`Error::Io`] for a folder without `config.json`, [`Error::Format`] for a network or an option
/// of one that is not known here.
pub fn pretrained(folder: &Path) -> Result<Pretrained> {
    let path = folder.join("config.json");
    there("a network's config.json", &path)?;
    let json = serde_json::from_slice(&read(&path)?).map_err(|e| Error::format(&path, "JSON", e))?;
    let sizes = Sizes { json, path: &path };
    let (model, classes) = sizes.network()?;
    let ends = match &sizes.json["eos_token_id"] {
        Value::Array(all) => all.iter().filter_map(Value::as_u64).collect(),
        one => Vec::from_iter(one.as_u64()),
    };
    let tokenizer = Some(folder.join("tokenizer.json")).filter(|path| path.exists());
    Ok(Pretrained { model, classes, tokenizer, ends: ends.into_iter().filter_map(|t| u32::try_from(t).ok()).collect() })
}

/// Where a folder's weights are: in `model.safetensors`, or in the files that `model.safetensors.index.json` names.
pub(crate) fn weights(folder: &Path) -> Result<PathBuf> {
    let looked = ["model.safetensors", "model.safetensors.index.json"].map(|name| folder.join(name)).to_vec();
    match looked.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(Error::Missing { what: "weights".into(), looked }),
    }
}

/// What a parameter of ours may be called besides: files of the bare network leave the first word out.
pub(crate) fn bare_name(name: &str) -> Option<&str> {
    ["transformer.", "model.", "vit."].iter().find_map(|first| name.strip_prefix(first))
}

/// Whether a matrix is stored as ours: tables, and what GPT-2 has for dense layers.
pub(crate) fn is_stored_alike(name: &str) -> bool {
    let table = ["wte.weight", "wpe.weight", "embed_tokens.weight", "encoder.weight"];
    table.iter().any(|t| name.ends_with(t)) || name.starts_with("transformer.h.")
}

/// Whether a tensor is a mask, a copy, or for another use, which a network can be without.
pub(crate) fn is_needless(name: &str) -> bool {
    let ends = [".attn.bias", ".attn.masked_bias", ".inv_freq", "position_ids", "lm_head.weight"];
    ends.iter().any(|end| name.ends_with(end)) || name.contains("pooler.")
}

//! Weights from elsewhere: safetensors files with our names or PyTorch's.

mod hugging_face;

pub use hugging_face::{Pretrained, export_hugging_face, pretrained};

use std::{collections::BTreeMap, fs, path::Path};

use hillshade_engine::Session;
use safetensors::{Dtype, SafeTensors};

use crate::{Checkpoint, Error, Param, Result};

/// A tensor: extents and values.
pub type Tensor = (Vec<usize>, Vec<f32>);

/// Reads the values of a network's parameters and running statistics from a file, and sets a session's states to them.
///
/// The file is a [`Checkpoint`], or has PyTorch's layouts, with our names or those usual for CIFAR ResNets
/// (`conv1.weight`, `layer2.0.bn1.running_mean`, `layer2.0.downsample.0.weight` or `shortcut.0.weight`, `fc.weight` or
/// `linear.weight`), with or without `module.` before them: weights of convolutions `[co, ci, kh, kw]`, of dense layers
/// `[out, in]`. Tensors of f16 and bf16 are widened; what the network does not have is left aside. Or it is a folder of
/// Hugging Face's library, of one file or several, that has the network's tensors alone.
///
/// # Errors
///
/// [`Error::Missing`], [`Error::Io`], and [`Error::Format`] that names the tensors that are missing or of another shape, or
/// in a folder too many.
pub fn import(path: &Path, params: &[Param], session: &mut Session) -> Result<()> {
    let found = match path.is_dir() {
        true => Ok(Source { tensors: hugging_face::shards(path)?, foreign: true }),
        false => source(path),
    }?;
    let extra = if path.is_dir() { hugging_face::extra(&found.tensors, params) } else { Vec::new() };
    if !extra.is_empty() {
        let expected = "the network's tensors alone".into();
        return Err(Error::Format { path: path.into(), expected, found: format!("{} too", extra.join(", ")) });
    }
    let (mut missing, mut wrong, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for p in params {
        match found.get(p) {
            None => missing.push(p.name.clone()),
            Some((shape, data)) if shape == p.shape => ready.push((p, data)),
            Some((shape, _)) => wrong.push(format!("\"{}\" of {:?} for {:?}", p.name, shape, p.shape)),
        }
    }
    if !missing.is_empty() || !wrong.is_empty() {
        let known = found.tensors.keys().take(8).cloned().collect::<Vec<_>>().join(", ");
        let (expected, found) = match missing.is_empty() {
            false => (format!("tensors for {}", missing.join(", ")), format!("none; there are {known} …")),
            true => ("tensors of the network's shapes".into(), wrong.join(", ")),
        };
        return Err(Error::Format { path: path.into(), expected, found });
    }
    for (p, data) in ready {
        session.set(&p.name, &p.shape, &data)?;
    }
    Ok(())
}

/// The tensors of a file.
fn source(path: &Path) -> Result<Source> {
    match Checkpoint::load(path) {
        Ok(checkpoint) => Ok(Source { tensors: checkpoint.states, foreign: false }),
        Err(e @ (Error::Missing { .. } | Error::Io { .. })) => Err(e),
        Err(_) => Ok(Source { tensors: tensors(path)?, foreign: true }),
    }
}

struct Source {
    tensors: BTreeMap<String, Tensor>,
    foreign: bool,
}

impl Source {
    /// The tensor of a parameter, in our layout.
    fn get(&self, p: &Param) -> Option<Tensor> {
        if !self.foreign {
            return self.tensors.get(&p.name).cloned();
        }
        let names = [vec![p.name.clone()], usual_names(&p.name)].concat();
        let (shape, data) =
            names.iter().find_map(|n| self.tensors.get(n).or_else(|| self.tensors.get(&format!("module.{n}"))))?;
        Some(match shape[..] {
            [co, ci, kh, kw] => {
                let at = |i: usize| {
                    let (o, c, x, y) = (i % co, i / co % ci, i / (co * ci) % kw, i / (co * ci * kw));
                    data[((o * ci + c) * kh + y) * kw + x]
                };
                (vec![kh, kw, ci, co], (0..data.len()).map(at).collect())
            }
            [outs, ins] if !hugging_face::is_stored_alike(&p.name) => {
                (vec![ins, outs], (0..data.len()).map(|i| data[i % outs * ins + i / outs]).collect())
            }
            _ => (shape.clone(), data.clone()),
        })
    }
}

/// What a parameter of ours is called in PyTorch's CIFAR ResNets.
fn usual_names(name: &str) -> Vec<String> {
    if let Some(rest) = name.strip_prefix("stem.") {
        return vec![rest.replace("conv.", "conv1.").replace("norm.", "bn1.")];
    }
    if let Some(rest) = name.strip_prefix("head.") {
        return vec![format!("fc.{rest}"), format!("linear.{rest}"), format!("classifier.{rest}")];
    }
    if let Some(bare) = hugging_face::bare_name(name) {
        return vec![bare.into()];
    }
    let Some((stage, rest)) = name.strip_prefix("stage").and_then(|s| s.split_once(".block")) else {
        return Vec::new();
    };
    let (Ok(stage), Some((block, layer))) = (stage.parse::<usize>(), rest.split_once('.')) else { return Vec::new() };
    let place = format!("layer{}.{block}", stage + 1);
    match layer.strip_prefix("shortcut.") {
        Some(rest) => {
            let rest = rest.replace("conv.", "0.").replace("norm.", "1.");
            ["downsample", "shortcut"].map(|s| format!("{place}.{s}.{rest}")).to_vec()
        }
        None => vec![format!("{place}.{}", layer.replace("norm", "bn"))],
    }
}

fn tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = fs::read(path).map_err(|source| Error::Io { what: "read", path: path.into(), source })?;
    let format = |found: String| Error::Format { path: path.into(), expected: "a safetensors file".into(), found };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| format(e.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let pairs = || view.data().chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let data = match view.dtype() {
            Dtype::F32 => view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::BF16 => pairs().map(|h| f32::from_bits(u32::from(h) << 16)).collect(),
            Dtype::F16 => pairs().map(widen).collect(),
            // Counters and the like, which no parameter of ours is made of.
            _ => continue,
        };
        tensors.insert(name.to_string(), (view.shape().to_vec(), data));
    }
    Ok(tensors)
}

/// A 16-bit float as a 32-bit one, exactly.
fn widen(half: u16) -> f32 {
    let (sign, exponent, fraction) = (u32::from(half >> 15) << 31, u32::from(half >> 10 & 31), u32::from(half & 1023));
    match (exponent, fraction) {
        (0, _) => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        (31, _) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        let pairs = [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f32.powi(-24)), (0x7bff, 65504.0), (0x8000, -0.0)];
        for (half, float) in pairs {
            assert_eq!(widen(half).to_bits(), f32::to_bits(float), "{half:x}");
        }
        assert!(widen(0x7c00).is_infinite() && widen(0x7e00).is_nan());
    }

    #[test]
    fn names_are_the_usual_ones() {
        let pairs = [
            ("stem.conv.weight", "conv1.weight"),
            ("stem.norm.running_var", "bn1.running_var"),
            ("stage0.block2.conv1.weight", "layer1.2.conv1.weight"),
            ("stage1.block0.norm2.bias", "layer2.0.bn2.bias"),
            ("stage2.block0.shortcut.conv.weight", "layer3.0.downsample.0.weight"),
            ("stage2.block0.shortcut.norm.weight", "layer3.0.downsample.1.weight"),
            ("head.bias", "fc.bias"),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(usual_names(ours)[0], theirs);
        }
    }
}

//! Weights from elsewhere: safetensors files with our names or PyTorch's.

pub(crate) mod hugging_face;

pub use hugging_face::{Pretrained, pretrained};

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use hillshade_engine::Session;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::{
    Checkpoint, Error, Param, Result, Tensor, Trainer,
    torch::{inward, usual_names},
};

/// Which of a run's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// Those of the last step.
    Last,
    /// Their running averages: [`Config::average`](crate::Config::average).
    Average,
}

impl Weights {
    /// What comes before the names of their states.
    pub fn prefix(self) -> &'static str {
        match self {
            Weights::Last => "",
            Weights::Average => Trainer::AVERAGE,
        }
    }
}

impl Checkpoint {
    /// Which of its weights are meant: those that are wanted, else those that are tested, the averages where there are any.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the run keeps no averages.
    pub fn weights(&self, wanted: Option<Weights>) -> Result<Weights> {
        match (wanted, self.config.average) {
            (Some(Weights::Average), None) => Err(Error::Argument {
                what: "weights".into(),
                expected: "last, for the run keeps no averages".into(),
                found: "average".into(),
            }),
            (Some(wanted), _) => Ok(wanted),
            (None, Some(_)) => Ok(Weights::Average),
            (None, None) => Ok(Weights::Last),
        }
    }
}

/// Reads the values of a network's parameters and running statistics from a file, and sets a session's states to them.
///
/// The file is a [`Checkpoint`], or has PyTorch's layouts ([`to_torch`](crate::to_torch)), with our names or those usual
/// for residual networks (`shortcut.0.weight` for `downsample.0.weight` and `linear.weight` for `fc.weight` too), with or
/// without `module.` before them, or is a folder of Hugging Face's library. Where its name ends in `.index.json` it lists the files beside it that have the tensors.
/// Tensors of f16 and bf16 are widened, those of integers left aside. Of a checkpoint [`Checkpoint::weights`] are read, and
/// said to be.
///
/// # Errors
///
/// [`Error::Missing`], [`Error::Io`], [`Error::Argument`] for weights that are not there, and [`Error::Format`] that names
/// the tensors that are missing, of another shape, or not the network's; what a checkpoint has beside the network's is in
/// its place.
pub fn import(
    path: &Path,
    params: &[Param],
    session: &mut Session,
    wanted: Option<Weights>,
) -> Result<Option<Weights>> {
    let path = &if path.is_dir() { hugging_face::weights(path)? } else { path.to_path_buf() };
    let index = path.to_string_lossy().ends_with(".index.json");
    let checkpoint = if index { None } else { Some(Checkpoint::load(path)) };
    let found = match checkpoint {
        Some(Ok(checkpoint)) => Source { of_run: Some(checkpoint.weights(wanted)?), tensors: checkpoint.states },
        Some(Err(e @ (Error::Missing { .. } | Error::Io { .. }))) => return Err(e),
        Some(Err(_)) => Source { of_run: None, tensors: tensors(path)? },
        None => Source { of_run: None, tensors: sharded(path)? },
    };
    if let (None, Some(_)) = (found.of_run, wanted) {
        let (what, expected) = ("weights".into(), "nothing beside weights that are no run's".into());
        return Err(Error::Argument { what, expected, found: path.display().to_string() });
    }
    let (mut missing, mut wrong, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    let mut used = BTreeSet::new();
    for p in params {
        let Some((name, (shape, data))) = found.get(p) else {
            missing.push(p.name.clone());
            continue;
        };
        match shape == p.shape {
            true => ready.push((p, data)),
            false => wrong.push(format!("\"{name}\" of {shape:?} for {:?}", p.shape)),
        }
        used.insert(name);
    }
    let is_extra = |name: &String| found.of_run.is_none() && !used.contains(name) && !hugging_face::is_needless(name);
    let extra = found.tensors.keys().filter(|name| is_extra(name)).cloned().collect();
    let parts = [("without", missing), ("of other shapes", wrong), ("with others too", extra)];
    let told: Vec<String> = parts
        .iter()
        .filter(|(_, names): &&(&str, Vec<String>)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
    if !told.is_empty() {
        let expected = "the tensors of the network".into();
        return Err(Error::Format { path: path.into(), expected, found: told.join("; ") });
    }
    for (p, data) in ready {
        session.set(&p.name, &p.shape, &data)?;
    }
    Ok(found.of_run)
}

struct Source {
    /// Which of the tensors are meant, in a checkpoint.
    of_run: Option<Weights>,
    tensors: BTreeMap<String, Tensor>,
}

impl Source {
    /// The tensor of a parameter, in our layout, and its name there.
    fn get(&self, p: &Param) -> Option<(String, Tensor)> {
        if let Some(weights) = self.of_run {
            let name = format!("{}{}", weights.prefix(), p.name);
            return self.tensors.get(&name).map(|tensor| (name, tensor.clone()));
        }
        let names = [vec![p.name.clone()], usual_names(&p.name)].concat();
        let mut names = names.into_iter().flat_map(|name| [format!("module.{name}"), name]);
        names.find_map(|name| self.tensors.get(&name).map(|tensor| (name.clone(), inward(p, tensor))))
    }
}

fn format(path: &Path, expected: &str, found: String) -> Error {
    Error::Format { path: path.into(), expected: expected.into(), found }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::Io { what: "read", path: path.into(), source })
}

/// The tensors of all files that an index names, each of which must have those that it is said to.
fn sharded(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(&read(path)?)
        .map_err(|e| format(path, "an index of safetensors files", e.to_string()))?;
    let mut all = BTreeMap::new();
    for file in index.weight_map.values().collect::<BTreeSet<_>>() {
        let shard = path.with_file_name(file);
        if Path::new(file).components().count() != 1 {
            return Err(format(path, "names of files beside it", format!("{file:?}")));
        }
        all.extend(tensors(&shard)?);
    }
    // Integers are no parameters and were left aside.
    all.retain(|name, _| index.weight_map.contains_key(name));
    Ok(all)
}

/// The floats of a file.
fn tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| format(path, "a safetensors file", e.to_string()))?;
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
}

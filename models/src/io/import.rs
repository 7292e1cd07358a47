//! Weights from elsewhere: safetensors files with our names or PyTorch's.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use half::{bf16, f16};
use hillshade_engine::Session;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::io::{checkpoint::*, hugging_face, torch_layout::*};
use crate::{data::read, error::*, nn::Param, train::Trainer};

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
            (Some(Weights::Average), None) => {
                Err(Error::argument("weights", "last, for the run keeps no averages", "average"))
            }
            (Some(wanted), _) => Ok(wanted),
            (None, Some(_)) => Ok(Weights::Average),
            (None, None) => Ok(Weights::Last),
        }
    }
}

/// Reads the values of a network's parameters and running statistics from a file, and sets a session's states to them.
///
/// The file is a [`Checkpoint`], of which [`Checkpoint::weights`] are read and returned, or has PyTorch's layouts
/// ([`to_torch`]), with our names or those usual for residual networks (`shortcut.0.weight` for `downsample.0.weight` and
/// `linear.weight` for `fc.weight` too), with or without `module.` before them. It may also be a folder of Hugging Face's
/// library, or end in `.index.json` and list the files beside it that have the tensors. Tensors of f16 and bf16 are widened,
/// those of integers left aside.
///
/// # Errors
///
/// [`Error::Missing`], [`Error::Io`], [`Error::Argument`] for weights that are not there, and [`Error::Format`] that names
/// the tensors that are missing, of another shape, or not the network's; what a checkpoint has beside the network's is in
/// its place.
pub fn import(
    path: &Path, params: &[Param], session: &mut Session, wanted: Option<Weights>,
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
        return Err(Error::argument("weights", "nothing beside weights that are no run's", path.display()));
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
    let told = parts.iter().filter(|(_, names): &&(&str, Vec<String>)| !names.is_empty());
    let told: Vec<String> = told.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
    if !told.is_empty() {
        return Err(Error::format(path, "the tensors of the network", told.join("; ")));
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

/// The tensors of all files that an index names, each of which must have those that it is said to.
fn sharded(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index =
        serde_json::from_slice(&read(path)?).map_err(|e| Error::format(path, "an index of safetensors files", e))?;
    let mut all = BTreeMap::new();
    for file in index.weight_map.values().collect::<BTreeSet<_>>() {
        let shard = path.with_file_name(file);
        if Path::new(file).components().count() != 1 {
            return Err(Error::format(path, "names of files beside it", format!("{file:?}")));
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
    let file = SafeTensors::deserialize(&bytes).map_err(|e| Error::format(path, "a safetensors file", e))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let pairs = || view.data().chunks_exact(2).map(|b| [b[0], b[1]]);
        let data = match view.dtype() {
            Dtype::F32 => floats(view.data()),
            Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            // Counters and the like, which no parameter of ours is made of.
            _ => continue,
        };
        tensors.insert(name.to_string(), (view.shape().to_vec(), data));
    }
    Ok(tensors)
}

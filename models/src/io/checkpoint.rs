//! Checkpoints: every state of a run, and where it stood, in one safetensors file.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    io::Write,
    path::Path,
};

use hillshade_engine::Session;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{data::*, error::*, io::torch_layout::Tensor, train::*};

/// A run at one moment: enough to go on with the same bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// What is trained, and how.
    pub config: Config,
    /// Where the run stands.
    pub progress: Progress,
    /// The states by name: parameters, running statistics, the optimizer's and the epoch's totals.
    pub states: BTreeMap<String, Tensor>,
}

/// The file's metadata, under the key `hillshade`.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    config: Config,
    progress: Progress,
}

const KEY: &str = "hillshade";
const VERSION: u32 = 1;

impl Checkpoint {
    /// Reads the states of these names back. Others, which programs beside the run's may have, are left out.
    ///
    /// # Errors
    ///
    /// The engine's, when one is not there, and the device's.
    pub async fn take(session: &Session, names: &[String], config: &Config, progress: Progress) -> Result<Self> {
        let mut states = BTreeMap::new();
        for name in names {
            let data = session.get(name).await?;
            let shape = session.shape_of(name).expect("a state that was read is there");
            states.insert(name.clone(), (shape, data));
        }
        Ok(Checkpoint { config: config.clone(), progress, states })
    }

    /// Writes the file so that a crash at any moment leaves the old one or the new one, never half of either.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the disk refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        let header = Header { version: VERSION, config: self.config.clone(), progress: self.progress };
        let json = serde_json::to_string(&header).map_err(|e| broken(path, e))?;
        write_atomically(path, &serialize(path, &self.states, Some(HashMap::from([(KEY.to_string(), json)])))?)
    }

    /// Reads a file that [`Checkpoint::save`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Io`], or [`Error::Format`] for a file that is no checkpoint or is damaged.
    pub fn load(path: &Path) -> Result<Self> {
        there("a checkpoint", path)?;
        let bytes = read(path)?;
        let damaged = |e: safetensors::SafeTensorError| Error::format(path, "a safetensors file", e);
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let (expected, json) = ("the metadata of a Hillshade checkpoint", metadata.metadata().as_ref());
        let json = json.and_then(|m| m.get(KEY)).ok_or_else(|| Error::format(path, expected, "none"))?;
        let header: Header = serde_json::from_str(json).map_err(|e| Error::format(path, expected, e))?;
        if header.version != VERSION {
            return Err(Error::format(path, format!("version {VERSION}"), header.version));
        }
        let mut states = BTreeMap::new();
        for (name, view) in tensors.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(Error::format(path, format!("f32 in \"{name}\""), format!("{:?}", view.dtype())));
            }
            states.insert(name, (view.shape().to_vec(), floats(view.data())));
        }
        Ok(Checkpoint { config: header.config, progress: header.progress, states })
    }

    /// Sets a session's states of these names, which must be those of the same network and optimizer.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] that names what is missing, extra or of another shape.
    pub fn restore(&self, session: &mut Session, names: &[String], path: &Path) -> Result<()> {
        let model = &self.config.model;
        if let Some(name) = names.iter().find(|n| !self.states.contains_key(*n)) {
            return Err(Error::format(path, format!("\"{name}\" of {model}"), "no such tensor"));
        }
        if let Some(name) = self.states.keys().find(|n| !names.contains(n)) {
            return Err(Error::format(path, format!("the tensors of {model} alone"), format!("\"{name}\" too")));
        }
        for (name, (shape, _)) in &self.states {
            let Some(own) = session.shape_of(name) else {
                return Err(Error::format(path, "the session's states alone", format!("\"{name}\" too")));
            };
            if own != *shape {
                return Err(Error::format(path, format!("\"{name}\" of shape {own:?}"), format!("{shape:?}")));
            }
        }
        for (name, (shape, data)) in &self.states {
            session.set(name, shape, data)?;
        }
        Ok(())
    }
}

impl Trainer {
    /// A run that goes on from a checkpoint. The configuration is the checkpoint's but for its length, `epochs`.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the checkpoint is not one of this network and optimizer, and those of [`Trainer::new`].
    pub fn resume(checkpoint: &Checkpoint, path: &Path, task: impl Into<Task>, session: Session) -> Result<Self> {
        let mut trainer = Self::new(checkpoint.config.clone(), task, session)?;
        trainer.restore(checkpoint, path)?;
        Ok(trainer)
    }

    /// Goes on from a checkpoint of the same run, which had the same interventions [added](Trainer::with).
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the checkpoint is not one of this network, optimizer and interventions.
    pub fn restore(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<()> {
        checkpoint.restore(&mut self.session, &self.own, path)?;
        self.go_on(checkpoint.progress);
        Ok(())
    }

    /// Everything that is needed to go on from here.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] when a state is not finite, from which there is no going on, and the device's.
    pub async fn checkpoint(&self) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::take(&self.session, &self.own, self.config(), self.progress()).await?;
        match checkpoint.states.values().flat_map(|(_, data)| data).find(|v| !v.is_finite()) {
            Some(_) => Err(self.diverged(f64::NAN)),
            None => Ok(checkpoint),
        }
    }
}

fn broken(path: &Path, found: impl ToString) -> Error {
    Error::format(path, "states that can be stored", found)
}

/// Numbers from their bytes.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The bytes of a safetensors file of f32.
pub(crate) fn serialize(
    path: &Path, tensors: &BTreeMap<String, Tensor>, metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = tensors.values().map(|(_, x)| x.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, (shape, _)), data)| {
        Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).map_err(|e| broken(path, e))?))
    });
    safetensors::serialize(views.collect::<Result<Vec<_>>>()?, metadata).map_err(|e| broken(path, e))
}

/// Replaces a file's contents: written beside it, synced, renamed.
///
/// # Errors
///
/// [`Error::Io`] when the disk refuses; the old file is then whole.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    let written = (|| -> io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The rename itself is on the disk once the folder is; where folders cannot be opened it is as good as can be.
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty())
            && let Ok(folder) = fs::File::open(folder)
        {
            folder.sync_all()?;
        }
        Ok(())
    })();
    written.map_err(|source| {
        // What could not be finished is of no use; the error that is reported is the first one.
        let _ = fs::remove_file(&beside);
        Error::io("write", path)(source)
    })
}

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

use crate::{Config, Error, Progress, Result, Tensor};

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
            states.insert(name.clone(), (session.shape_of(name).unwrap_or_default(), data));
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
        let json = serde_json::to_string(&header).map_err(|e| broken(path, e.to_string()))?;
        write_atomically(path, &serialize(path, &self.states, Some(HashMap::from([(KEY.to_string(), json)])))?)
    }

    /// Reads a file that [`Checkpoint::save`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Io`], or [`Error::Format`] for a file that is no checkpoint or is damaged.
    pub fn load(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::Missing { what: "a checkpoint".into(), looked: vec![path.into()] });
        }
        let bytes = fs::read(path).map_err(|source| Error::Io { what: "read", path: path.into(), source })?;
        let format =
            |expected: &str, found: String| Error::Format { path: path.into(), expected: expected.into(), found };
        let damaged = |e: safetensors::SafeTensorError| format("a safetensors file", e.to_string());
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let json = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
        let json = json.ok_or_else(|| format("the metadata of a Hillshade checkpoint", "none".into()))?;
        let header: Header =
            serde_json::from_str(json).map_err(|e| format("the metadata of a Hillshade checkpoint", e.to_string()))?;
        if header.version != VERSION {
            return Err(format(&format!("version {VERSION}"), header.version.to_string()));
        }
        let mut states = BTreeMap::new();
        for (name, view) in tensors.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(format(&format!("f32 in \"{name}\""), format!("{:?}", view.dtype())));
            }
            let data = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            states.insert(name, (view.shape().to_vec(), data));
        }
        Ok(Checkpoint { config: header.config, progress: header.progress, states })
    }

    /// Sets a session's states of these names, which must be those of the same network and optimizer.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] that names what is missing, extra or of another shape.
    pub fn restore(&self, session: &mut Session, names: &[String], path: &Path) -> Result<()> {
        let missing = names.iter().find(|n| !self.states.contains_key(*n));
        let extra = self.states.keys().find(|n| !names.contains(n));
        let other = |expected: String, found: String| Error::Format { path: path.into(), expected, found };
        if let Some(name) = missing {
            return Err(other(format!("\"{name}\" of {}", self.config.model), "no such tensor".into()));
        }
        if let Some(name) = extra {
            return Err(other(format!("the tensors of {} alone", self.config.model), format!("\"{name}\" too")));
        }
        for (name, (shape, _)) in &self.states {
            let own = session.shape_of(name).unwrap_or_default();
            if own != *shape {
                return Err(other(format!("\"{name}\" of shape {own:?}"), format!("{shape:?}")));
            }
        }
        for (name, (shape, data)) in &self.states {
            session.set(name, shape, data)?;
        }
        Ok(())
    }
}

fn broken(path: &Path, found: String) -> Error {
    Error::Format { path: path.into(), expected: "states that can be stored".into(), found }
}

/// The bytes of a safetensors file of f32.
pub(crate) fn serialize(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, data))| (name, shape, data.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| broken(path, e.to_string()))?;
    safetensors::serialize(views, metadata).map_err(|e| broken(path, e.to_string()))
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
        Error::Io { what: "write", path: path.into(), source }
    })
}

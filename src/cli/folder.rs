//! A run's folder: configuration, metrics, curves, checkpoint, and a lock while a process works in it.

use std::{
    fs::{self, File, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};

use hillshade::models::{Config, Error, Score, write_atomically};
use serde::{Deserialize, Serialize};

use super::Result;

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Epochs done, from 1.
    pub epoch: u32,
    /// Steps done.
    pub step: u64,
    /// Learning rate of the epoch's last step.
    pub rate: f64,
    /// Mean loss over the epoch's steps.
    pub train_loss: f64,
    /// Accuracy over the epoch's steps.
    pub train_accuracy: f64,
    /// Mean loss on the test images.
    pub test_loss: f64,
    /// Accuracy on the test images.
    pub test_accuracy: f64,
    /// Training time since this process began, in seconds.
    pub seconds: f64,
    /// Training throughput of the epoch.
    pub images_per_second: f64,
}

impl Epoch {
    /// The training score.
    pub fn train(&self) -> Score {
        Score { loss: self.train_loss, accuracy: self.train_accuracy }
    }
}

/// An open run folder.
pub struct Folder {
    path: PathBuf,
    /// Held as long as the folder is open.
    _lock: File,
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> super::Error {
    let path = path.to_path_buf();
    move |source| Error::Io { what, path, source }.into()
}

impl Folder {
    /// Makes a new run's folder: the given one, which must hold no run yet, or the first free `runs/<number>`.
    pub fn create(out: Option<&Path>) -> Result<Self> {
        let path = match out {
            Some(path) => path.to_path_buf(),
            None => (1..).map(|n| Path::new("runs").join(n.to_string())).find(|p| !p.exists()).unwrap_or_default(),
        };
        fs::create_dir_all(&path).map_err(io("write", &path))?;
        let folder = Self::lock(path)?;
        if folder.checkpoint().exists() || folder.metrics_path().exists() {
            let expected = "a folder without a run (--resume goes on with one)".into();
            return Err(Error::Format { path: folder.path, expected, found: "a run".into() }.into());
        }
        Ok(folder)
    }

    /// Opens a run's folder.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::Missing { what: "a run's folder".into(), looked: vec![path.into()] }.into());
        }
        Self::lock(path.into())
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let file = path.join(".lock");
        let lock = File::create(&file).map_err(io("write", &file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let expected = "a run's folder that is not in use".into();
                Err(Error::Format { path, expected, found: "another process at work in it".into() }.into())
            }
            Err(TryLockError::Error(e)) => Err(io("write", &file)(e)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoint's path.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }

    fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Writes the configuration.
    pub fn configure(&self, config: &Config) -> Result<()> {
        let text = serde_json::to_string_pretty(config).map_err(|e| Error::Argument {
            what: "configuration".into(),
            expected: "finite numbers".into(),
            found: e.to_string(),
        })?;
        Ok(write_atomically(&self.path.join("config.json"), format!("{text}\n").as_bytes())?)
    }

    /// The first `epochs` lines of the metrics; what a stopped process wrote beyond its last checkpoint is dropped.
    pub fn metrics(&self, epochs: u32) -> Result<Vec<Epoch>> {
        let path = self.metrics_path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path).map_err(io("read", &path))?;
        let mut kept = Vec::new();
        for (i, line) in text.lines().enumerate().take(epochs as usize) {
            let epoch = serde_json::from_str(line).map_err(|e| Error::Format {
                path: path.clone(),
                expected: format!("an epoch's metrics in line {}", i + 1),
                found: e.to_string(),
            })?;
            kept.push(epoch);
        }
        Ok(kept)
    }

    /// Replaces the metrics.
    pub fn rewrite(&self, epochs: &[Epoch]) -> Result<()> {
        let lines: Vec<String> = epochs.iter().map(|e| serde_json::json!(e).to_string() + "\n").collect();
        Ok(write_atomically(&self.metrics_path(), lines.concat().as_bytes())?)
    }

    /// Adds a line to the metrics.
    pub fn append(&self, epoch: &Epoch) -> Result<()> {
        let path = self.metrics_path();
        let mut file = File::options().create(true).append(true).open(&path).map_err(io("write", &path))?;
        writeln!(file, "{}", serde_json::json!(epoch)).map_err(io("write", &path))
    }

    /// Draws the curves.
    pub fn plot(&self, epochs: &[Epoch]) -> Result<()> {
        let svg = super::plot::curves(epochs);
        Ok(write_atomically(&self.path.join("curves.svg"), svg.as_bytes())?)
    }
}

//! A run's folder: configuration, metrics, curves, checkpoint, and a lock while a process works in it.

use std::{
    fs::{self, File, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};

use hillshade::{
    models::{Checkpoint, Config, Error, Score, data::TEXT, write_atomically},
    plot,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

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
    /// Mean loss on the test set.
    pub test_loss: f64,
    /// Accuracy on the test set.
    pub test_accuracy: f64,
    /// The same loss in bits per character, of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_character: Option<f64>,
    /// Steps that the run has skipped so far, with loss scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    /// Training time since this process began, in seconds.
    pub seconds: f64,
    /// Training throughput since the line before, or since this process began, of images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_per_second: Option<f64>,
    /// The same of a text's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
}

impl Epoch {
    /// The training score.
    pub fn train(&self) -> Score {
        Score { loss: self.train_loss, accuracy: self.train_accuracy }
    }

    /// What is drawn of the epoch.
    pub fn scores(&self) -> plot::Epoch {
        let test = Score { loss: self.test_loss, accuracy: self.test_accuracy };
        plot::Epoch { epoch: self.epoch, train: self.train(), test }
    }
}

/// The folder within a run's that holds the weights kept along the way, by epoch.
pub const KEPT: &str = "checkpoints";

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

fn format(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> super::Error {
    Error::Format { path: path.into(), expected: expected.into(), found: found.into() }.into()
}

/// The path of the checkpoint in a run's folder, which must be there.
pub fn checkpoint_of(run: &Path) -> Result<PathBuf> {
    let checkpoint = run.join("checkpoint.safetensors");
    match () {
        _ if checkpoint.exists() => Ok(checkpoint),
        _ if run.is_dir() => Err(Error::Missing { what: "a checkpoint".into(), looked: vec![checkpoint] }.into()),
        _ if run.exists() => Err(format(run, "a run's folder", "a file")),
        _ => Err(Error::Missing { what: "a run's folder".into(), looked: vec![run.into()] }.into()),
    }
}

/// The checkpoint of a run, which must be of the run's configuration where that is there. From the configuration comes
/// how long the run is to be and where its data are, unless `data` says so.
pub fn load(run: &Path, data: Option<&Path>) -> Result<Checkpoint> {
    let path = checkpoint_of(run)?;
    let mut checkpoint = Checkpoint::load(&path)?;
    let own = &mut checkpoint.config;
    let file = run.join("config.json");
    if file.exists() {
        let text = fs::read_to_string(&file).map_err(io("read", &file))?;
        let config: Config =
            serde_json::from_str(&text).map_err(|e| format(&file, "a run's configuration", e.to_string()))?;
        if let Some((expected, found)) = difference(&config, own) {
            return Err(format(&path, format!("{expected} as in {}", file.display()), found));
        }
        *own = config;
    }
    match data {
        Some(data) if own.data.starts_with(TEXT) => own.data = format!("{TEXT}{}", data.display()),
        Some(data) => {
            own.data = name_of(&own.data).into();
            own.folder = Some(data.into());
        }
        None => {}
    }
    Ok(checkpoint)
}

/// The first part in which a checkpoint's configuration is not its run's, but for the length and the place of the data.
fn difference(run: &Config, checkpoint: &Config) -> Option<(String, String)> {
    let [run, checkpoint] = [run, checkpoint].map(|c| {
        let config = Config { epochs: 0, folder: None, data: name_of(&c.data).into(), ..c.clone() };
        json!(config)
    });
    let parts = run.as_object().into_iter().flatten();
    let part = |key: &str, value: &serde_json::Value| format!("the {key} {value}");
    let mut other = parts.filter(|(key, value)| checkpoint[*key] != **value);
    other.next().map(|(key, value)| (part(key, value), checkpoint[key].to_string()))
}

/// The name of a data set without its path.
fn name_of(data: &str) -> &str {
    data.split(':').next().unwrap_or(data)
}

impl Folder {
    /// Makes a new run's folder: the given one, which must hold no run yet, or the first free `runs/<number>`.
    pub fn create(out: Option<&Path>) -> Result<Self> {
        let path = match out {
            Some(path) => path.to_path_buf(),
            None => Self::number()?,
        };
        fs::create_dir_all(&path).map_err(io("write", &path))?;
        let folder = Self::lock(path)?;
        if folder.checkpoint().exists() {
            return Err(format(&folder.path, "a folder without a run (--resume continues one)", "a run"));
        }
        // A run that was stopped before its first checkpoint was whole left the line of one epoch at most.
        let metrics = folder.metrics_path();
        match fs::read(&metrics).map_or(0, |text| text.split(|&c| c == b'\n').count()) {
            0 => {}
            1..=2 => fs::remove_file(&metrics).map_err(io("write", &metrics))?,
            _ => {
                return Err(format(&metrics, "a folder without a run", "metrics of one whose checkpoint is not there"));
            }
        }
        Ok(folder)
    }

    /// Makes the first free `runs/<number>`, so that no other process takes the same one.
    fn number() -> Result<PathBuf> {
        let runs = Path::new("runs");
        fs::create_dir_all(runs).map_err(io("write", runs))?;
        let mut number = 1u64;
        loop {
            let path = runs.join(number.to_string());
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(io("write", &path)(e)),
            }
        }
    }

    /// Opens the folder of a run that has a checkpoint.
    pub fn open(path: &Path) -> Result<Self> {
        checkpoint_of(path)?;
        Self::lock(path.into())
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let file = path.join(".lock");
        let lock = File::create(&file).map_err(io("write", &file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(format(&path, "a run's folder that is not in use", "another process at work in it"))
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

    /// The path of the weights after so many epochs, in a folder that is made for them.
    pub fn kept(&self, epoch: u32) -> Result<PathBuf> {
        let folder = self.path.join(KEPT);
        fs::create_dir_all(&folder).map_err(io("write", &folder))?;
        Ok(folder.join(format!("{epoch}.safetensors")))
    }

    fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Writes the configuration.
    pub fn configure(&self, config: &Config) -> Result<()> {
        let text = serde_json::to_string_pretty(config).map_err(|e| Error::Argument {
            what: "configuration".into(),
            expected: "paths in UTF-8".into(),
            found: e.to_string(),
        })?;
        Ok(write_atomically(&self.path.join("config.json"), format!("{text}\n").as_bytes())?)
    }

    /// The metrics up to epoch `epochs`; what a stopped process wrote beyond its last checkpoint is dropped, half a line
    /// too: the checkpoint comes after the whole line.
    pub fn metrics(&self, epochs: u32) -> Result<Vec<Epoch>> {
        let path = self.metrics_path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path).map_err(io("read", &path))?;
        let mut kept: Vec<Epoch> = Vec::new();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (i, line) in whole.lines().enumerate() {
            if kept.last().map_or(0, |last| last.epoch) >= epochs {
                break;
            }
            let epoch: Epoch = serde_json::from_str(line)
                .map_err(|e| format(&path, format!("an epoch's metrics in line {}", i + 1), e.to_string()))?;
            kept.push(epoch);
        }
        kept.retain(|e| e.epoch <= epochs);
        Ok(kept)
    }

    /// Replaces the metrics.
    pub fn rewrite(&self, epochs: &[Epoch]) -> Result<()> {
        let lines: Vec<String> = epochs.iter().map(|e| json!(e).to_string() + "\n").collect();
        Ok(write_atomically(&self.metrics_path(), lines.concat().as_bytes())?)
    }

    /// Adds a line to the metrics.
    pub fn append(&self, epoch: &Epoch) -> Result<()> {
        let path = self.metrics_path();
        let mut file = File::options().create(true).append(true).open(&path).map_err(io("write", &path))?;
        writeln!(file, "{}", json!(epoch)).map_err(io("write", &path))
    }

    /// Replaces the drawn curves.
    pub fn draw(&self, svg: &str) -> Result<()> {
        Ok(write_atomically(&self.path.join("curves.svg"), svg.as_bytes())?)
    }
}

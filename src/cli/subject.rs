//! What a measurement is of: a run's network at its last checkpoint, or a network with weights from a file, on some images.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::ValueEnum;
use hillshade::{
    engine::Session,
    lab::{BatchNorm, Problem},
    models::{Error, Loss, Network, Param, Part, Task, Weights, import},
};

use super::{Result, executor, export, folder, train::Goal, weights};

/// Which samples.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Split {
    Train,
    Test,
}

impl From<Split> for Part {
    fn from(split: Split) -> Part {
        match split {
            Split::Train => Part::Train,
            Split::Test => Part::Test,
        }
    }
}

/// Options that every measurement has.
#[derive(clap::Args)]
pub struct Options {
    /// Folder of a run, or a safetensors file of weights, ours or PyTorch's; a file needs --model and --data.
    #[arg(value_name = "RUN|WEIGHTS")]
    subject: PathBuf,
    #[command(flatten)]
    pub weights: weights::Choice,
    /// Network of the weights, as in `hillshade train`.
    #[arg(long)]
    model: Option<String>,
    /// Data of the weights, as in `hillshade train`.
    #[arg(long)]
    data: Option<String>,
    /// Loss of the weights, as in `hillshade train`.
    #[arg(long, value_enum)]
    loss: Option<Goal>,
    /// Folder of the data, where it has moved.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Images or sequences: the first of those trained on, or of those held out.
    #[arg(long, value_enum, default_value = "train")]
    images: Split,
    /// How many of them; by default 1,024 (for verify 128), or all there are.
    #[arg(long)]
    samples: Option<usize>,
    /// Statistics of batch normalization: eval (the running ones), batch:SIZE, or full (of all samples); by default eval,
    /// for verify full.
    #[arg(long, value_parser = Statistics::from_str)]
    batch_norm: Option<Statistics>,
    /// Micro-batch: samples that pass through the network at once, in eval mode and in full; in full all by default, if
    /// they fit.
    #[arg(long)]
    micro_batch: Option<usize>,
    /// Seed of random directions.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder of the results; by default the run's.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    executor: executor::Choice,
}

/// Batch-norm statistics on the command line.
#[derive(Clone, Copy)]
struct Statistics(BatchNorm);

impl FromStr for Statistics {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match (text, text.strip_prefix("batch:").and_then(|size| size.parse().ok())) {
            ("eval", _) => Ok(Statistics(BatchNorm::Eval)),
            ("full", _) => Ok(Statistics(BatchNorm::Full)),
            (_, Some(size)) => Ok(Statistics(BatchNorm::Batch(size))),
            _ => Err(format!("expected eval, batch:SIZE or full, found {text}")),
        }
    }
}

/// What is measured, ready on a session.
pub struct Subject {
    pub session: Session,
    pub problem: Problem,
    pub batch_norm: BatchNorm,
    pub micro_batch: Option<usize>,
    /// Name of network and data, for titles.
    pub title: String,
    /// Parameters and running statistics, in the order of the layers.
    pub params: Vec<Param>,
    /// Which weights of a run they are.
    pub weights: Option<Weights>,
    /// Where results go.
    pub out: PathBuf,
}

/// The error of an option.
pub fn argument(what: &str, expected: &str, found: &str) -> super::Error {
    Error::Argument { what: what.into(), expected: expected.into(), found: found.into() }.into()
}

impl Options {
    /// The run's folder or the file of weights.
    pub fn path(&self) -> &Path {
        &self.subject
    }

    /// Opens network, weights and data.
    pub fn open(&self) -> Result<Subject> {
        self.open_with(1024, BatchNorm::Eval)
    }

    /// The same, with so many samples at most and these statistics where the options do not say.
    pub fn open_with(&self, samples: usize, batch_norm: BatchNorm) -> Result<Subject> {
        let is_file = self.subject.is_file();
        let (model, data, tokenizer, folder, loss, limit, weights) = if is_file {
            let known = |option: &Option<String>, name: &str| {
                option.clone().ok_or_else(|| argument(name, "a name: the weights do not say", "none"))
            };
            let (model, data) = (known(&self.model, "model")?, known(&self.data, "data")?);
            (
                model,
                data,
                None,
                self.data_dir.clone(),
                self.loss.map_or(Loss::default(), Loss::from),
                None,
                self.subject.clone(),
            )
        } else {
            for (option, name) in [(&self.model, "model"), (&self.data, "data")] {
                if let Some(given) = option {
                    return Err(argument(name, "nothing beside a run, which has its own", given));
                }
            }
            let checkpoint = folder::load(&self.subject, self.data_dir.as_deref())?;
            let config = checkpoint.config;
            let weights = folder::checkpoint_of(&self.subject)?;
            (config.model, config.data, config.tokenizer, config.folder, config.loss, config.limit, weights)
        };
        let network = Network::parse(&model)?;
        let mut task = Task::open(&data, folder.as_deref(), tokenizer.as_ref())?;
        task.suit(&network)?;
        if let Some(limit) = limit {
            task.limit(limit);
        }
        let part = Part::from(self.images);
        let count = self.samples.unwrap_or(task.len(part).min(samples));
        let problem = Problem::of(&task, part, count, network.clone(), loss)?;
        let mut session = self.executor.open()?;
        let params = export::params(&network, &task)?;
        let weights = import(&weights, &params, &mut session, self.weights.wanted())?;
        let out = match &self.out {
            Some(out) => out.clone(),
            None if is_file => self.subject.parent().expect("a file is in a folder").into(),
            None => self.subject.clone(),
        };
        std::fs::create_dir_all(&out).map_err(|source| Error::Io { what: "write", path: out.clone(), source })?;
        let title = format!("{model} on {data}");
        let (batch_norm, micro_batch) = (self.batch_norm.map_or(batch_norm, |b| b.0), self.micro_batch);
        Ok(Subject { session, problem, batch_norm, micro_batch, title, params, weights, out })
    }
}

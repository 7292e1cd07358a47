//! The options of `hillshade train`, and the configuration that they make.

use std::{path::PathBuf, str::FromStr};

use clap::ValueEnum;
use hillshade::models::{
    Config, Error, Loss, LossScale, Network, Optimizer, Part, Perturbation, Precision, Schedule, ScheduleShape, Task,
    data::Vocabulary,
};

use super::track::Track;
use crate::cli::{Result, executor};

#[derive(Clone, Copy, ValueEnum)]
enum Rule {
    Sgd,
    Adam,
    Adamw,
}

#[derive(Clone, Copy, ValueEnum)]
enum Fall {
    Constant,
    Step,
    Cosine,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Goal {
    CrossEntropy,
    Squared,
}

impl From<Goal> for Loss {
    fn from(goal: Goal) -> Loss {
        match goal {
            Goal::CrossEntropy => Loss::CrossEntropy,
            Goal::Squared => Loss::Squared,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Stored {
    F32,
    F16,
}

/// Samples of a step.
#[derive(Clone, Copy)]
enum Batch {
    Of(usize),
    Full,
}

fn batch(text: &str) -> std::result::Result<Batch, String> {
    match text {
        "full" => Ok(Batch::Full),
        _ => text.parse().map(Batch::Of).map_err(|_| "expected a number or full".into()),
    }
}

fn loss_scale(text: &str) -> std::result::Result<LossScale, String> {
    match text {
        "dynamic" => Ok(LossScale::Dynamic),
        _ => text.parse().map(LossScale::Static).map_err(|_| "expected a number or dynamic".into()),
    }
}

/// The options of a new run alone.
const FIXED: [&str; 28] = [
    "data",
    "tokenizer",
    "limit",
    "model",
    "batch",
    "loss",
    "label_smoothing",
    "mixup",
    "clip",
    "accumulate",
    "average",
    "precision",
    "loss_scale",
    "optimizer",
    "lr",
    "momentum",
    "heavy_ball",
    "weight_decay",
    "schedule",
    "warmup",
    "seed",
    "crop",
    "flip",
    "sam",
    "asam",
    "test_every",
    "out",
    "plan",
];

#[derive(clap::Args)]
pub struct Options {
    /// Data: digits (built in), mnist, cifar10, folder:PATH with images by class, or text:FILE in UTF-8.
    #[arg(long, default_value = "digits")]
    data: String,
    /// Tokens of a text: characters (by default), bytes, or a file tokenizer.json.
    #[arg(long, value_name = "characters|bytes|FILE")]
    tokenizer: Option<String>,
    /// Folder of the data; by default $HILLSHADE_DATA/<data> or data/<data>.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Train on the first N images, or sequences of a text, only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Network: cnn, mlp, resnet20, gpt2 …, with options as in mlp:widths=512-256,activation=tanh,dropout=0.5 or
    /// resnet20:norm=none; `hillshade models` lists them.
    #[arg(long, default_value = "cnn")]
    model: String,
    /// Epochs: passes over the training images, or over the text; 15 by default.
    #[arg(long)]
    pub epochs: Option<u32>,
    /// Batch size, in images or sequences, or full: full-batch training, in the order of the data.
    #[arg(long, default_value = "64", value_parser = batch)]
    batch: Batch,
    /// Loss: cross-entropy, or half the squared distance of the logits to the one-hot label.
    #[arg(long, value_enum, default_value = "cross-entropy")]
    loss: Goal,
    /// Label smoothing: spread the share A of each label evenly over all classes, in training.
    #[arg(long, value_name = "A", default_value_t = 0.0, allow_negative_numbers = true)]
    label_smoothing: f64,
    /// Mixup: mix images and labels in pairs, with weights drawn from Beta(A, A).
    #[arg(long, value_name = "A", default_value_t = 0.0, allow_negative_numbers = true)]
    mixup: f64,
    /// Gradient clipping: the largest norm of the gradient, of all parameters together.
    #[arg(long, value_name = "NORM", allow_negative_numbers = true)]
    clip: Option<f64>,
    /// Gradient accumulation: split the batch into N micro-batches of equal size and average their gradients.
    #[arg(long, value_name = "N", default_value_t = 1)]
    accumulate: u32,
    /// Keep an exponential moving average of the weights with decay D, which is tested and exported.
    #[arg(long, value_name = "D", allow_negative_numbers = true)]
    average: Option<f64>,
    /// How activations are stored from the forward to the backward pass: in f16 they take half the memory; parameters,
    /// gradients and sums stay f32.
    #[arg(long, value_enum, default_value = "f32")]
    precision: Stored,
    /// Loss scaling: multiply the loss by N for the backward pass, or dynamic: by a power of two that adapts; steps whose
    /// gradients are not finite are skipped.
    #[arg(long, value_name = "N|dynamic", value_parser = loss_scale, allow_negative_numbers = true)]
    loss_scale: Option<LossScale>,
    /// Optimizer.
    #[arg(long, value_enum, default_value = "sgd")]
    optimizer: Rule,
    /// Peak learning rate; 0.05 for sgd, 0.001 for adam and adamw by default.
    #[arg(long, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Momentum of sgd, Nesterov's.
    #[arg(long, default_value_t = 0.9, allow_negative_numbers = true)]
    momentum: f64,
    /// Heavy-ball momentum instead of Nesterov's.
    #[arg(long)]
    heavy_ball: bool,
    /// Weight decay; 5e-4 for sgd, 0 for adam, 0.01 for adamw by default.
    #[arg(long, allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// Learning-rate schedule.
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: Fall,
    /// Warmup: steps over which the learning rate rises to its peak.
    #[arg(long, default_value_t = 20)]
    warmup: u64,
    /// Seed of initializers, shuffles, augmentation and dropout.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Random crops: the largest shift of an image in pixels.
    #[arg(long, default_value_t = 0)]
    crop: usize,
    /// Random horizontal flips of images.
    #[arg(long)]
    flip: bool,
    /// Sharpness-aware minimization (SAM) of radius RHO, around any optimizer.
    #[arg(long, value_name = "RHO", allow_negative_numbers = true)]
    sam: Option<f64>,
    /// Adaptive SAM (ASAM), whose radius RHO is in units of the weights.
    #[arg(long, value_name = "RHO", allow_negative_numbers = true)]
    asam: Option<f64>,
    /// Evaluate on the test set, add to the metrics and save a checkpoint after every N epochs, and at the end.
    #[arg(long, value_name = "N", default_value_t = 1)]
    test_every: u32,
    /// Keep the weights at the beginning and after every N epochs, in checkpoints/<epoch>.safetensors of the run's folder:
    /// a trajectory for `hillshade landscape --direction pca`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    /// Folder of the run; by default the first free runs/<number>.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Resume the run in this folder with its own options; only --epochs, --keep, --track, --data-dir, --adapter and --json
    /// go with this.
    #[arg(long, value_name = "RUN", conflicts_with_all = FIXED)]
    pub resume: Option<PathBuf>,
    /// Track the sharpness, the largest eigenvalues of the loss's Hessian, every so many steps: sharpness=50. They go to
    /// track.jsonl, and with the optimizer's stability threshold to track.svg and track.png.
    #[arg(long, value_name = "sharpness=STEPS", value_parser = Track::from_str)]
    pub track: Option<Track>,
    /// Training samples on which the sharpness is measured, the first ones; by default 1,024, all of them in full-batch
    /// training.
    #[arg(long, requires = "track")]
    pub track_samples: Option<usize>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Print the compiled training step, every dispatch with its kernel, grid, bytes and FLOPs, and train nothing.
    #[arg(long)]
    pub plan: bool,
    #[command(flatten)]
    pub executor: executor::Choice,
}

impl Options {
    /// The configuration and its data.
    pub fn prepare(&self) -> Result<(Config, Task)> {
        let mut config = self.config()?;
        let mut task = Task::open(&config.data, config.folder.as_deref(), config.tokenizer.as_ref())?;
        config.tokenizer = task.text().map(|text| text.tokenizer.vocabulary().clone());
        if let Batch::Full = self.batch {
            task.suit(&Network::parse(&config.model)?)?;
            config.batch = config.limit.unwrap_or(task.len(Part::Train));
        }
        Ok((config, task))
    }

    fn config(&self) -> Result<Config> {
        let argument = |what: &str, expected: &str, found: String| Error::Argument {
            what: what.into(),
            expected: expected.into(),
            found,
        };
        let (rate, decay) = match self.optimizer {
            Rule::Sgd => (0.05, 5e-4),
            Rule::Adam => (1e-3, 0.0),
            Rule::Adamw => (1e-3, 0.01),
        };
        let (rate, decay) = (self.lr.unwrap_or(rate), self.weight_decay.unwrap_or(decay));
        // As f32, in which it is applied, it must be neither 0 nor infinite.
        if !(rate > 0.0 && (rate as f32).is_normal()) {
            return Err(argument("lr", "a positive number from 1e-37 to 1e38", format!("{rate:?}")).into());
        }
        if !(decay >= 0.0 && (decay as f32).is_finite()) {
            return Err(argument("weight-decay", "a number from 0 to 1e38", format!("{decay:?}")).into());
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(argument("momentum", "a number from 0 to below 1", self.momentum.to_string()).into());
        }
        if self.epochs == Some(0) {
            return Err(argument("epochs", "1 or more", "0".into()).into());
        }
        let tokenizer = match self.tokenizer.as_deref() {
            None | Some("characters") => None,
            Some("bytes") => Some(Vocabulary::Bytes),
            Some(file) => Some(Vocabulary::File(file.into())),
        };
        if let (Some((_, path)), Some(dir)) = (self.data.split_once(':'), &self.data_dir) {
            let expected = format!("no other folder beside {path} in --data");
            return Err(argument("data-dir", &expected, dir.display().to_string()).into());
        }
        if self.test_every == 0 {
            return Err(argument("test-every", "1 or more", "0".into()).into());
        }
        if self.accumulate == 0 {
            return Err(argument("accumulate", "1 or more", "0".into()).into());
        }
        let perturbation = match (self.sam, self.asam) {
            (Some(_), Some(_)) => return Err(argument("asam", "one of --sam and --asam", "both".into()).into()),
            (Some(rho), None) => Some(Perturbation::Sam { rho }),
            (None, Some(rho)) => Some(Perturbation::Asam { rho }),
            (None, None) => None,
        };
        let momentum = self.momentum;
        let optimizer = match self.optimizer {
            Rule::Sgd => Optimizer::Sgd { momentum, nesterov: momentum > 0.0 && !self.heavy_ball, decay },
            Rule::Adam => Optimizer::Adam { decay },
            Rule::Adamw => Optimizer::AdamW { decay },
        };
        let shape = match self.schedule {
            Fall::Constant => ScheduleShape::Constant,
            Fall::Step => ScheduleShape::Step,
            Fall::Cosine => ScheduleShape::Cosine,
        };
        let schedule = Schedule { rate, shape, warmup: self.warmup };
        Ok(Config {
            model: self.model.clone(),
            data: self.data.clone(),
            tokenizer,
            folder: self.data_dir.clone(),
            limit: self.limit,
            epochs: self.epochs.unwrap_or(15),
            batch: match self.batch {
                Batch::Of(images) => images,
                Batch::Full => 0,
            },
            loss: self.loss.into(),
            smoothing: self.label_smoothing,
            mixup: self.mixup,
            clip: self.clip,
            accumulate: self.accumulate,
            average: self.average,
            precision: match self.precision {
                Stored::F32 => Precision::F32,
                Stored::F16 => Precision::F16,
            },
            loss_scale: self.loss_scale,
            optimizer,
            perturbation,
            schedule,
            seed: self.seed,
            crop: self.crop,
            flip: self.flip,
            test_every: self.test_every,
        })
    }
}

//! `hillshade train`.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::ValueEnum;
use hillshade::{
    engine::block_on,
    models::{Config, Error, Optimizer, Schedule, ScheduleShape, Score, Trainer, data},
    plot::Curves,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    Result, executor,
    folder::{self, Epoch, Folder},
    print, say,
};

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

/// The options of a new run alone.
const FIXED: [&str; 14] = [
    "data",
    "model",
    "batch",
    "optimizer",
    "lr",
    "momentum",
    "weight_decay",
    "schedule",
    "warmup",
    "seed",
    "crop",
    "flip",
    "out",
    "plan",
];

#[derive(clap::Args)]
pub struct Options {
    /// Data: digits (built in), mnist, cifar10, or folder:PATH with images by class.
    #[arg(long, default_value = "digits")]
    data: String,
    /// Folder of the data; by default $HILLSHADE_DATA/<data> or data/<data>.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Network: cnn, mlp, resnet20 …, with options as in mlp:widths=512-256,dropout=0.5.
    #[arg(long, default_value = "cnn")]
    model: String,
    /// Passes over the training images; 15 by default.
    #[arg(long)]
    epochs: Option<u32>,
    /// Images of a step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Update rule.
    #[arg(long, value_enum, default_value = "sgd")]
    optimizer: Rule,
    /// Highest learning rate; 0.05 for sgd, 0.001 for adam and adamw by default.
    #[arg(long, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Momentum of sgd, with Nesterov's step.
    #[arg(long, default_value_t = 0.9, allow_negative_numbers = true)]
    momentum: f64,
    /// Weight decay; 5e-4 for sgd, 0 for adam, 0.01 for adamw by default.
    #[arg(long, allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// How the learning rate falls.
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: Fall,
    /// Steps over which the learning rate rises first.
    #[arg(long, default_value_t = 20)]
    warmup: u64,
    /// Seed of parameters, shuffles, augmentation and dropout.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pixels by which images are shifted at random, at most.
    #[arg(long, default_value_t = 0)]
    crop: usize,
    /// Mirror images at random.
    #[arg(long)]
    flip: bool,
    /// Folder of the run; by default the first free runs/<number>.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with the run in this folder, as it was begun; only --epochs, --data-dir, --adapter and --json go with this.
    #[arg(long, value_name = "RUN", conflicts_with_all = FIXED)]
    resume: Option<PathBuf>,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
    /// Print the compiled training step, every dispatch with its kernel, grid, bytes and FLOPs, and train nothing.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    executor: executor::Choice,
}

impl Options {
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
        if let (Some((_, path)), Some(dir)) = (self.data.split_once(':'), &self.data_dir) {
            let expected = format!("no other folder beside {path} in --data");
            return Err(argument("data-dir", &expected, dir.display().to_string()).into());
        }
        let momentum = self.momentum;
        let optimizer = match self.optimizer {
            Rule::Sgd => Optimizer::Sgd { momentum, nesterov: momentum > 0.0, decay },
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
            folder: self.data_dir.clone(),
            epochs: self.epochs.unwrap_or(15),
            batch: self.batch,
            optimizer,
            schedule,
            seed: self.seed,
            crop: self.crop,
            flip: self.flip,
        })
    }
}

pub fn run(options: &Options) -> Result<()> {
    if options.plan {
        let trainer = prepare(options)?;
        return print(trainer.step_program().plan().to_string().trim_end());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    // Where no handler can be set, Ctrl-C ends the process at once; the last checkpoint is whole all the same.
    // So does a second Ctrl-C, which does not wait for the step at work.
    let _ = ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    let mut run = match &options.resume {
        Some(path) => Run::resume(options, path)?,
        None => Run::new(options)?,
    };
    run.train(&stop)?;
    run.report(options.json)
}

/// A new run's trainer.
fn prepare(options: &Options) -> Result<Trainer> {
    let config = options.config()?;
    let dataset = data::open(&config.data, config.folder.as_deref())?;
    Ok(Trainer::new(config, dataset, options.executor.open()?)?)
}

/// A run at work.
struct Run {
    trainer: Trainer,
    folder: Folder,
    metrics: Vec<Epoch>,
    began: Instant,
    /// Time spent on training steps.
    training: Duration,
}

impl Run {
    fn new(options: &Options) -> Result<Self> {
        let trainer = prepare(options)?;
        let folder = Folder::create(options.out.as_deref())?;
        folder.configure(trainer.config())?;
        Ok(Run { trainer, folder, metrics: Vec::new(), began: Instant::now(), training: Duration::ZERO })
    }

    fn resume(options: &Options, path: &std::path::Path) -> Result<Self> {
        let folder = Folder::open(path)?;
        let mut checkpoint = folder::load(path, options.data_dir.as_deref())?;
        let done = checkpoint.progress.epoch;
        match options.epochs {
            Some(epochs) if epochs < done => {
                let expected = format!("{done} or more, which the run has done");
                return Err(Error::Argument { what: "epochs".into(), expected, found: epochs.to_string() }.into());
            }
            Some(epochs) => checkpoint.config.epochs = epochs,
            None => {}
        }
        let dataset = data::open(&checkpoint.config.data, checkpoint.config.folder.as_deref())?;
        let session = options.executor.open()?;
        let trainer = Trainer::resume(&checkpoint, &folder.checkpoint(), dataset, session)?;
        let metrics = folder.metrics(done)?;
        folder.rewrite(&metrics)?;
        folder.configure(trainer.config())?;
        folder.draw(&curves(&metrics))?;
        Ok(Run { trainer, folder, metrics, began: Instant::now(), training: Duration::ZERO })
    }

    fn train(&mut self, stop: &AtomicBool) -> Result<()> {
        let (config, plan) = (self.trainer.config(), self.trainer.step_program().plan());
        say(format_args!(
            "{} on {}, {}; {} in {}; a step has {} dispatches, {:.3} GFLOP, {:.1} MB",
            config.model,
            config.data,
            self.trainer.session().executor(),
            plural(config.epochs, "epoch"),
            self.folder.path().display(),
            plan.dispatches(),
            plan.flops() as f64 / 1e9,
            plan.bytes() as f64 / 1e6,
        ));
        while !self.trainer.is_done() {
            self.epoch(stop)?;
        }
        Ok(())
    }

    fn epoch(&mut self, stop: &AtomicBool) -> Result<()> {
        let (epoch, steps) = (self.trainer.progress().epoch, self.trainer.steps_per_epoch());
        let bar = ProgressBar::new(steps);
        let style = "{prefix} {wide_bar} {pos}/{len} {msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(format!("epoch {}", epoch + 1));
        bar.set_position(self.trainer.progress().batch);
        let began = Instant::now();
        let (first, mut shown) = (self.trainer.progress().batch, Instant::now());
        while !self.trainer.epoch_is_over() {
            self.trainer.step()?;
            if stop.load(Ordering::SeqCst) {
                bar.finish_and_clear();
                block_on(self.trainer.score())?;
                self.save()?;
                return Err(super::Error::Stopped(self.folder.path().to_path_buf()));
            }
            if shown.elapsed() > Duration::from_millis(200) {
                let score = block_on(self.trainer.score())?;
                let done = self.trainer.progress().batch;
                bar.set_position(done);
                bar.set_message(message(score, self.images_since(first), began.elapsed()));
                shown = Instant::now();
            }
        }
        let train = block_on(self.trainer.score())?.unwrap_or(Score { loss: 0.0, accuracy: 0.0 });
        self.training += began.elapsed();
        let images_per_second = per_second(self.images_since(first), began.elapsed());
        let test = block_on(self.trainer.test())?;
        if !test.loss.is_finite() {
            return Err(self.trainer.diverged(test.loss).into());
        }
        bar.finish_and_clear();
        let line = Epoch {
            epoch: epoch + 1,
            step: self.trainer.progress().step,
            rate: self.trainer.last_rate(),
            train_loss: train.loss,
            train_accuracy: train.accuracy,
            test_loss: test.loss,
            test_accuracy: test.accuracy,
            seconds: self.training.as_secs_f64(),
            images_per_second,
        };
        say(format_args!(
            "epoch {:>3}  loss {:.4}  accuracy {:.2} %  test loss {:.4}  test accuracy {:.2} %  {images_per_second:.0} images/s",
            line.epoch,
            train.loss,
            100.0 * train.accuracy,
            test.loss,
            100.0 * test.accuracy,
        ));
        self.trainer.next_epoch()?;
        self.folder.append(&line)?;
        self.metrics.push(line);
        self.save()?;
        self.folder.draw(&curves(&self.metrics))
    }

    fn images_since(&self, first: u64) -> u64 {
        (self.trainer.progress().batch - first) * self.trainer.config().batch as u64
    }

    fn save(&self) -> Result<()> {
        Ok(block_on(self.trainer.checkpoint())?.save(&self.folder.checkpoint())?)
    }

    fn report(&self, as_json: bool) -> Result<()> {
        let (config, last) = (self.trainer.config(), self.metrics.last());
        let seconds = self.began.elapsed().as_secs_f64();
        let accuracy = last.map(|e| e.test_accuracy);
        if as_json {
            let line = json!({
                "model": config.model, "data": config.data, "adapter": self.trainer.session().executor(),
                "epochs": config.epochs, "seconds": seconds, "train_loss": last.map(|e| e.train().loss),
                "test_accuracy": accuracy, "run": self.folder.path().display().to_string(),
            });
            return print(line);
        }
        match accuracy {
            Some(accuracy) => print(format_args!(
                "test accuracy {:.2} % after {} in {seconds:.1} s; the run is in {}",
                100.0 * accuracy,
                plural(config.epochs, "epoch"),
                self.folder.path().display()
            )),
            None => print(format_args!("nothing to train: the run has {}", plural(config.epochs, "epoch"))),
        }
    }
}

/// The picture of a run.
fn curves(metrics: &[Epoch]) -> String {
    let epochs: Vec<_> = metrics.iter().map(Epoch::scores).collect();
    Curves { epochs: &epochs }.figure().svg()
}

fn message(score: Option<Score>, images: u64, time: Duration) -> String {
    let rate = per_second(images, time);
    match score {
        Some(s) => format!("loss {:.4}  accuracy {:.2} %  {rate:.0} images/s", s.loss, 100.0 * s.accuracy),
        None => String::new(),
    }
}

/// Finite also where the clock is too coarse to see time pass.
fn per_second(images: u64, time: Duration) -> f64 {
    images as f64 / time.as_secs_f64().max(1e-9)
}

fn plural(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

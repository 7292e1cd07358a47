//! `hillshade train`.

mod options;
mod track;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hillshade::{
    engine::block_on,
    models::{Error, Loss, Score, Task, Trainer, export},
    plot::Curves,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    Result,
    eval::bits,
    export::params,
    folder::{self, Epoch, Folder},
    print, say,
};
pub use options::{Goal, Options};
use track::Tracking;

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
    let (config, task) = options.prepare()?;
    Ok(Trainer::new(config, task, options.executor.open()?)?)
}

/// A run at work.
struct Run {
    trainer: Trainer,
    folder: Folder,
    metrics: Vec<Epoch>,
    began: Instant,
    /// Time spent on training steps.
    training: Duration,
    tracking: Option<Tracking>,
    /// After how many epochs weights are kept.
    keep: Option<u32>,
}

impl Run {
    fn new(options: &Options) -> Result<Self> {
        let mut trainer = prepare(options)?;
        let folder = Folder::create(options.out.as_deref())?;
        folder.configure(trainer.config())?;
        let tracking = track(options, &mut trainer, &folder)?;
        let (metrics, began, training) = (Vec::new(), Instant::now(), Duration::ZERO);
        let run = Run { trainer, folder, metrics, began, training, tracking, keep: options.keep };
        run.keep()?;
        Ok(run)
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
        let config = &checkpoint.config;
        let task = Task::open(&config.data, config.folder.as_deref(), config.tokenizer.as_ref())?;
        let session = options.executor.open()?;
        let mut trainer = Trainer::resume(&checkpoint, &folder.checkpoint(), task, session)?;
        let metrics = folder.metrics(done)?;
        folder.rewrite(&metrics)?;
        folder.configure(trainer.config())?;
        folder.draw(&curves(&metrics, trainer.config().loss))?;
        let tracking = track(options, &mut trainer, &folder)?;
        let (began, training) = (Instant::now(), Duration::ZERO);
        Ok(Run { trainer, folder, metrics, began, training, tracking, keep: options.keep })
    }

    fn train(&mut self, stop: &AtomicBool) -> Result<()> {
        let (config, plan) = (self.trainer.config(), self.trainer.step_program().plan());
        say(format_args!(
            "{} on {}, {}; {}; {} in {}; a step has {} dispatches, {:.3} GFLOP, {:.1} MB",
            config.model,
            config.data,
            config.loss.label(),
            self.trainer.session().executor(),
            plural(config.epochs, "epoch"),
            self.folder.path().display(),
            plan.dispatches(),
            plan.flops() as f64 / 1e9,
            plan.bytes() as f64 / 1e6,
        ));
        while !self.trainer.is_done() {
            self.stretch(stop)?;
        }
        Ok(())
    }

    /// Epochs up to the next test: one, or the `--test-every` of them.
    fn stretch(&mut self, stop: &AtomicBool) -> Result<()> {
        let (epoch, end) = (self.trainer.progress().epoch, self.trainer.next_test());
        let bar = ProgressBar::new(self.trainer.steps_per_epoch() * u64::from(end - epoch));
        let style = "{prefix} {wide_bar} {pos}/{len} {msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(if end == epoch + 1 {
            format!("epoch {end}")
        } else {
            format!("epochs {} to {end}", epoch + 1)
        });
        let (first, began) = (self.trainer.progress(), Instant::now());
        bar.set_position(first.batch);
        let mut shown = began;
        loop {
            while !self.trainer.epoch_is_over() {
                self.trainer.step()?;
                if let Some(tracking) = &mut self.tracking {
                    tracking.after_step(&mut self.trainer)?;
                }
                if stop.load(Ordering::SeqCst) {
                    bar.finish_and_clear();
                    block_on(self.trainer.score())?;
                    self.save()?;
                    return Err(super::Error::Stopped(self.folder.path().to_path_buf()));
                }
                if shown.elapsed() > Duration::from_millis(200) {
                    let score = block_on(self.trainer.score())?;
                    bar.set_position(first.batch + self.trainer.progress().step - first.step);
                    let rate = per_second(self.units_since(first.step), began.elapsed());
                    let mut told = message(score, rate, self.trainer.task().units());
                    if let Some((sharpness, threshold)) = self.tracking.as_ref().and_then(Tracking::last) {
                        let of = threshold.map_or(String::new(), |t| format!(" of {t:.1}"));
                        told = format!("{told}  sharpness {sharpness:.2}{of}");
                    }
                    bar.set_message(told);
                    shown = Instant::now();
                }
            }
            if self.trainer.progress().epoch + 1 >= end {
                break;
            }
            self.trainer.next_epoch()?;
            self.keep()?;
        }
        bar.finish_and_clear();
        self.training += began.elapsed();
        self.record(per_second(self.units_since(first.step), began.elapsed()))
    }

    /// The end of an epoch that is tested: score, metrics, checkpoint, curves.
    fn record(&mut self, per_second: f64) -> Result<()> {
        let train = block_on(self.trainer.score())?.expect("an epoch that is over has had steps");
        let test = block_on(self.trainer.test())?;
        if !test.loss.is_finite() {
            return Err(self.trainer.diverged(test.loss).into());
        }
        let (progress, is_text) = (self.trainer.progress(), self.trainer.task().text().is_some());
        let line = Epoch {
            epoch: progress.epoch + 1,
            step: progress.step,
            rate: self.trainer.last_rate(),
            train_loss: train.loss,
            train_accuracy: train.accuracy,
            test_loss: test.loss,
            test_accuracy: test.accuracy,
            bits_per_character: bits(&self.trainer, test),
            skipped: block_on(self.trainer.skipped())?,
            seconds: self.training.as_secs_f64(),
            images_per_second: (!is_text).then_some(per_second),
            tokens_per_second: is_text.then_some(per_second),
        };
        say(format_args!(
            "epoch {:>3}  loss {:.4}  accuracy {:.2} %  test loss {:.4}  test accuracy {:.2} %{}{}  {per_second:.0} {}/s",
            line.epoch,
            train.loss,
            100.0 * train.accuracy,
            test.loss,
            100.0 * test.accuracy,
            line.bits_per_character.map_or(String::new(), |bits| format!("  {bits:.4} bits per character")),
            line.skipped.filter(|&n| n > 0).map_or(String::new(), |n| format!("  {n} steps skipped")),
            self.trainer.task().units(),
        ));
        self.trainer.next_epoch()?;
        self.keep()?;
        self.folder.append(&line)?;
        self.metrics.push(line);
        self.save()?;
        if let Some(tracking) = &self.tracking {
            tracking.draw()?;
        }
        self.folder.draw(&curves(&self.metrics, self.trainer.config().loss))
    }

    /// Images or tokens of the steps since this one.
    fn units_since(&self, first: u64) -> u64 {
        let step = self.trainer.config().batch * self.trainer.task().labels_per_sample();
        (self.trainer.progress().step - first) * step as u64
    }

    fn save(&self) -> Result<()> {
        Ok(block_on(self.trainer.checkpoint())?.save(&self.folder.checkpoint())?)
    }

    /// Keeps the weights of an epoch that is to be kept, as `hillshade export` writes them.
    fn keep(&self) -> Result<()> {
        let epoch = self.trainer.progress().epoch;
        if self.keep.is_none_or(|keep| !epoch.is_multiple_of(keep)) {
            return Ok(());
        }
        let checkpoint = block_on(self.trainer.checkpoint())?;
        let params = params(self.trainer.network(), self.trainer.task())?;
        Ok(export(&self.folder.kept(epoch)?, &params, &checkpoint.states, "")?)
    }

    fn report(&self, as_json: bool) -> Result<()> {
        let (config, last) = (self.trainer.config(), self.metrics.last());
        let seconds = self.began.elapsed().as_secs_f64();
        let accuracy = last.map(|e| e.test_accuracy);
        if as_json {
            let line = json!({
                "model": config.model, "data": config.data, "loss": config.loss.name(), "adapter": self.trainer.session().executor(),
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

/// What follows a run's sharpness, if that was asked for.
fn track(options: &Options, trainer: &mut Trainer, folder: &Folder) -> Result<Option<Tracking>> {
    let path = folder.path().to_path_buf();
    options.track.map(|track| Tracking::new(track, options.track_samples, trainer, path)).transpose()
}

/// The picture of a run.
fn curves(metrics: &[Epoch], loss: Loss) -> String {
    let epochs: Vec<_> = metrics.iter().map(Epoch::scores).collect();
    Curves { epochs: &epochs, loss: loss.label() }.figure().svg()
}

fn message(score: Option<Score>, rate: f64, units: &str) -> String {
    match score {
        Some(s) => format!("loss {:.4}  accuracy {:.2} %  {rate:.0} {units}/s", s.loss, 100.0 * s.accuracy),
        None => String::new(),
    }
}

/// Finite also where the clock is too coarse to see time pass.
fn per_second(units: u64, time: Duration) -> f64 {
    units as f64 / time.as_secs_f64().max(1e-9)
}

fn plural(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

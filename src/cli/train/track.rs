//! `hillshade train --track`: sharpness every so many steps, in `track.jsonl` and a picture.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use hillshade::{
    lab::{BatchNorm, Options, Problem, Search, Tracked, Tracker},
    models::{Error, Part, Trainer, write_atomically},
    plot,
};

use crate::cli::{
    Result,
    results::{json_line, write_figure},
};

/// `sharpness=50`: what is tracked, and how often.
#[derive(Clone, Copy)]
pub struct Track {
    every: u64,
}

impl FromStr for Track {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let every = text.strip_prefix("sharpness=").and_then(|s| s.parse().ok()).filter(|&s| s > 0);
        every.map(|every| Track { every }).ok_or_else(|| format!("expected sharpness=STEPS, 1 or more, found {text}"))
    }
}

/// Eigenvalues that are followed.
const COUNT: usize = 2;

/// The file of what was measured, a line for each time.
const FILE: &str = "track.jsonl";

/// What was measured before a step, where a file has it. Half a line, which a stopped process leaves, is dropped.
fn earlier(path: &Path, step: u64) -> Result<Vec<Tracked>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { what: "read", path: path.into(), source }.into()),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let point = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| Error::Format {
            path: path.into(),
            expected: format!("a tracked step in line {}", i + 1),
            found: e.to_string(),
        })
    };
    let points: Vec<Tracked> = whole.lines().enumerate().map(point).collect::<std::result::Result<_, _>>()?;
    Ok(points.into_iter().filter(|p| p.step < step).collect())
}

/// A tracker at work in a run's folder.
pub struct Tracking {
    track: Track,
    tracker: Tracker,
    folder: PathBuf,
    title: String,
    points: Vec<Tracked>,
}

impl Tracking {
    /// Tracks a trainer's loss on its first training samples, with batch statistics where it has batch norms. Points that
    /// are there from before the trainer's step are kept.
    pub fn new(track: Track, samples: Option<usize>, trainer: &mut Trainer, folder: PathBuf) -> Result<Self> {
        let (config, task) = (trainer.config(), trainer.task());
        let all = task.len(Part::Train);
        let count = samples.unwrap_or(all.min(1024).max(if config.batch == all { all } else { 0 }));
        let problem = Problem::of(task, Part::Train, count, trainer.network().clone(), config.loss)?;
        let normed = trainer.session().names().iter().any(|name| name.ends_with("running_mean"));
        let batch_norm = if normed { BatchNorm::Batch(config.batch.min(count)) } else { BatchNorm::Eval };
        let options = Options { batch_norm, micro_batch: Some(count.min(1000)), ..Options::default() };
        let search = Search { count: COUNT, tolerance: 1e-2, products: 200, seed: config.seed, ..Search::default() };
        let title = format!("{} on {}", config.model, config.data);
        let step = trainer.progress().step;
        let tracker = Tracker::new(trainer.session_mut(), &problem, &options, search)?;
        let points = earlier(&folder.join(FILE), step)?;
        let mut tracking = Tracking { track, tracker, folder, title, points };
        tracking.rewrite()?;
        tracking.after_step(trainer)?;
        Ok(tracking)
    }

    fn rewrite(&self) -> Result<()> {
        let path = self.folder.join(FILE);
        let lines: String = self.points.iter().map(|p| json_line(&path, p)).collect::<std::result::Result<_, _>>()?;
        Ok(write_atomically(&path, lines.as_bytes())?)
    }

    /// Measures where the step is one of those asked for.
    pub fn after_step(&mut self, trainer: &mut Trainer) -> Result<()> {
        let step = trainer.progress().step;
        if !step.is_multiple_of(self.track.every) {
            return Ok(());
        }
        let threshold = trainer.config().optimizer.stability_threshold(trainer.rate());
        let point = self.tracker.measure(trainer.session_mut(), step, threshold)?;
        let path = self.folder.join(FILE);
        let line = json_line(&path, &point)?;
        let io = |source| Error::Io { what: "write", path: path.clone(), source };
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).map_err(io)?;
        file.write_all(line.as_bytes()).map_err(io)?;
        self.points.push(point);
        Ok(())
    }

    /// Draws what was measured so far.
    pub fn draw(&self) -> Result<()> {
        let points: Vec<plot::TrackPoint> = self
            .points
            .iter()
            .map(|p| plot::TrackPoint {
                step: p.step,
                loss: p.loss,
                sharpness: p.sharpness.iter().map(|v| v.value).collect(),
                threshold: p.threshold.unwrap_or(f64::NAN),
            })
            .collect();
        let notes: Vec<String> = self
            .points
            .last()
            .map(|p| {
                format!("Hessian of the loss of {} samples, batch norm {}", p.setting.samples, p.setting.batch_norm)
            })
            .into_iter()
            .collect();
        let figure = plot::Track {
            title: &format!("Sharpness of {}", self.title),
            points: &points,
            threshold_label: "stability threshold of the optimizer",
            notes: &notes,
        }
        .figure();
        Ok(write_figure(&self.folder, "track", &figure)?)
    }

    /// The last sharpness, for the bar.
    pub fn last(&self) -> Option<(f64, Option<f64>)> {
        self.points.last().and_then(|p| Some((p.sharpness.first()?.value, p.threshold)))
    }
}

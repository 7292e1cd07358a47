//! Training: a step program and a test program on one session.

mod check;
mod graph;

use std::path::Path;

use hillshade_engine::{Data, Program, Session, Var};
#[cfg(not(target_arch = "wasm32"))]
use hillshade_engine::{Profile, block_on};

use crate::{
    Checkpoint, Config, Error, Network, Progress, Result, Score,
    data::{Augment, Mixup, permutation},
    optim::RATES,
    scale::SKIPPED,
    task::{Drawn, Fed, LABELS, Part, Task, Values},
};
use check::{check, fits, within};
use graph::{Graphs, RESIDENT, SHARE, TOTALS};

/// A run: data, session, programs.
///
/// Other programs may work in its [session](Trainer::session_mut) between steps, beside its states or with them; a
/// checkpoint has the run's own states alone.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    network: Network,
    task: Task,
    session: Session,
    progress: Progress,
    /// All passes of a step but the last, where there are several.
    part: Option<Program>,
    step: Program,
    test: Program,
    test_totals: Var,
    order: Vec<u32>,
    /// Names of the states that make up the run.
    own: Vec<String>,
    /// The labels of a step whose images stay in the session.
    resident: Option<Vec<u32>>,
}

/// What a pass takes: samples, of images mixed in the labels, and the share that is kept of the others.
struct Taken {
    samples: Fed,
    others: Vec<u32>,
    kept: [f32; 1],
}

/// The order of an epoch's samples. A step that takes all of them needs none but their own.
fn order(config: &Config, epoch: u32, samples: usize) -> Vec<u32> {
    if config.batch == samples {
        return (0..u32::MAX).take(samples).collect();
    }
    permutation(config.seed, epoch, samples)
}

/// How samples are changed at random in an epoch, if at all: images as they are asked to be, sequences by where they begin
/// unless a step takes all of them.
fn drawn(config: &Config, task: &Task, epoch: u32) -> Option<Drawn> {
    let augment = Augment { crop: config.crop, flip: config.flip };
    let changed = match task {
        Task::Images(_) => augment != Augment::default(),
        Task::Text(_) => config.batch != task.len(Part::Train),
    };
    changed.then_some(Drawn { augment, seed: config.seed, epoch })
}

impl Trainer {
    /// What comes before the names of the states that are running averages of the parameters: [`Config::average`].
    pub const AVERAGE: &str = graph::AVERAGE;

    /// Builds, initializes and compiles a run.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a batch or limit of fewer than 2 samples or more than there are, for numbers out of their
    /// ranges, for a network that takes other samples and for one that is too large, [`Error::Name`] for an unknown one, and
    /// the engine's.
    pub fn new(config: Config, task: impl Into<Task>, mut session: Session) -> Result<Self> {
        let (mut task, network) = (task.into(), Network::parse(&config.model)?);
        task.suit(&network)?;
        if let Some(limit) = config.limit {
            within("limit", &task, limit)?;
            task.limit(limit);
        }
        within("batch", &task, config.batch)?;
        check(&config, &task)?;
        let samples = task.len(Part::Train);
        let graphs = Graphs { config: &config, network: &network, task: &task };
        let still = drawn(&config, &task, 0).is_none() && config.mixup == 0.0 && graph::passes(&config) == 1;
        let resident = config.batch == samples && task.images().is_some() && still;
        let built = graphs.step(resident)?;
        fits(&built.b, &session, &config)?;
        built.b.initialize(&mut session, config.seed)?;
        let part = graphs.part()?;
        let states = [&built.states[..], part.as_ref().map_or(&[], |part| &part.states)].concat();
        for s in &states {
            session.set(&s.name, &s.shape, &s.init.draw(&s.shape, config.seed, &s.name))?;
        }
        for (average, p) in built.averages.iter().zip(&built.b.params) {
            session.set(&average.name, &p.shape, &p.init.draw(&p.shape, config.seed, &p.name))?;
        }
        session.set(TOTALS, &[2], &[0.0; 2])?;
        let all = resident.then(|| task.batch(Part::Train, &order(&config, 0, samples), None));
        let resident = match all {
            Some(Fed { x: Values::F32(x), labels }) => {
                session.set(RESIDENT, &task.input(samples).1, &x)?;
                Some(labels)
            }
            _ => None,
        };
        let step = session.compile(&built.b.g, &[])?;
        let part = part.map(|part| session.compile(&part.b.g, &[])).transpose()?;
        let names = built.b.params.iter().chain(&built.states).chain(&built.averages).map(|p| p.name.clone());
        let own = names.chain([TOTALS.into()]).collect();
        let (b, test_totals) = graphs.test(task.test_batch(config.batch))?;
        let test = session.compile(&b.g, &[test_totals])?;

        let order = order(&config, 0, samples);
        let progress = Progress::default();
        Ok(Trainer { config, network, task, session, progress, part, step, test, test_totals, order, own, resident })
    }

    /// A run that goes on from a checkpoint. The configuration is the checkpoint's but for its length, `epochs`.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the checkpoint is not one of this network and optimizer, and those of [`Trainer::new`].
    pub fn resume(checkpoint: &Checkpoint, path: &Path, task: impl Into<Task>, session: Session) -> Result<Self> {
        let mut trainer = Self::new(checkpoint.config.clone(), task, session)?;
        checkpoint.restore(&mut trainer.session, &trainer.own, path)?;
        trainer.progress = checkpoint.progress;
        trainer.order = order(&trainer.config, trainer.progress.epoch, trainer.task.len(Part::Train));
        Ok(trainer)
    }

    /// What is trained, and how.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network that is trained.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The data, of which the training samples are those that are trained on.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Where it runs.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Where it runs, for other programs: they may read the run's parameters, which are states of the names that its
    /// [`network`](Trainer::network) gives them, and have states of their own under other names. Whoever sets the run's
    /// own states changes the run.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The compiled training step.
    pub fn step_program(&self) -> &Program {
        &self.step
    }

    /// Where the run stands.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.task.len(Part::Train) / self.config.batch) as u64
    }

    /// Whether all epochs are done.
    pub fn is_done(&self) -> bool {
        self.progress.epoch >= self.config.epochs
    }

    /// How many epochs are done when what is held out is to be scored next: a multiple of [`Config::test_every`], or the
    /// end. From a checkpoint between two tests it is what it was without one.
    pub fn next_test(&self) -> u32 {
        let every = self.config.test_every.max(1);
        (self.progress.epoch / every).saturating_add(1).saturating_mul(every).min(self.config.epochs)
    }

    /// The learning rate of the next step.
    pub fn rate(&self) -> f64 {
        self.rate_of(self.progress.step)
    }

    /// The learning rate of the last step; before the first one, that of the first.
    pub fn last_rate(&self) -> f64 {
        self.rate_of(self.progress.step.saturating_sub(1))
    }

    fn rate_of(&self, step: u64) -> f64 {
        let total = self.steps_per_epoch() * u64::from(self.config.epochs);
        self.config.schedule.rate(step, total)
    }

    /// The error for a loss that is not finite; names the highest learning rate so far, which is where the warm-up ends
    /// or has come to.
    pub fn diverged(&self, loss: f64) -> Error {
        let step = self.progress.step;
        let rate = self.rate_of(step.saturating_sub(1).min(self.config.schedule.warmup));
        Error::Diverged { step, loss, rate, precision: self.config.precision }
    }

    /// One training step, on the next batch of the epoch.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn step(&mut self) -> Result<()> {
        self.each_pass(|program, session, feeds| Ok(program.run(session, feeds)?))
    }

    /// [`Trainer::step`], with the time of every dispatch: for each of its passes a [`Program::profile`].
    ///
    /// # Errors
    ///
    /// The engine's.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile_step(&mut self) -> Result<Vec<Profile>> {
        let mut profiles = Vec::new();
        self.each_pass(|program, session, feeds| {
            profiles.push(block_on(program.profile(session, feeds))?);
            Ok(())
        })?;
        Ok(profiles)
    }

    fn each_pass(
        &mut self,
        mut run: impl FnMut(&mut Program, &mut Session, &[(&str, Data)]) -> Result<()>,
    ) -> Result<()> {
        let (passes, step) = (graph::passes(&self.config), self.progress.step);
        let rates = self.config.optimizer.rates(self.rate(), step + 1);
        let t = (step + 1) as f64;
        let share = [self.config.average.map_or(0.0, |d| 1.0 - d.min((1.0 + t) / (10.0 + t))) as f32];
        for pass in 0..passes {
            // What a pass draws depends on its place in the run.
            let place = step * passes as u64 + pass as u64;
            let seed = self.config.seed;
            let words = [seed as u32, (seed >> 32) as u32, place as u32];
            let taken = self.samples(pass, place);
            let labels = taken.as_ref().map(|taken| &taken.samples.labels).or(self.resident.as_ref());
            let mut feeds = vec![(RATES, Data::F32(&rates)), ("seed", Data::U32(&words)), (SHARE, Data::F32(&share))];
            feeds.extend(labels.map(|labels| (LABELS, Data::U32(labels))));
            if let Some(Taken { samples, others, kept }) = &taken {
                let input = self.task.input(samples.labels.len()).0;
                feeds.extend([(input, samples.x.data()), ("others", Data::U32(others)), ("kept", Data::F32(kept))]);
            }
            let program = self.part.as_mut().filter(|_| pass + 1 < passes).unwrap_or(&mut self.step);
            run(program, &mut self.session, &feeds)?;
        }
        self.progress.batch += 1;
        self.progress.step += 1;
        Ok(())
    }

    /// What a pass takes, unless it is in the session.
    fn samples(&self, pass: usize, place: u64) -> Option<Taken> {
        if self.resident.is_some() {
            return None;
        }
        let (config, size) = (&self.config, graph::samples(&self.config));
        let first = self.progress.batch as usize * config.batch + pass * size;
        let drawn = drawn(config, &self.task, self.progress.epoch);
        let mut samples = self.task.batch(Part::Train, &self.order[first..first + size], drawn);
        let mixup = (config.mixup > 0.0).then(|| Mixup::draw(config.mixup, config.seed, place, size));
        let others = match (&mixup, &mut samples) {
            (Some(mixup), Fed { x: Values::F32(images), labels }) => mixup.mix(images, labels),
            _ => Vec::new(),
        };
        Some(Taken { samples, others, kept: [mixup.map_or(1.0, |mixup| mixup.kept)] })
    }

    /// Whether the current epoch has no step left.
    pub fn epoch_is_over(&self) -> bool {
        self.progress.batch >= self.steps_per_epoch()
    }

    /// The score of the current epoch's steps so far, or `None` before the first one.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] when the loss is not finite, and the device's.
    pub async fn score(&self) -> Result<Option<Score>> {
        let labels = self.progress.batch * (self.config.batch * self.task.labels_per_sample()) as u64;
        if labels == 0 {
            return Ok(None);
        }
        let totals = self.session.get(TOTALS).await?;
        let loss = f64::from(totals[0]) / labels as f64;
        if !loss.is_finite() {
            return Err(self.diverged(loss));
        }
        Ok(Some(Score { loss, accuracy: f64::from(totals[1]) / labels as f64 }))
    }

    /// Steps of the run that were left out, their gradients not being finite, where that is watched.
    ///
    /// # Errors
    ///
    /// The device's.
    pub async fn skipped(&self) -> Result<Option<u64>> {
        match self.config.loss_scale {
            Some(_) => Ok(self.session.get(SKIPPED).await?.first().map(|&steps| steps as u64)),
            None => Ok(None),
        }
    }

    /// Ends the epoch: the next step begins another, with the samples in another order.
    ///
    /// # Errors
    ///
    /// The device's.
    pub fn next_epoch(&mut self) -> Result<()> {
        self.session.set(TOTALS, &[2], &[0.0; 2])?;
        self.progress.epoch += 1;
        self.progress.batch = 0;
        self.order = order(&self.config, self.progress.epoch, self.task.len(Part::Train));
        Ok(())
    }

    /// The score on what is held out, with running statistics.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn test(&mut self) -> Result<Score> {
        let (n, size) = (self.task.len(Part::Test), self.task.test_batch(self.config.batch));
        let mut sums = [0.0; 2];
        for start in (0..n).step_by(size) {
            let index: Vec<u32> = (start..start + size).map(|i| i as u32).collect();
            let Fed { x, labels } = self.task.batch(Part::Test, &index, None);
            let feeds = [(self.task.input(size).0, x.data()), (LABELS, Data::U32(&labels))];
            self.test.run(&mut self.session, &feeds)?;
            let totals = self.test.read(&self.session, self.test_totals).await?;
            sums.iter_mut().zip(totals).for_each(|(sum, t)| *sum += f64::from(t));
        }
        let labels = self.task.test_labels() as f64;
        Ok(Score { loss: sums[0] / labels, accuracy: sums[1] / labels })
    }

    /// Everything that is needed to go on from here.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] when a state is not finite, from which there is no going on, and the device's.
    pub async fn checkpoint(&self) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::take(&self.session, &self.own, &self.config, self.progress).await?;
        match checkpoint.states.values().flat_map(|(_, data)| data).find(|v| !v.is_finite()) {
            Some(_) => Err(self.diverged(f64::NAN)),
            None => Ok(checkpoint),
        }
    }
}

//! Training: a step program and a test program on one session.

use hillshade_engine::{Data, Graph, Program, Session, Var};
#[cfg(not(target_arch = "wasm32"))]
use hillshade_engine::{Profile, block_on};

use crate::train::{check::*, config::*, intervention::*, interventions::*, step::*, task::*};
use crate::{data::*, error::*, networks::Network, optim::RATES};

/// A training run: data, session, programs.
///
/// Other programs may work in its [session](Trainer::session_mut) between steps, beside its states or with them; a
/// checkpoint has the run's own states alone.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    network: Network,
    task: Task,
    pub(crate) session: Session,
    progress: Progress,
    interventions: Vec<Box<dyn Intervention>>,
    /// All passes of a step but the last, where there are several.
    part: Option<Program>,
    step: Program,
    test: Program,
    test_totals: Var,
    order: Vec<u32>,
    /// Names of the states that make up the run.
    pub(crate) own: Vec<String>,
    /// Those of them that hold a number for the log.
    logged: Vec<String>,
    /// The labels of a step whose images stay in the session.
    resident: Option<Vec<u32>>,
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
fn drawn(config: &Config, task: &Task, epoch: u32) -> Option<Augmentation> {
    let augment = Augment { crop: config.crop, flip: config.flip };
    let changed = match task {
        Task::Images(_) => augment != Augment::default(),
        Task::Text(_) => config.batch != task.len(Part::Train),
    };
    changed.then_some(Augmentation { augment, seed: config.seed, epoch })
}

impl Trainer {
    /// What comes before the names of the states that are running averages of the parameters: [`Config::average`].
    pub const AVERAGE: &str = AVERAGE;

    /// Builds, initializes and compiles a run.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a batch or limit of fewer than 2 samples or more than there are, for numbers out of their
    /// ranges, for a network that takes other samples and for one that is too large, [`Error::Name`] for an unknown one, and
    /// the engine's.
    pub fn new(config: Config, task: impl Into<Task>, session: Session) -> Result<Self> {
        let (mut task, network) = (task.into(), Network::parse(&config.model)?);
        task.suit(&network)?;
        if let Some(limit) = config.limit {
            within("limit", &task, limit)?;
            task.limit(limit);
        }
        within("batch", &task, config.batch)?;
        let interventions = config.interventions();
        Self::assemble(config, network, task, session, interventions, Vec::new())
    }

    /// The run with one more [`Intervention`], which acts after the others but before averages are taken. A run that goes on
    /// from a checkpoint has it again before [`Trainer::restore`].
    ///
    /// ```
    /// use hillshade_engine::{Session, Tensor};
    /// use hillshade_models::{Config, Intervention, Result, Step, Task, Trainer};
    ///
    /// /// Normal noise of a standard deviation, added to every gradient.
    /// #[derive(Debug)]
    /// struct Noise(f64);
    ///
    /// impl Intervention for Noise {
    ///     fn gradient<'g>(
    ///         &self, _: Tensor<'g>, gradients: Vec<Tensor<'g>>, step: &mut Step<'_, 'g>,
    ///     ) -> Result<Vec<Tensor<'g>>> {
    ///         let mut noisy = Vec::new();
    ///         for gradient in gradients {
    ///             let (seed, stream) = step.draw();
    ///             noisy.push(gradient + seed.normal(stream, gradient.shape()?) * self.0);
    ///         }
    ///         Ok(noisy)
    ///     }
    /// }
    ///
    /// let task = Task::open("digits", None, None)?;
    /// let mut trainer = Trainer::new(Config::default(), task, Session::host())?.with(Noise(1e-3))?;
    /// trainer.step()?;
    /// # Ok::<(), hillshade_models::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the intervention, and the engine's.
    pub fn with(self, intervention: impl Intervention + 'static) -> Result<Self> {
        let Trainer { config, network, task, session, progress, mut interventions, own, .. } = self;
        interventions.insert(interventions.len() - usize::from(config.average.is_some()), Box::new(intervention));
        let mut trainer = Self::assemble(config, network, task, session, interventions, own)?;
        trainer.go_on(progress);
        Ok(trainer)
    }

    /// Builds and compiles a run, and initializes what is not its own yet.
    fn assemble(
        config: Config, network: Network, task: Task, mut session: Session, interventions: Vec<Box<dyn Intervention>>,
        mut own: Vec<String>,
    ) -> Result<Self> {
        interventions.iter().try_for_each(|how| how.check(&task, config.batch))?;
        let samples = task.len(Part::Train);
        let graphs = Graphs { config: &config, network: &network, task: &task, interventions: &interventions };
        let is_still = drawn(&config, &task, 0).is_none() && !interventions.iter().any(|how| how.changes_samples());
        let stays = is_still && config.batch == samples && task.images().is_some() && config.passes() == 1;
        let (g, part_g, test_g) = (Graph::new(), Graph::new(), Graph::new());
        let Step { builder, states, logged, tested, .. } = graphs.pass(&g, stays, true)?;
        fits(&g, &builder, &session, &config)?;
        let part = (config.passes() > 1).then(|| graphs.pass(&part_g, false, false)).transpose()?;
        for (s, name) in states.iter().filter(|(s, _)| !own.contains(&s.name)) {
            session.set(&s.name, &s.shape, &s.init.draw(&s.shape, config.seed, name))?;
        }
        builder.initialize(&mut session, config.seed)?;
        if own.is_empty() {
            session.set(TOTALS, &[2], &[0.0; 2])?;
        }
        let (order, mut resident) = (order(&config, 0, samples), None);
        if let Some(Fed { x: Values::F32(x), labels }) = stays.then(|| task.batch(Part::Train, &order, None)) {
            session.set(RESIDENT, &task.input(samples).1, &x)?;
            resident = Some(labels);
        }
        let step = session.compile(&g, &[])?;
        let part = part.map(|_| session.compile(&part_g, &[])).transpose()?;
        let names = builder.params.iter().chain(states.iter().map(|(s, _)| s)).map(|p| p.name.clone());
        own = names.chain([TOTALS.into()]).collect();
        let totals = graphs.test(&test_g, task.test_batch(config.batch), tested)?;
        let (test, test_totals, progress) = (session.compile(&test_g, &[totals])?, totals.var(), Progress::default());
        Ok(Trainer {
            config,
            network,
            task,
            session,
            progress,
            interventions,
            part,
            step,
            test,
            test_totals,
            order,
            own,
            logged,
            resident,
        })
    }

    /// Goes on from where a run stood, with its states.
    pub(crate) fn go_on(&mut self, progress: Progress) {
        self.progress = progress;
        self.order = order(&self.config, progress.epoch, self.task.len(Part::Train));
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
        Error::Diverged { step, loss, rate, half: self.config.precision == Precision::F16 }
    }

    /// One training step, on the next batch of the epoch.
    pub fn step(&mut self) -> Result<()> {
        self.each_pass(|program, session, inputs| Ok(program.run(session, inputs)?))
    }

    /// [`Trainer::step`], with the time of every dispatch: for each of its passes a [`Program::profile`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile_step(&mut self) -> Result<Vec<Profile>> {
        let mut profiles = Vec::new();
        self.each_pass(|program, session, inputs| {
            profiles.push(block_on(program.profile(session, inputs))?);
            Ok(())
        })?;
        Ok(profiles)
    }

    fn each_pass(
        &mut self, mut run: impl FnMut(&mut Program, &mut Session, &[(&str, Data)]) -> Result<()>,
    ) -> Result<()> {
        let (passes, seed, step) = (self.config.passes(), self.config.seed, self.progress.step);
        let rates = self.config.optimizer.rates(self.rate(), step + 1);
        for pass in 0..passes {
            // What a pass draws depends on its place in the run.
            let place = step * passes as u64 + pass as u64;
            let words = [seed as u32, (seed >> 32) as u32, place as u32];
            let mut taken = Pass { seed, step, place, samples: self.samples(pass) };
            let more: Vec<(&str, Values)> = self.interventions.iter().flat_map(|how| how.inputs(&mut taken)).collect();
            let labels = taken.samples.as_ref().map(|samples| &samples.labels).or(self.resident.as_ref());
            let mut inputs = vec![(RATES, Data::F32(&rates)), ("seed", Data::U32(&words))];
            inputs.extend(labels.map(|labels| (LABELS, Data::U32(labels))));
            inputs.extend(taken.samples.as_ref().map(|Fed { x, labels }| (self.task.input(labels.len()).0, x.data())));
            inputs.extend(more.iter().map(|(name, values)| (*name, values.data())));
            let program = self.part.as_mut().filter(|_| pass + 1 < passes).unwrap_or(&mut self.step);
            run(program, &mut self.session, &inputs)?;
        }
        self.progress.batch += 1;
        self.progress.step += 1;
        self.interventions.iter().try_for_each(|how| how.after(&mut self.session, self.progress.step))
    }

    /// The samples of a pass, unless they are in the session.
    fn samples(&self, pass: usize) -> Option<Fed> {
        let (config, size) = (&self.config, self.config.pass_samples());
        let first = self.progress.batch as usize * config.batch + pass * size;
        let drawn = drawn(config, &self.task, self.progress.epoch);
        let batch = || self.task.batch(Part::Train, &self.order[first..first + size], drawn);
        self.resident.is_none().then(batch)
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

    /// What interventions keep for the log, as the last step left it, by name.
    pub async fn log(&self) -> Result<Vec<(&str, f32)>> {
        let mut log = Vec::new();
        for name in &self.logged {
            log.push((name.as_str(), self.session.get(name).await?[0]));
        }
        Ok(log)
    }

    /// Steps of the run that were left out, their gradients not being finite, where that is watched.
    pub async fn skipped(&self) -> Result<Option<u64>> {
        Ok(self.log().await?.iter().find(|(name, _)| *name == SKIPPED).map(|&(_, steps)| steps as u64))
    }

    /// Ends the epoch: the next step begins another, with the samples in another order.
    pub fn next_epoch(&mut self) -> Result<()> {
        self.session.set(TOTALS, &[2], &[0.0; 2])?;
        self.go_on(Progress { epoch: self.progress.epoch + 1, batch: 0, ..self.progress });
        Ok(())
    }

    /// The score on what is held out, with running statistics.
    pub async fn test(&mut self) -> Result<Score> {
        let (n, size) = (self.task.len(Part::Test), self.task.test_batch(self.config.batch));
        let mut sums = [0.0; 2];
        for start in (0..n).step_by(size) {
            let index: Vec<u32> = (start..start + size).map(|i| i as u32).collect();
            let Fed { x, labels } = self.task.batch(Part::Test, &index, None);
            let inputs = [(self.task.input(size).0, x.data()), (LABELS, Data::U32(&labels))];
            self.test.run(&mut self.session, inputs)?;
            let totals = self.test.read(&self.session, self.test_totals).await?;
            sums.iter_mut().zip(totals).for_each(|(sum, t)| *sum += f64::from(t));
        }
        let labels = self.task.test_labels() as f64;
        Ok(Score { loss: sums[0] / labels, accuracy: sums[1] / labels })
    }
}

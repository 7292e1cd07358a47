//! Training: a step program and a test program on one session.

use std::path::Path;

#[cfg(not(target_arch = "wasm32"))]
use hillshade_engine::block_on;
use hillshade_engine::{Data, Graph, Profile, Program, Session, Var};

use crate::{
    Builder, Checkpoint, Config, Error, Mode, Network, Param, Progress, Result, Score,
    data::{Augment, Dataset, Images, permutation},
    optim::RATES,
};

/// The state that adds up loss and hits over an epoch.
const TOTALS: &str = "epoch/totals";

/// The state that holds the images of a step which takes all of them, unchanged: it is set once.
const RESIDENT: &str = "train/images";

/// Images of a test batch.
const TEST_BATCH: usize = 250;

/// A run: data, session, programs.
///
/// Other programs may work in its [session](Trainer::session_mut) between steps, beside its states or with them; a
/// checkpoint has the run's own states alone.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    network: Network,
    dataset: Dataset,
    session: Session,
    progress: Progress,
    step: Program,
    test: Program,
    test_totals: Var,
    order: Vec<u32>,
    /// Names of the states that make up the run.
    own: Vec<String>,
    /// Whether the images of a step stay in the session.
    resident: bool,
}

/// Inputs of both graphs; the images may be a state.
fn inputs(b: &mut Builder, batch: usize, [h, w, c]: [usize; 3], resident: bool) -> Result<[Var; 2]> {
    let shape = [batch, h, w, c];
    let x = if resident { b.g.state(RESIDENT, &shape)? } else { b.g.input("images", &shape)? };
    Ok([x, b.g.input_u32("labels", &[batch])?])
}

/// The order of an epoch's images. A step that takes all of them needs none but their own.
fn order(config: &Config, epoch: u32, images: usize) -> Vec<u32> {
    if config.batch == images {
        return (0..u32::MAX).take(images).collect();
    }
    permutation(config.seed, epoch, images)
}

/// How images are changed at random, if at all.
fn augment(config: &Config) -> Option<Augment> {
    let augment = Augment { crop: config.crop, flip: config.flip };
    (augment != Augment::default()).then_some(augment)
}

/// Refuses a number of images that there are not.
fn within(what: &str, images: usize, found: usize) -> Result<()> {
    if (2..=images).contains(&found) {
        return Ok(());
    }
    let expected = format!("2 to {images}, the number of training images");
    Err(Error::Argument { what: what.into(), expected, found: found.to_string() })
}

/// The sum of the losses and the number of hits, `[2]`.
fn totals(g: &mut Graph, losses: Var, logits: Var, labels: Var) -> Result<Var> {
    let classes = g.shape(logits)[1];
    let guess = g.argmax(logits, 1)?;
    let (guess, truth) = (g.one_hot(guess, classes)?, g.one_hot(labels, classes)?);
    let hits = g.mul(guess, truth)?;
    let hits = g.sum(hits, &[0, 1])?;
    let loss = g.sum(losses, &[0])?;
    let (loss, hits) = (g.reshape(loss, &[1])?, g.reshape(hits, &[1])?);
    Ok(g.concat(&[loss, hits], 0)?)
}

/// Refuses a network that is too large before any of its parameters is drawn.
fn fits(b: &Builder, session: &Session, config: &Config) -> Result<()> {
    let count = |p: &Param| p.shape.iter().fold(1, |n: usize, &extent| n.saturating_mul(extent));
    if let Some(p) = b.params.iter().find(|p| count(p) > u32::MAX as usize) {
        return Err(Error::Argument {
            what: config.model.clone(),
            expected: format!("parameters of at most {} values, as far as indices reach", u32::MAX),
            found: format!("\"{}\" of shape {:?}", p.name, p.shape),
        });
    }
    // No state is set yet, so compiling goes no further than the plan and its size.
    match session.compile(&b.g, &[]) {
        Err(e @ hillshade_engine::Error::Memory { .. }) => Err(e.into()),
        _ => Ok(()),
    }
}

impl Trainer {
    /// Builds, initializes and compiles a run.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a batch or limit of fewer than 2 images or more than there are and for a network that is
    /// too large, [`Error::Name`] for an unknown one, and the engine's.
    pub fn new(config: Config, mut dataset: Dataset, mut session: Session) -> Result<Self> {
        if let Some(limit) = config.limit {
            within("limit", dataset.train.len(), limit)?;
            dataset.limit(limit);
        }
        let images = dataset.train.len();
        within("batch", images, config.batch)?;
        let network = Network::parse(&config.model)?;
        let classes = dataset.classes.len();
        let resident = config.batch == images && augment(&config).is_none();
        let mut b = Builder::new(Mode::Train);
        let [x, labels] = inputs(&mut b, config.batch, dataset.train.shape, resident)?;
        let logits = network.build(&mut b, x, classes)?;
        let losses = config.loss.build(&mut b.g, logits, labels)?;
        let loss = b.g.mean(losses, &[0])?;
        let trained: Vec<Param> = b.trained().cloned().collect();
        let trained: Vec<&Param> = trained.iter().collect();
        let gradients = match config.perturbation {
            Some(perturbation) => perturbation.gradient(&mut b.g, loss, &trained)?,
            None => b.g.grad(loss, &trained.iter().map(|p| p.var).collect::<Vec<_>>())?,
        };
        let states = config.optimizer.build(&mut b.g, &trained, &gradients)?;
        let before = b.g.state(TOTALS, &[2])?;
        let batch = totals(&mut b.g, losses, logits, labels)?;
        let after = b.g.add(before, batch)?;
        b.g.assign(before, after)?;
        fits(&b, &session, &config)?;
        b.initialize(&mut session, config.seed)?;
        for s in &states {
            session.set(&s.name, &s.shape, &vec![0.0; s.shape.iter().product()])?;
        }
        session.set(TOTALS, &[2], &[0.0; 2])?;
        if resident {
            let all = dataset.batch(&dataset.train, &order(&config, 0, images), None);
            let [h, w, c] = dataset.train.shape;
            session.set(RESIDENT, &[images, h, w, c], &all.x)?;
        }
        let step = session.compile(&b.g, &[])?;
        let names = b.params.iter().chain(&states).map(|p| p.name.clone());
        let own = names.chain([TOTALS.into()]).collect();

        let mut b = Builder::new(Mode::Eval);
        let size = TEST_BATCH.min(dataset.test.len()).max(1);
        let [x, labels] = inputs(&mut b, size, dataset.test.shape, false)?;
        let logits = network.build(&mut b, x, classes)?;
        let losses = config.loss.build(&mut b.g, logits, labels)?;
        let test_totals = totals(&mut b.g, losses, logits, labels)?;
        let test = session.compile(&b.g, &[test_totals])?;

        let order = order(&config, 0, images);
        let progress = Progress::default();
        Ok(Trainer { config, network, dataset, session, progress, step, test, test_totals, order, own, resident })
    }

    /// A run that goes on from a checkpoint. The configuration is the checkpoint's but for its length, `epochs`.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the checkpoint is not one of this network and optimizer, and those of [`Trainer::new`].
    pub fn resume(checkpoint: &Checkpoint, path: &Path, dataset: Dataset, session: Session) -> Result<Self> {
        let mut trainer = Self::new(checkpoint.config.clone(), dataset, session)?;
        checkpoint.restore(&mut trainer.session, &trainer.own, path)?;
        trainer.progress = checkpoint.progress;
        trainer.order = order(&trainer.config, trainer.progress.epoch, trainer.dataset.train.len());
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

    /// The data, of which the training images are those that are trained on.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
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
        (self.dataset.train.len() / self.config.batch) as u64
    }

    /// Whether all epochs are done.
    pub fn is_done(&self) -> bool {
        self.progress.epoch >= self.config.epochs
    }

    /// How many epochs are done when the test images are to be scored next: a multiple of [`Config::test_every`], or the
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
        Error::Diverged { step, loss, rate: self.rate_of(step.saturating_sub(1).min(self.config.schedule.warmup)) }
    }

    /// One training step, on the next batch of the epoch.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn step(&mut self) -> Result<()> {
        self.step_by(|program, session, feeds| Ok(program.run(session, feeds)?))
    }

    /// [`Trainer::step`], with the time of every dispatch: [`Program::profile`].
    ///
    /// # Errors
    ///
    /// The engine's.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile_step(&mut self) -> Result<Profile> {
        self.step_by(|program, session, feeds| Ok(block_on(program.profile(session, feeds))?))
    }

    fn step_by<T>(&mut self, run: impl FnOnce(&mut Program, &mut Session, &[(&str, Data)]) -> Result<T>) -> Result<T> {
        let Progress { epoch, batch, step } = self.progress;
        let (size, seed) = (self.config.batch, self.config.seed);
        let index = &self.order[batch as usize * size..][..size];
        let drawn = augment(&self.config).map(|augment| (augment, seed, epoch));
        let images = (!self.resident).then(|| self.dataset.batch(&self.dataset.train, index, drawn));
        let rates = self.config.optimizer.rates(self.rate(), step + 1);
        let words = [seed as u32, (seed >> 32) as u32, step as u32];
        let labels = images.as_ref().map_or(&self.dataset.train.labels, |images| &images.labels);
        let mut feeds = vec![("labels", Data::U32(labels)), (RATES, Data::F32(&rates)), ("seed", Data::U32(&words))];
        feeds.extend(images.as_ref().map(|images| ("images", Data::F32(&images.x))));
        let done = run(&mut self.step, &mut self.session, &feeds)?;
        self.progress.batch += 1;
        self.progress.step += 1;
        Ok(done)
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
        let images = self.progress.batch * self.config.batch as u64;
        if images == 0 {
            return Ok(None);
        }
        let totals = self.session.get(TOTALS).await?;
        let loss = f64::from(totals[0]) / images as f64;
        if !loss.is_finite() {
            return Err(self.diverged(loss));
        }
        Ok(Some(Score { loss, accuracy: f64::from(totals[1]) / images as f64 }))
    }

    /// Ends the epoch: the next step begins another, with the images in another order.
    ///
    /// # Errors
    ///
    /// The device's.
    pub fn next_epoch(&mut self) -> Result<()> {
        self.session.set(TOTALS, &[2], &[0.0; 2])?;
        self.progress.epoch += 1;
        self.progress.batch = 0;
        self.order = order(&self.config, self.progress.epoch, self.dataset.train.len());
        Ok(())
    }

    /// The score on the test images, with running statistics.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn test(&mut self) -> Result<Score> {
        let Images { labels, .. } = &self.dataset.test;
        let (n, size) = (labels.len(), TEST_BATCH.min(labels.len()).max(1));
        let mut sums = [0.0; 2];
        for start in (0..n).step_by(size) {
            // The last batch is filled up with images whose label is no class: they count for nothing.
            let index: Vec<u32> = (start..start + size).map(|i| i.min(n - 1) as u32).collect();
            let mut images = self.dataset.batch(&self.dataset.test, &index, None);
            let real = size.min(n - start);
            images.labels[real..].fill(u32::MAX);
            let feeds = [("images", Data::F32(&images.x)), ("labels", Data::U32(&images.labels))];
            self.test.run(&mut self.session, &feeds)?;
            let totals = self.test.read(&self.session, self.test_totals).await?;
            sums.iter_mut().zip(totals).for_each(|(sum, t)| *sum += f64::from(t));
        }
        Ok(Score { loss: sums[0] / n as f64, accuracy: sums[1] / n as f64 })
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

//! Training: a step program and a test program on one session.

use std::path::{Path, PathBuf};

use hillshade_engine::{Data, Graph, Program, Session, Var};
use serde::{Deserialize, Serialize};

use crate::{
    Builder, Checkpoint, Error, Mode, Network, Optimizer, Param, Result, Schedule,
    data::{Augment, Dataset, Images, permutation},
    optim::RATES,
};

/// What is trained, and how: everything that a run's numbers depend on beside the executor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The network: [`Network::parse`].
    pub model: String,
    /// The data set: [`crate::data::open`].
    pub data: String,
    /// Its folder, where it does not have a usual one.
    pub folder: Option<PathBuf>,
    /// Passes over the training images.
    pub epochs: u32,
    /// Images of a step; the rest of an epoch that does not fill one is left to the next epochs' shuffles.
    pub batch: usize,
    /// The update rule.
    pub optimizer: Optimizer,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// Seed of parameters, shuffles, augmentation and dropout.
    pub seed: u64,
    /// Zero margin in pixels for random crops.
    pub crop: usize,
    /// Whether images are mirrored at random.
    pub flip: bool,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are done.
    pub epoch: u32,
    /// Steps of the current epoch that are done.
    pub batch: u64,
    /// Steps of the run that are done.
    pub step: u64,
}

/// Loss and accuracy over some images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Share of images whose largest logit is that of their label.
    pub accuracy: f64,
}

/// The state that adds up loss and hits over an epoch.
const TOTALS: &str = "epoch/totals";

/// Images of a test batch.
const TEST_BATCH: usize = 250;

/// A run: data, session, programs.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    dataset: Dataset,
    session: Session,
    progress: Progress,
    step: Program,
    test: Program,
    test_totals: Var,
    order: Vec<u32>,
}

/// Inputs of both graphs.
fn inputs(b: &mut Builder, batch: usize, [height, width, channels]: [usize; 3]) -> Result<[Var; 2]> {
    let x = b.g.input("images", &[batch, height, width, channels])?;
    Ok([x, b.g.input_u32("labels", &[batch])?])
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
    /// [`Error::Argument`] for a batch of fewer than 2 images or more than there are and for a network that is too
    /// large, [`Error::Name`] for an unknown one, and the engine's.
    pub fn new(config: Config, dataset: Dataset, mut session: Session) -> Result<Self> {
        let images = dataset.train.len();
        if !(2..=images).contains(&config.batch) {
            return Err(Error::Argument {
                what: "batch".into(),
                expected: format!("2 to {images}, the number of training images"),
                found: config.batch.to_string(),
            });
        }
        let network = Network::parse(&config.model)?;
        let classes = dataset.classes.len();
        let mut b = Builder::new(Mode::Train);
        let [x, labels] = inputs(&mut b, config.batch, dataset.train.shape)?;
        let logits = network.build(&mut b, x, classes)?;
        let [losses, _] = b.g.cross_entropy(logits, labels)?;
        let loss = b.g.mean(losses, &[0])?;
        let trained: Vec<Param> = b.trained().cloned().collect();
        let gradients = b.g.grad(loss, &trained.iter().map(|p| p.var).collect::<Vec<_>>())?;
        let states = config.optimizer.build(&mut b.g, &trained.iter().collect::<Vec<_>>(), &gradients)?;
        let before = b.g.state(TOTALS, &[2])?;
        let batch = totals(&mut b.g, losses, logits, labels)?;
        let after = b.g.add(before, batch)?;
        b.g.assign(before, after)?;
        fits(&b, &session, &config)?;
        b.initialize(&mut session, config.seed)?;
        for s in states {
            session.set(&s.name, &s.shape, &vec![0.0; s.shape.iter().product()])?;
        }
        session.set(TOTALS, &[2], &[0.0; 2])?;
        let step = session.compile(&b.g, &[])?;

        let mut b = Builder::new(Mode::Eval);
        let [x, labels] = inputs(&mut b, TEST_BATCH.min(dataset.test.len()).max(1), dataset.test.shape)?;
        let logits = network.build(&mut b, x, classes)?;
        let [losses, _] = b.g.cross_entropy(logits, labels)?;
        let test_totals = totals(&mut b.g, losses, logits, labels)?;
        let test = session.compile(&b.g, &[test_totals])?;

        let order = permutation(config.seed, 0, images);
        Ok(Trainer { config, dataset, session, progress: Progress::default(), step, test, test_totals, order })
    }

    /// A run that goes on from a checkpoint. The configuration is the checkpoint's but for its length, `epochs`.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the checkpoint is not one of this network and optimizer, and those of [`Trainer::new`].
    pub fn resume(checkpoint: &Checkpoint, path: &Path, dataset: Dataset, session: Session) -> Result<Self> {
        let mut trainer = Self::new(checkpoint.config.clone(), dataset, session)?;
        checkpoint.restore(&mut trainer.session, path)?;
        trainer.progress = checkpoint.progress;
        trainer.order = permutation(trainer.config.seed, trainer.progress.epoch, trainer.dataset.train.len());
        Ok(trainer)
    }

    /// What is trained, and how.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The data.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Where it runs.
    pub fn session(&self) -> &Session {
        &self.session
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
        let Progress { epoch, batch, step } = self.progress;
        let (size, seed) = (self.config.batch, self.config.seed);
        let index = &self.order[batch as usize * size..][..size];
        let augment = Augment { crop: self.config.crop, flip: self.config.flip };
        let drawn = (augment != Augment::default()).then_some((augment, seed, epoch));
        let images = self.dataset.batch(&self.dataset.train, index, drawn);
        let rates = self.config.optimizer.rates(self.rate(), step + 1);
        let words = [seed as u32, (seed >> 32) as u32, step as u32];
        let feeds = [
            ("images", Data::F32(&images.x)),
            ("labels", Data::U32(&images.labels)),
            (RATES, Data::F32(&rates)),
            ("seed", Data::U32(&words)),
        ];
        self.step.run(&mut self.session, &feeds)?;
        self.progress.batch += 1;
        self.progress.step += 1;
        Ok(())
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
        self.order = permutation(self.config.seed, self.progress.epoch, self.dataset.train.len());
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
        let checkpoint = Checkpoint::take(&self.session, &self.config, self.progress).await?;
        match checkpoint.states.values().flat_map(|(_, data)| data).find(|v| !v.is_finite()) {
            Some(_) => Err(self.diverged(f64::NAN)),
            None => Ok(checkpoint),
        }
    }
}

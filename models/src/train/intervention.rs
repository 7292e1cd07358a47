//! What changes a training step: the trait, what it knows of a step, and what it may add.

use std::fmt::Debug;

use hillshade_engine::{Graph, Session, Tensor};

use crate::{error::*, networks::Network, nn::*, train::task::*};

/// What changes a training step, in one file: at four moments, each of which does nothing unless it is written.
///
/// | moment | when | what it changes |
/// |---|---|---|
/// | [`loss`](Intervention::loss) | graph of a pass | the losses of the labels |
/// | [`gradient`](Intervention::gradient) | graph of a pass, from accumulation on that of the last one | the gradients |
/// | [`update`](Intervention::update) | graph of the last pass, after the optimizer | what states hold after the step |
/// | [`after`](Intervention::after) | run time, after each step | whatever needs the host |
///
/// A run has an ordered list of them: label smoothing, mixup, sharpness-aware gradients, accumulation, loss scale, clipping,
/// those of [`Trainer::with`](crate::Trainer::with) in the order in which they were added, averages. All act at one moment
/// before any acts at the next. What an intervention keeps from step to step is a [`Step::state`], which the trainer begins,
/// checkpoints and resumes.
pub trait Intervention: Debug + Send {
    /// Refuses numbers out of their ranges, in a run that takes `batch` samples of the task in a step.
    fn check(&self, _task: &Task, _batch: usize) -> Result<()> {
        Ok(())
    }

    /// Other losses, one of each label, whose mean is made small. The score of an epoch counts them.
    fn loss<'g>(&self, losses: Tensor<'g>, _step: &mut Step<'_, 'g>) -> Result<Tensor<'g>> {
        Ok(losses)
    }

    /// Other gradients, in the order of [`Builder::trained`]; `loss` is what they are of, a scalar.
    fn gradient<'g>(
        &self, _loss: Tensor<'g>, gradients: Vec<Tensor<'g>>, _step: &mut Step<'_, 'g>,
    ) -> Result<Vec<Tensor<'g>>> {
        Ok(gradients)
    }

    /// Assigns more states, or other values to those that are assigned ([`Graph::assigned`], [`Graph::take_assigns`]). The
    /// gradients are those that [`Intervention::gradient`] was given.
    fn update<'g>(&self, _gradients: &[Tensor<'g>], _step: &mut Step<'_, 'g>) -> Result<()> {
        Ok(())
    }

    /// Data for the inputs that it added, by name, before each pass; it may change the samples, too.
    fn inputs(&self, _pass: &mut Pass) -> Vec<(&str, Values)> {
        Vec::new()
    }

    /// Whether [`Intervention::inputs`] changes the samples.
    fn changes_samples(&self) -> bool {
        false
    }

    /// Acts on the session after so many steps of the run.
    fn after(&self, _session: &mut Session, _step: u64) -> Result<()> {
        Ok(())
    }
}

/// A pass of a step that is about to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// The run's seed.
    pub seed: u64,
    /// Steps that are done.
    pub step: u64,
    /// Passes that are done.
    pub place: u64,
    /// The samples, unless they stay in the session.
    pub samples: Option<Fed>,
}

/// A pass of a step while its graph is built.
#[derive(Debug)]
pub struct Step<'a, 'g> {
    /// The graph, and the parameters of the network.
    pub builder: Builder<'g>,
    /// The network.
    pub network: &'a Network,
    /// What it learns.
    pub task: &'a Task,
    /// The loss of a label.
    pub rule: Loss,
    /// What the network takes, and what it gives.
    pub ends: [Tensor<'g>; 2],
    /// The labels.
    pub labels: Tensor<'g>,
    /// What the loss is multiplied by while its gradient is taken, and the gradient divided by after, `[1]`.
    pub scale: Option<Tensor<'g>>,
    /// Whether it is the last pass of its step, which the update follows.
    pub is_last: bool,
    /// What the optimizer has assigned: the trained parameters and its own states.
    pub learned: Vec<Tensor<'g>>,
    /// What comes before the names of the parameters that tests are of.
    pub tested: &'static str,
    /// Whether no other intervention acts in this pass.
    pub(crate) ended: bool,
    /// States, each with the name by which its beginning is drawn.
    pub(crate) states: Vec<(Param, String)>,
    pub(crate) inputs: Vec<(String, Tensor<'g>)>,
    pub(crate) logged: Vec<String>,
    pub(crate) list: &'a [Box<dyn Intervention>],
    /// How many of the list come before what asks.
    pub(crate) before: usize,
}

impl<'g> Step<'_, 'g> {
    /// The graph.
    pub fn graph(&self) -> &'g Graph {
        self.builder.g
    }

    /// A state under a name of its own, the same one whenever it is asked for. Broken by a name that another has.
    #[track_caller]
    pub fn state(&mut self, name: &str, shape: &[usize], init: Init) -> Tensor<'g> {
        self.begin(name.into(), shape, init, name)
    }

    /// A state that begins as a parameter does, under its name with this before it.
    #[track_caller]
    pub fn copy(&mut self, prefix: &str, p: &Param) -> Tensor<'g> {
        self.begin(format!("{prefix}{}", p.name), &p.shape, p.init, &p.name)
    }

    #[track_caller]
    fn begin(&mut self, name: String, shape: &[usize], init: Init, drawn: &str) -> Tensor<'g> {
        let known = self.states.iter().position(|(state, _)| state.name == name);
        let at = known.unwrap_or_else(|| {
            self.states.push((Param::state(self.builder.g, name, shape, init), drawn.into()));
            self.states.len() - 1
        });
        self.states[at].0.value(self.builder.g)
    }

    /// An input of f32 whose data [`Intervention::inputs`] gives, the same one whenever it is asked for.
    #[track_caller]
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Tensor<'g> {
        self.known(name, |g| g.input(name, shape))
    }

    /// An input of u32.
    #[track_caller]
    pub fn input_u32(&mut self, name: &str, shape: &[usize]) -> Tensor<'g> {
        self.known(name, |g| g.input_u32(name, shape))
    }

    fn known(&mut self, name: &str, add: impl FnOnce(&'g Graph) -> Tensor<'g>) -> Tensor<'g> {
        if let Some((_, input)) = self.inputs.iter().find(|(known, _)| known == name) {
            return *input;
        }
        let input = add(self.builder.g);
        self.inputs.push((name.into(), input));
        input
    }

    /// A seed and a stream for random numbers that nothing else draws, others in every pass: `seed.normal(stream, &shape)`.
    #[track_caller]
    pub fn draw(&mut self) -> (Tensor<'g>, u32) {
        let Builder { g, seed, streams, .. } = &mut self.builder;
        *streams += 1;
        (*seed.get_or_insert_with(|| g.input_u32("seed", &[3])), *streams)
    }

    /// Keeps a number of the step in a state of this name, for [`Trainer::log`](crate::Trainer::log).
    #[track_caller]
    pub fn log(&mut self, name: &str, value: Tensor<'g>) {
        let state = self.state(name, &[1], Init::Zeros);
        self.builder.g.assign(state, value.reshape(&[1]));
        self.logged.push(name.into());
    }

    /// The losses against other labels, as the interventions change them that come before the one at work.
    ///
    /// # Errors
    ///
    /// Those of [`Network::losses`], and the interventions'.
    pub fn against(&mut self, labels: Tensor<'g>) -> Result<Tensor<'g>> {
        let (own, before) = (std::mem::replace(&mut self.labels, labels), self.before);
        let mut losses = self.network.losses(self.rule, 0.0, self.ends, labels, self.task.classes())?;
        for (at, how) in self.list[..before].iter().enumerate() {
            self.before = at;
            losses = how.loss(losses, self)?;
        }
        (self.labels, self.before) = (own, before);
        Ok(losses)
    }
}

/// `‖x‖₂` over all tensors together, `[]`; of none, 0. Where all are 0 its slope is 0, the least of its subgradients, as
/// PyTorch has it.
#[track_caller]
pub(crate) fn norm<'g>(g: &'g Graph, x: &[Tensor<'g>]) -> Tensor<'g> {
    let [zero, one] = [0.0, 1.0].map(|v| g.fill(&[], v));
    let total = x.iter().map(|&x| (x * x).sum_all()).reduce(|total, square| total + square);
    // The root is taken of 1 there, whose slope is finite.
    total.map_or(zero, |total| total.select(total.select(total, one).sqrt(), zero))
}

/// Refuses what does not hold.
pub(crate) fn expect(holds: bool, what: &str, expected: impl ToString, found: impl ToString) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::argument(what, expected, found)) }
}

/// Refuses what is no share from 0 to below 1.
pub(crate) fn expect_share(what: &str, share: f64) -> Result<()> {
    expect((0.0..1.0).contains(&share), what, "a number from 0 to below 1", format!("{share:?}"))
}

/// Refuses what is not above 0, or not as f32.
pub(crate) fn expect_positive(what: &str, v: f64, or: &str) -> Result<()> {
    let expected = format!("a positive number from 1e-37 to 1e38{or}");
    expect(v > 0.0 && (v as f32).is_normal(), what, expected, format!("{v:?}"))
}

//! The graphs of a run: a step, the passes that lead to it, and a test.

use hillshade_engine::{Graph, Var};

use crate::{
    Builder, Config, Goal, Init, Mode, Network, Param, Precision, Result, Task,
    loss::counted,
    scale,
    sharpness::{norm, scaled},
};

/// The state that adds up loss and hits over an epoch.
pub(super) const TOTALS: &str = "epoch/totals";

/// The state that holds the images of a step which takes all of them, unchanged: it is set once.
pub(super) const RESIDENT: &str = "train/images";

/// What comes before the name of a parameter's running average.
pub(super) const AVERAGE: &str = "average/";

/// What comes before the name of a gradient that is being added up.
const SUM: &str = "gradient/";

/// The input that says how much of the new parameters goes into the averages.
pub(super) const SHARE: &str = "share";

/// A network at work on the samples of a task.
#[derive(Clone, Copy)]
pub(super) struct Graphs<'a> {
    pub config: &'a Config,
    pub network: &'a Network,
    pub task: &'a Task,
}

/// A graph, and the states that it has beside the network's, which begin as their initializers say.
pub(super) struct Built {
    pub b: Builder,
    pub states: Vec<Param>,
    /// The averages, each of which begins as the parameter of its name.
    pub averages: Vec<Param>,
}

/// A pass through the network and back.
struct Pass {
    b: Builder,
    trained: Vec<Param>,
    gradients: Vec<Var>,
    /// The state that holds the loss's scale.
    scale: Option<Param>,
}

/// Passes of a step: more than one where gradients are accumulated.
pub(super) fn passes(config: &Config) -> usize {
    config.accumulate.max(1) as usize
}

/// Samples of a pass.
pub(super) fn samples(config: &Config) -> usize {
    config.batch / passes(config)
}

impl Graphs<'_> {
    /// Inputs of a graph; images that stay in the session are a state.
    fn inputs(&self, b: &mut Builder, batch: usize, resident: bool) -> Result<[Var; 2]> {
        if !resident {
            return self.task.inputs(b, batch);
        }
        Ok([b.g.state(RESIDENT, &self.task.input(batch).1)?, self.task.label_input(b, batch)?])
    }

    /// The loss of some samples, its gradient, and their totals.
    fn pass(&self, resident: bool) -> Result<Pass> {
        let Graphs { config, network, task } = *self;
        let (n, classes) = (samples(config), task.classes());
        let mut b = Builder::new(Mode::Train);
        let [x, labels] = self.inputs(&mut b, n, resident)?;
        let outputs = network.build(&mut b, x, classes)?;
        let against = |b: &mut Builder, labels| {
            network.losses(&mut b.g, config.loss, config.smoothing, [x, outputs], labels, classes)
        };
        let mut losses = against(&mut b, labels)?;
        if config.mixup > 0.0 && network.goal() == Goal::Labels {
            let (others, kept) = (b.g.input_u32("others", &b.g.shape(labels).to_vec())?, b.g.input("kept", &[1])?);
            let mixed = against(&mut b, others)?;
            let own = b.g.mul(losses, kept)?;
            let rest = b.g.affine(kept, -1.0, 1.0)?;
            let mixed = b.g.mul(mixed, rest)?;
            losses = b.g.add(own, mixed)?;
        }
        let axes: Vec<usize> = (0..b.g.shape(losses).len()).collect();
        let loss = b.g.mean(losses, &axes)?;
        let trained: Vec<Param> = b.trained().cloned().collect();
        b.g.store_half(config.precision == Precision::F16);
        let scale = config.loss_scale.map(|scale| scale.state(&mut b.g)).transpose()?;
        let at: Vec<Var> = trained.iter().map(|p| p.var).collect();
        let gradients = match (config.perturbation, &scale) {
            (Some(perturbation), _) => perturbation.gradient(&mut b.g, loss, &trained.iter().collect::<Vec<_>>())?,
            (None, Some(scale)) => scale::gradient(&mut b.g, loss, &at, scale.var)?,
            (None, None) => b.g.grad(loss, &at)?,
        };
        let before = b.g.state(TOTALS, &[2])?;
        let batch = self.totals(&mut b.g, losses, [x, outputs], labels)?;
        let after = b.g.add(before, batch)?;
        b.g.assign(before, after)?;
        Ok(Pass { b, trained, gradients, scale })
    }

    /// The sum of the losses and the number of hits, `[2]`; see [`crate::Score`].
    fn totals(&self, g: &mut Graph, losses: Var, [x, outputs]: [Var; 2], labels: Var) -> Result<Var> {
        let axes: Vec<usize> = (0..g.shape(labels).len()).collect();
        let hits = match self.network.goal() {
            Goal::Labels => {
                // Classes as numbers from 1: what is no class is 0, which no guess is.
                let classes = g.shape(outputs)[axes.len()];
                let numbers: Vec<f32> = (1..=classes).map(|class| class as f32).collect();
                let numbers = g.literal(&[classes], &numbers)?;
                let guess = g.argmax(outputs, axes.len())?;
                let (guess, truth) = (g.gather(numbers, guess)?, g.gather(numbers, labels)?);
                let hits = g.eq(guess, truth)?;
                g.sum(hits, &axes)?
            }
            Goal::Input => {
                let square = g.mul(x, x)?;
                let power = g.sum(square, &[1, 2, 3])?;
                let power = g.affine(power, 0.5, 1e-12)?;
                let missed = g.div(losses, power)?;
                let all = counted(g, labels, self.task.classes())?;
                let kept = g.sub(all, missed)?;
                g.sum(kept, &[0])?
            }
        };
        let loss = g.sum(losses, &axes)?;
        let (loss, hits) = (g.reshape(loss, &[1])?, g.reshape(hits, &[1])?);
        Ok(g.concat(&[loss, hits], 0)?)
    }

    /// A pass that adds its share of the step's gradient to what is there; `None` where a step is one pass.
    pub(super) fn part(&self) -> Result<Option<Built>> {
        if passes(self.config) == 1 {
            return Ok(None);
        }
        let Pass { mut b, trained, gradients, .. } = self.pass(false)?;
        let (sums, states) = self.summed(&mut b.g, &trained, &gradients)?;
        for (state, sum) in states.iter().zip(sums) {
            b.g.assign(state.var, sum)?;
        }
        Ok(Some(Built { b, states, averages: Vec::new() }))
    }

    /// Gradients added to the sums of the passes so far, each divided by the number of passes, and the states of the sums.
    fn summed(&self, g: &mut Graph, trained: &[Param], gradients: &[Var]) -> Result<(Vec<Var>, Vec<Param>)> {
        let (mut sums, mut states) = (Vec::new(), Vec::new());
        for (p, &gradient) in trained.iter().zip(gradients) {
            let state = beside(g, SUM, p)?;
            let share = g.affine(gradient, 1.0 / passes(self.config) as f64, 0.0)?;
            sums.push(g.add(state.var, share)?);
            states.push(state);
        }
        Ok((sums, states))
    }

    /// The last pass of a step, or its only one, and the update.
    pub(super) fn step(&self, resident: bool) -> Result<Built> {
        let Pass { mut b, trained, mut gradients, scale } = self.pass(resident)?;
        if passes(self.config) > 1 {
            let (sums, states) = self.summed(&mut b.g, &trained, &gradients)?;
            gradients = sums;
            for state in &states {
                let zeros = b.g.fill_like(state.var, 0.0)?;
                b.g.assign(state.var, zeros)?;
            }
        }
        let whole = gradients.clone();
        if let Some(most) = self.config.clip {
            gradients = clipped(&mut b.g, &gradients, most)?;
        }
        let mut states = self.config.optimizer.build(&mut b.g, &trained.iter().collect::<Vec<_>>(), &gradients)?;
        if let (Some(how), Some(scale)) = (self.config.loss_scale, scale) {
            let learned: Vec<Var> = trained.iter().chain(&states).map(|p| p.var).collect();
            states.extend(how.guard(&mut b.g, &whole, &learned, scale)?);
        }
        let mut averages = Vec::new();
        if self.config.average.is_some() {
            let share = b.g.input(SHARE, &[1])?;
            for p in &b.params {
                let new = b.g.assigns().iter().find(|(state, _)| *state == p.var).map_or(p.var, |&(_, new)| new);
                let average = beside(&mut b.g, AVERAGE, p)?;
                let moved = b.g.average(average.var, new, share)?;
                b.g.assign(average.var, moved)?;
                averages.push(average);
            }
        }
        Ok(Built { b, states, averages })
    }

    /// Totals of some samples with running statistics, and with the averages of the parameters where there are any.
    pub(super) fn test(&self, batch: usize) -> Result<(Builder, Var)> {
        let mut b = match self.config.average {
            Some(_) => Builder::with_prefix(Mode::Eval, AVERAGE),
            None => Builder::new(Mode::Eval),
        };
        let ([x, labels], classes) = (self.inputs(&mut b, batch, false)?, self.task.classes());
        let outputs = self.network.build(&mut b, x, classes)?;
        let losses = self.network.losses(&mut b.g, self.config.loss, 0.0, [x, outputs], labels, classes)?;
        let totals = self.totals(&mut b.g, losses, [x, outputs], labels)?;
        Ok((b, totals))
    }
}

/// A state like a parameter, under its name with this before it.
fn beside(g: &mut Graph, prefix: &str, p: &Param) -> Result<Param> {
    let name = format!("{prefix}{}", p.name);
    let var = g.state(&name, &p.shape)?;
    Ok(Param { name, init: Init::Zeros, trained: false, decayed: false, var, ..p.clone() })
}

/// Gradients shortened, all by one factor, where together they are longer than `most`: `g min(1, most/(‖g‖ + 1e-6))`, as
/// PyTorch's `clip_grad_norm_` (Pascanu et al. 2013).
fn clipped(g: &mut Graph, gradients: &[Var], most: f64) -> Result<Vec<Var>> {
    let length = norm(g, gradients)?;
    let length = g.affine(length, 1.0, 1e-6)?;
    let inverse = g.recip(length)?;
    let factor = g.affine(inverse, most, 0.0)?;
    let one = g.fill(&[], 1.0)?;
    let factor = g.min(factor, one)?;
    scaled(g, gradients, factor)
}

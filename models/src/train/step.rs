//! The graphs of a run: a step, the passes that lead to it, and a test.

use hillshade_engine::{Graph, Tensor};

use crate::train::{config::*, interventions::loss_scale, interventions::sam::norm, task::Task};
use crate::{error::*, networks::*, nn::*};

/// The state that adds up loss and hits over an epoch.
pub(crate) const TOTALS: &str = "epoch/totals";

/// The state that holds the images of a step which takes all of them, unchanged: it is set once.
pub(crate) const RESIDENT: &str = "train/images";

/// What comes before the name of a parameter's running average.
pub(crate) const AVERAGE: &str = "average/";

/// What comes before the name of a gradient that is being added up.
const SUM: &str = "gradient/";

/// The input that says how much of the new parameters goes into the averages.
pub(crate) const SHARE: &str = "share";

/// A network at work on the samples of a task.
#[derive(Clone, Copy)]
pub(crate) struct Graphs<'a> {
    pub config: &'a Config,
    pub network: &'a Network,
    pub task: &'a Task,
}

/// A pass through the network and back.
struct Pass<'g> {
    b: Builder<'g>,
    trained: Vec<Param>,
    gradients: Vec<Tensor<'g>>,
    /// The state that holds the loss's scale.
    scale: Option<Param>,
}

impl Graphs<'_> {
    /// Inputs of a graph; images that stay in the session are a state.
    fn inputs<'g>(&self, g: &'g Graph, batch: usize, resident: bool) -> [Tensor<'g>; 2] {
        match resident {
            true => [g.state(RESIDENT, &self.task.input(batch).1), self.task.label_input(g, batch)],
            false => self.task.inputs(g, batch),
        }
    }

    /// The loss of some samples, its gradient, and their totals.
    fn pass<'g>(&self, g: &'g Graph, resident: bool) -> Result<Pass<'g>> {
        let Graphs { config, network, task } = *self;
        let mut b = Builder::new(g, Mode::Train);
        let [x, labels] = self.inputs(g, config.pass_samples(), resident);
        let outputs = network.build(&mut b, x, task.classes())?;
        let against = |labels| network.losses(config.loss, config.smoothing, [x, outputs], labels, task.classes());
        let mut losses = against(labels)?;
        if config.mixup > 0.0 && network.goal() == Goal::Labels {
            let (others, kept) = (g.input_u32("others", labels.shape()?), g.input("kept", &[1]));
            losses = losses * kept + against(others)? * (1.0 - kept);
        }
        let loss = losses.mean_all();
        let trained: Vec<Param> = b.trained().cloned().collect();
        g.store_f16(config.precision == Precision::F16);
        let scale = config.loss_scale.map(|scale| scale.state(g));
        let gradients = match (config.perturbation, &scale) {
            (Some(perturbation), _) => perturbation.gradient(loss, &trained.iter().collect::<Vec<_>>())?,
            (None, Some(scale)) => loss_scale::gradient(loss, &b.trained_values(), scale.value(g))?,
            (None, None) => loss.grad(&b.trained_values())?,
        };
        let totals = g.state(TOTALS, &[2]);
        g.assign(totals, totals + self.totals(losses, [x, outputs], labels)?);
        Ok(Pass { b, trained, gradients, scale })
    }

    /// The sum of the losses and the number of hits, `[2]`; see [`Score`](crate::Score).
    fn totals<'g>(&self, losses: Tensor<'g>, [x, outputs]: [Tensor<'g>; 2], labels: Tensor<'g>) -> Result<Tensor<'g>> {
        let g = losses.graph();
        let hits = match self.network.goal() {
            Goal::Labels => {
                let axis = labels.shape()?.len();
                // Classes as numbers from 1: what is no class is 0, which no guess is.
                let classes = outputs.shape()?[axis];
                let numbers = g.literal(&[classes], &(1..=classes).map(|class| class as f32).collect::<Vec<_>>());
                numbers.gather(outputs.argmax(axis)).eq(numbers.gather(labels))
            }
            Goal::Input => {
                let power = (x * x).sum(&[1, 2, 3]) * 0.5 + 1e-12;
                counted(labels, self.task.classes()) - losses / power
            }
        };
        Ok(g.concat(&[losses, hits].map(|x| x.sum_all().reshape(&[1])), 0))
    }

    /// A pass that adds its share of the step's gradient to what is there.
    pub(crate) fn part<'g>(&self, g: &'g Graph) -> Result<Builder<'g>> {
        let Pass { mut b, trained, gradients, .. } = self.pass(g, false)?;
        let (sums, states) = self.summed(&trained, &gradients, g);
        states.iter().zip(sums).for_each(|(state, sum)| g.assign(state.value(g), sum));
        b.states = states;
        Ok(b)
    }

    /// Gradients added to the sums of the passes so far, each divided by the number of passes, and the states of the sums.
    fn summed<'g>(&self, trained: &[Param], gradients: &[Tensor<'g>], g: &'g Graph) -> (Vec<Tensor<'g>>, Vec<Param>) {
        let states: Vec<Param> = trained.iter().map(|p| beside(g, SUM, p)).collect();
        let share = 1.0 / self.config.passes() as f64;
        let sums = states.iter().zip(gradients).map(|(state, &gradient)| state.value(g) + gradient * share);
        (sums.collect(), states)
    }

    /// The last pass of a step, or its only one, and the update; and the averages, each of which begins as the parameter of
    /// its name.
    pub(crate) fn step<'g>(&self, g: &'g Graph, resident: bool) -> Result<(Builder<'g>, Vec<Param>)> {
        let Pass { mut b, trained, mut gradients, scale } = self.pass(g, resident)?;
        if self.config.passes() > 1 {
            let (sums, states) = self.summed(&trained, &gradients, g);
            gradients = sums;
            states.iter().map(|state| state.value(g)).for_each(|state| g.assign(state, state.fill_like(0.0)));
        }
        let whole = gradients.clone();
        if let Some(most) = self.config.clip {
            gradients = clipped(g, &gradients, most);
        }
        b.states = self.config.optimizer.build(g, &trained.iter().collect::<Vec<_>>(), &gradients)?;
        if let (Some(how), Some(scale)) = (self.config.loss_scale, scale) {
            let learned: Vec<Tensor> = trained.iter().chain(&b.states).map(|p| p.value(g)).collect();
            b.states.extend(how.guard(g, &whole, &learned, scale));
        }
        let mut averages = Vec::new();
        if self.config.average.is_some() {
            let share = g.input(SHARE, &[1]);
            averages.extend(b.params.iter().map(|p| beside(g, AVERAGE, p)));
            for (p, average) in b.params.iter().zip(&averages) {
                let new = g.assigned(p.value(g)).unwrap_or(p.value(g));
                g.assign(average.value(g), average.value(g).lerp(new, share));
            }
        }
        Ok((b, averages))
    }

    /// Totals of some samples with running statistics, and with the averages of the parameters where there are any.
    pub(crate) fn test<'g>(&self, g: &'g Graph, batch: usize) -> Result<Tensor<'g>> {
        let mut b = Builder::with_prefix(g, Mode::Eval, if self.config.average.is_some() { AVERAGE } else { "" });
        let ([x, labels], classes) = (self.inputs(g, batch, false), self.task.classes());
        let outputs = self.network.build(&mut b, x, classes)?;
        let losses = self.network.losses(self.config.loss, 0.0, [x, outputs], labels, classes)?;
        self.totals(losses, [x, outputs], labels)
    }
}

/// A state like a parameter, under its name with this before it.
fn beside(g: &Graph, prefix: &str, p: &Param) -> Param {
    Param::state(g, format!("{prefix}{}", p.name), &p.shape, Init::Zeros)
}

/// Gradients shortened, all by one factor, where together they are longer than `most`: `g min(1, most/(‖g‖ + 1e-6))`, as
/// PyTorch's `clip_grad_norm_` (Pascanu et al. 2013).
fn clipped<'g>(g: &'g Graph, gradients: &[Tensor<'g>], most: f64) -> Vec<Tensor<'g>> {
    let factor = ((norm(g, gradients) + 1e-6).recip() * most).min(g.fill(&[], 1.0));
    gradients.iter().map(|&gradient| gradient * factor).collect()
}

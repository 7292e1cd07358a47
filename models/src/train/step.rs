//! The graphs of a run: a training step, the micro-batches that lead to it, and a test.

use hillshade_engine::{Graph, Tensor};

use crate::train::{config::*, intervention::*, task::Task};
use crate::{error::*, networks::*, nn::*};

/// The state that adds up loss and hits over an epoch.
pub(crate) const TOTALS: &str = "epoch/totals";

/// The state that holds the images of a step which takes all of them, unchanged: it is set once.
pub(crate) const RESIDENT: &str = "train/images";

/// A network at work on the samples of a task.
#[derive(Clone, Copy)]
pub(crate) struct Graphs<'a> {
    pub config: &'a Config,
    pub network: &'a Network,
    pub task: &'a Task,
    pub interventions: &'a [Box<dyn Intervention>],
}

impl<'a> Graphs<'a> {
    /// Inputs of a graph; images that stay in the session are a state.
    fn inputs<'g>(&self, g: &'g Graph, batch: usize, resident: bool) -> [Tensor<'g>; 2] {
        match resident {
            true => [g.state(RESIDENT, &self.task.input(batch).1), self.task.label_input(g, batch)],
            false => self.task.inputs(g, batch),
        }
    }

    /// A pass of a step: the losses of some samples, their totals and their gradient; in the last pass, the update.
    pub(crate) fn pass<'g>(&self, g: &'g Graph, resident: bool, is_last: bool) -> Result<Step<'a, 'g>> {
        let Graphs { config, network, task, interventions: list } = *self;
        let mut builder = Builder::new(g, Mode::Train);
        let [x, labels] = self.inputs(g, config.pass_samples(), resident);
        let outputs = network.build(&mut builder, x, task.classes())?;
        let mut step = Step {
            builder,
            network,
            task,
            rule: config.loss,
            ends: [x, outputs],
            labels,
            scale: None,
            is_last,
            learned: Vec::new(),
            tested: "",
            ended: false,
            states: Vec::new(),
            inputs: Vec::new(),
            logged: Vec::new(),
            list,
            before: list.len(),
        };
        let losses = step.against(labels)?;
        let (loss, at) = (losses.mean_all(), step.builder.trained_values());
        g.store_f16(config.precision == Precision::F16);
        let mut gradients = match step.scale {
            None => loss.grad(&at)?,
            Some(scale) => {
                let inverse = scale.recip();
                g.vjp(&[loss], &[scale.reshape(&[])], &at)?.into_iter().map(|d| d * inverse).collect()
            }
        };
        let totals = g.state(TOTALS, &[2]);
        g.assign(totals, totals + self.totals(losses, step.ends, labels)?);
        let mut given = Vec::new();
        for how in list {
            given.push(gradients.clone());
            gradients = how.gradient(loss, gradients, &mut step)?;
            if step.ended {
                return Ok(step);
            }
        }
        let states = config.optimizer.build(g, &step.builder.trained().collect::<Vec<_>>(), &gradients)?;
        step.learned = at.into_iter().chain(states.iter().map(|state| state.value(g))).collect();
        step.states.extend(states.into_iter().map(|state| (state.clone(), state.name)));
        for (how, given) in list.iter().zip(given) {
            how.update(&given, &mut step)?;
        }
        Ok(step)
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

    /// Totals of some samples with running statistics, by the parameters whose names have this before them.
    pub(crate) fn test<'g>(&self, g: &'g Graph, batch: usize, prefix: &'static str) -> Result<Tensor<'g>> {
        let mut b = Builder::with_prefix(g, Mode::Eval, prefix);
        let ([x, labels], classes) = (self.inputs(g, batch, false), self.task.classes());
        let outputs = self.network.build(&mut b, x, classes)?;
        let losses = self.network.losses(self.config.loss, 0.0, [x, outputs], labels, classes)?;
        self.totals(losses, [x, outputs], labels)
    }
}

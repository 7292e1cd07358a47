//! What is measured: a loss over samples, as a graph for any number of them, and its batch-norm mode.

use std::{fmt, ops::Range, sync::Arc};

use hillshade_engine::{Data, Graph, Source, Tensor};
use hillshade_models::{
    Builder, Loss, Mode, Network, Param, Part, Task,
    data::{Dataset, Images, Text},
};
use serde::{Deserialize, Serialize};

use crate::{error::*, layout::*};

/// Which statistics batch normalization takes, in everything that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNorm {
    /// The running ones.
    #[default]
    Eval,
    /// Those of batches of exactly so many samples; what is left over is a smaller last batch, weighted by its size.
    Batch(usize),
    /// Those of all samples, exactly, also where these go through the network in several micro-batches: then layer by
    /// layer. Every mean over the samples, in value and derivatives, waits for all micro-batches, and what comes before is
    /// computed again, so that memory is that of one. The price is time: with `L` normalizations a gradient takes `3 L`
    /// passes up to a layer, a point for products as many, and a product `2 L`; or products keep what comes before, where
    /// it fits ([`Options::linearize`](crate::Options::linearize)).
    Full,
}

impl fmt::Display for BatchNorm {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            BatchNorm::Eval => f.write_str("eval"),
            BatchNorm::Batch(size) => write!(f, "batch({size})"),
            BatchNorm::Full => f.write_str("full"),
        }
    }
}

/// A distribution of targets, given a network's outputs `[…, c]`, whose negative log-likelihood the loss is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Likelihood {
    /// Outputs are logits: softmax cross-entropy.
    Categorical,
    /// Outputs are means: a squared error whose second derivative in each output is `curvature`.
    Gaussian {
        /// Second derivative of a sample's loss in each output.
        curvature: f64,
    },
}

/// What a graph of a loss is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'g> {
    /// The loss of each sample, `[n]`; the loss is their mean.
    pub losses: Tensor<'g>,
    /// The network's outputs, `[n, …]`, on which the losses depend, each on its own row.
    pub outputs: Tensor<'g>,
}

/// Samples in memory: named arrays with the sample as first axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    count: usize,
    arrays: Vec<(String, Array)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Array {
    F32(Arc<Vec<f32>>),
    U32(Arc<Vec<u32>>),
}

impl Samples {
    /// No arrays yet, of so many samples.
    pub fn new(count: usize) -> Self {
        Samples { count, ..Samples::default() }
    }

    /// With an input of floats.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the numbers do not divide among the samples.
    pub fn floats(self, name: &str, data: Vec<f32>) -> Result<Self> {
        self.with(name, data.len(), Array::F32(data.into()))
    }

    /// With an input of indices.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the numbers do not divide among the samples.
    pub fn indices(self, name: &str, data: Vec<u32>) -> Result<Self> {
        self.with(name, data.len(), Array::U32(data.into()))
    }

    fn with(mut self, name: &str, len: usize, array: Array) -> Result<Self> {
        let fits = self.count > 0 && len > 0 && len.is_multiple_of(self.count);
        refuse!(!fits, name, format!("as much for each of {} samples", self.count), len);
        self.arrays.push((name.into(), array));
        Ok(self)
    }

    /// The first `count` images of a data set, normalized by its training moments, as `images` and `labels`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when there are not so many.
    pub fn images(dataset: &Dataset, images: &Images, count: usize) -> Result<Self> {
        refuse!(count == 0 || count > images.len(), "samples", format!("1 to {}", images.len()), count);
        let batch = dataset.batch(images, &(0..count as u32).collect::<Vec<_>>(), None);
        Samples::new(count).floats("images", batch.x)?.indices("labels", batch.labels)
    }

    /// The first `count` sequences of a text that are full, as `tokens` and `labels`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when there are not so many.
    pub fn sequences(text: &Text, part: Part, count: usize) -> Result<Self> {
        let of = if part == Part::Train { &text.train } else { &text.test };
        let full = of.len().saturating_sub(1) / text.context;
        refuse!(count == 0 || count > full, "samples", format!("1 to {full}"), count);
        let batch = text.batch(of, &(0..count as u32).collect::<Vec<_>>(), None);
        Samples::new(count).indices("tokens", batch.tokens)?.indices("labels", batch.next)
    }

    /// The number of samples.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Samples in a range, as inputs.
    pub fn inputs(&self, range: Range<usize>) -> Vec<(&str, Data<'_>)> {
        let part = |len: usize| range.start * (len / self.count)..range.end * (len / self.count);
        let arrays = self.arrays.iter().map(|(name, array)| match array {
            Array::F32(x) => (name.as_str(), Data::F32(&x[part(x.len())])),
            Array::U32(x) => (name.as_str(), Data::U32(&x[part(x.len())])),
        });
        arrays.collect()
    }
}

/// Samples at once where it is not said.
pub(crate) const MICRO_BATCH: usize = 128;

/// Samples that pass through the network together.
#[derive(Debug, Clone)]
pub(crate) struct MicroBatch {
    pub range: Range<usize>,
    /// For a Fisher matrix the gradients in the outputs at drawn targets, `[draws, n, c]`.
    pub drawn: Option<Vec<f32>>,
}

impl MicroBatch {
    /// The number of samples.
    pub fn size(&self) -> usize {
        self.range.len()
    }
}

type Build = dyn for<'g> Fn(&mut Builder<'g>, usize) -> hillshade_models::Result<Parts<'g>> + Send + Sync;

/// A loss over samples: the mean of theirs.
#[derive(Clone)]
pub struct Problem {
    build: Arc<Build>,
    /// The data.
    pub samples: Samples,
    /// What Fisher matrices draw targets from.
    pub likelihood: Option<Likelihood>,
    /// Targets of a sample, 1 unless it is said: for more, outputs are `[n, targets, …]`, and a loss is the mean of theirs.
    pub targets: usize,
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a problem of {} samples", self.samples.count)
    }
}

impl Problem {
    /// From a function that adds the loss of `n` samples to a graph, with inputs named as the samples' arrays.
    pub fn new(
        samples: Samples, likelihood: Option<Likelihood>,
        build: impl for<'g> Fn(&mut Builder<'g>, usize) -> hillshade_models::Result<Parts<'g>> + Send + Sync + 'static,
    ) -> Self {
        Problem { build: Arc::new(build), samples, likelihood, targets: 1 }
    }

    /// A network on the inputs and labels of `n` samples, which `given` adds; the loss of a sample is the mean of its labels'.
    fn supervised(
        network: Network, loss: Loss, classes: usize, samples: Samples,
        given: impl for<'g> Fn(&'g Graph, usize) -> [Tensor<'g>; 2] + Send + Sync + 'static,
    ) -> Self {
        let likelihood = match loss {
            Loss::CrossEntropy => Likelihood::Categorical,
            Loss::Squared => Likelihood::Gaussian { curvature: 1.0 },
        };
        Problem::new(samples, Some(likelihood), move |b, n| {
            let [x, labels] = given(b.g, n);
            let outputs = network.build(b, x, classes)?;
            let losses = network.losses(loss, 0.0, [x, outputs], labels, classes)?;
            Ok(Parts { losses: if labels.shape()?.len() == 1 { losses } else { losses.mean(&[1]) }, outputs })
        })
    }

    /// A network of images, which sorts them into classes or gives them back; samples as [`Samples::images`] names them.
    pub fn classifier(network: Network, loss: Loss, [h, w, c]: [usize; 3], classes: usize, samples: Samples) -> Self {
        Problem::supervised(network, loss, classes, samples, move |g, n| {
            [g.input("images", &[n, h, w, c]), g.input_u32("labels", &[n])]
        })
    }

    /// A network that predicts tokens, each from those before; a sample is a sequence of `context` of them, named as by
    /// [`Samples::sequences`], its targets are the tokens that follow each of its own, and its loss is the mean of theirs.
    pub fn language(network: Network, loss: Loss, context: usize, classes: usize, samples: Samples) -> Self {
        let one = Problem::supervised(network, loss, classes, samples, move |g, n| {
            ["tokens", "labels"].map(|name| g.input_u32(name, &[n, context]))
        });
        Problem { targets: context, ..one }
    }

    /// A network on the first `count` samples of a task.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when there are not so many.
    pub fn of(task: &Task, part: Part, count: usize, network: Network, loss: Loss) -> Result<Self> {
        let classes = task.classes();
        match task {
            Task::Images(dataset) => {
                let images = if part == Part::Train { &dataset.train } else { &dataset.test };
                let samples = Samples::images(dataset, images, count);
                samples.map(|samples| Problem::classifier(network, loss, images.shape, classes, samples))
            }
            Task::Text(text) => Samples::sequences(text, part, count)
                .map(|samples| Problem::language(network, loss, text.context, classes, samples)),
        }
    }

    /// Where in a vector the trained parameters are, those whose names begin with one of `blocks`; all where there are none.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a block that is not there.
    pub fn layout(&self, blocks: &[String]) -> Result<Vec<Block>> {
        let g = Graph::new();
        self.graph(&g, BatchNorm::Eval, 1, blocks).map(|(.., params)| layout(&params))
    }

    /// The graph for `n` samples, without assignments, whatever it asks for.
    pub(crate) fn draft<'g>(&self, mut b: Builder<'g>, n: usize) -> Result<(Builder<'g>, Parts<'g>)> {
        let parts = (self.build)(&mut b, n)?;
        b.g.take_assigns();
        Ok((b, parts))
    }

    /// The graph for `n` samples, without assignments, and the trained parameters whose names begin with one of `blocks`; all
    /// where there are none. With the statistics of all samples, the graph of fewer has means
    /// [over all micro-batches](crate::operator::micro_batches).
    pub(crate) fn graph<'g>(
        &self, g: &'g Graph, batch_norm: BatchNorm, n: usize, blocks: &[String],
    ) -> Result<(Builder<'g>, Parts<'g>, Vec<Param>)> {
        let b = match batch_norm {
            BatchNorm::Eval => Builder::new(g, Mode::Eval),
            BatchNorm::Full if n < self.samples.count => Builder::of_micro_batch(g),
            _ => Builder::new(g, Mode::Train),
        };
        let (b, parts) = self.draft(b, n)?;
        let (losses, outputs) = (parts.losses.shape()?, parts.outputs.shape()?);
        let of_targets = if self.targets == 1 { vec![n] } else { vec![n, self.targets] };
        if losses != [n] || !outputs.starts_with(&of_targets) {
            let found = format!("losses {losses:?} and outputs {outputs:?}");
            return Err(argument("problem", format!("losses [{n}] and outputs that begin with {of_targets:?}"), found));
        }
        let given = self.samples.inputs(0..0);
        let stray = g.nodes().find_map(|node| match &node.source {
            Source::Input(name) if !given.iter().any(|(known, _)| *known == name) => Some(name.as_str()),
            _ => None,
        });
        match stray {
            Some("seed") => Err(argument(
                "problem",
                "a loss that is the same every time",
                "dropout, which is not drawn by sample: measure in eval mode, or without it",
            )),
            Some(name) => Err(argument("problem", "inputs that the samples have", format!("\"{name}\""))),
            None => chosen(&b, blocks).map(|params| (b, parts, params)),
        }
    }

    /// The samples that pass through the network together.
    pub(crate) fn micro_batches(&self, batch_norm: BatchNorm, size: Option<usize>) -> Result<Vec<MicroBatch>> {
        let count = self.samples.count;
        let size = match batch_norm {
            BatchNorm::Eval => size.unwrap_or(MICRO_BATCH).clamp(1, count),
            BatchNorm::Batch(size) => size,
            BatchNorm::Full => size.unwrap_or(count).clamp(1, count),
        };
        let batch = if batch_norm == BatchNorm::Full { count } else { size };
        let fits = batch_norm == BatchNorm::Eval || (2..=count).contains(&batch);
        refuse!(!fits, "batch-norm batch", format!("2 to {count} samples"), batch);
        let single = matches!(batch_norm, BatchNorm::Batch(_)) && count % size == 1;
        let expected = || format!("a size that does not leave one of {count} samples over");
        refuse!(single, "batch-norm batch", expected(), size);
        let batch = |start| MicroBatch { range: start..(start + size).min(count), drawn: None };
        Ok((0..count).step_by(size).map(batch).collect())
    }
}

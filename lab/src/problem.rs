//! What is measured: a loss over samples, as a graph for any number of them.

use std::{fmt, ops::Range, sync::Arc};

use hillshade_engine::{Data, Source, Var};
use hillshade_models::{
    Builder, Loss, Mode, Network, Part, Task,
    data::{Dataset, Images, Text},
};
use serde::{Deserialize, Serialize};

use crate::{
    Block, Result,
    error::argument,
    gradient::{chosen, layout},
};

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
pub struct Parts {
    /// The loss of each sample, `[n]`; the loss is their mean.
    pub losses: Var,
    /// The network's outputs, `[n, …]`, on which the losses depend, each on its own row.
    pub outputs: Var,
}

/// Of a network's loss.
fn likelihood(loss: Loss) -> Likelihood {
    match loss {
        Loss::CrossEntropy => Likelihood::Categorical,
        Loss::Squared => Likelihood::Gaussian { curvature: 1.0 },
    }
}

/// Samples in memory: named arrays with the sample as first axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    count: usize,
    floats: Vec<(String, Vec<f32>)>,
    indices: Vec<(String, Vec<u32>)>,
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
    /// [`Error::Argument`](crate::Error::Argument) when the numbers do not divide among the samples.
    pub fn floats(mut self, name: &str, data: Vec<f32>) -> Result<Self> {
        self.fits(name, data.len())?;
        self.floats.push((name.into(), data));
        Ok(self)
    }

    /// With an input of indices.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) when the numbers do not divide among the samples.
    pub fn indices(mut self, name: &str, data: Vec<u32>) -> Result<Self> {
        self.fits(name, data.len())?;
        self.indices.push((name.into(), data));
        Ok(self)
    }

    fn fits(&self, name: &str, len: usize) -> Result<()> {
        match self.count > 0 && len > 0 && len.is_multiple_of(self.count) {
            true => Ok(()),
            false => Err(argument(name, format!("as much for each of {} samples", self.count), len)),
        }
    }

    /// The first `count` images of a data set, normalized by its training moments, as `images` and `labels`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) when there are not so many.
    pub fn images(dataset: &Dataset, images: &Images, count: usize) -> Result<Self> {
        if count == 0 || count > images.len() {
            return Err(argument("samples", format!("1 to {}", images.len()), count));
        }
        let batch = dataset.batch(images, &(0..count as u32).collect::<Vec<_>>(), None);
        Samples::new(count).floats("images", batch.x)?.indices("labels", batch.labels)
    }

    /// The first `count` sequences of a text that are full, as `tokens` and `labels`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) when there are not so many.
    pub fn sequences(text: &Text, part: Part, count: usize) -> Result<Self> {
        let of = if part == Part::Train { &text.train } else { &text.test };
        let full = of.len().saturating_sub(1) / text.context;
        if count == 0 || count > full {
            return Err(argument("samples", format!("1 to {full}"), count));
        }
        let batch = text.batch(of, &(0..count as u32).collect::<Vec<_>>(), None);
        Samples::new(count).indices("tokens", batch.tokens)?.indices("labels", batch.next)
    }

    /// The number of samples.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Samples in a range, as feeds.
    pub fn feeds(&self, range: Range<usize>) -> Vec<(&str, Data<'_>)> {
        let part = |len: usize| range.start * (len / self.count)..range.end * (len / self.count);
        let floats = self.floats.iter().map(|(name, x)| (name.as_str(), Data::F32(&x[part(x.len())])));
        let indices = self.indices.iter().map(|(name, x)| (name.as_str(), Data::U32(&x[part(x.len())])));
        floats.chain(indices).collect()
    }
}

/// Samples at once where it is not said.
pub(crate) const MICRO_BATCH: usize = 128;

type Build = dyn Fn(&mut Builder, usize) -> hillshade_models::Result<Parts> + Send + Sync;

/// A loss over samples: the mean of theirs.
#[derive(Clone)]
pub struct Problem {
    build: Arc<Build>,
    /// The data.
    pub samples: Samples,
    /// What Fisher matrices draw targets from.
    pub likelihood: Option<Likelihood>,
    /// Targets of a sample, 1 unless it is said: for more, outputs are `[n, targets, …]`, and a sample's loss is the mean
    /// of its targets', each of its own outputs.
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
        samples: Samples,
        likelihood: Option<Likelihood>,
        build: impl Fn(&mut Builder, usize) -> hillshade_models::Result<Parts> + Send + Sync + 'static,
    ) -> Self {
        Problem { build: Arc::new(build), samples, likelihood, targets: 1 }
    }

    /// A network of images, which sorts them into classes or gives them back; samples as [`Samples::images`] names them.
    pub fn classifier(network: Network, loss: Loss, image: [usize; 3], classes: usize, samples: Samples) -> Self {
        let [height, width, channels] = image;
        Problem::new(samples, Some(likelihood(loss)), move |b, n| {
            let x = b.g.input("images", &[n, height, width, channels])?;
            let labels = b.g.input_u32("labels", &[n])?;
            let outputs = network.build(b, x, classes)?;
            let losses = network.losses(&mut b.g, loss, 0.0, [x, outputs], labels, classes)?;
            Ok(Parts { losses, outputs })
        })
    }

    /// A network that foretells tokens, each from those before; a sample is a sequence of `context` of them, as
    /// [`Samples::sequences`] names them, its targets are the tokens that follow each of its own, and its loss is the mean
    /// of theirs.
    pub fn language(network: Network, loss: Loss, context: usize, classes: usize, samples: Samples) -> Self {
        let one = Problem::new(samples, Some(likelihood(loss)), move |b, n| {
            let x = b.g.input_u32("tokens", &[n, context])?;
            let labels = b.g.input_u32("labels", &[n, context])?;
            let outputs = network.build(b, x, classes)?;
            let losses = network.losses(&mut b.g, loss, 0.0, [x, outputs], labels, classes)?;
            Ok(Parts { losses: b.g.mean(losses, &[1])?, outputs })
        });
        Problem { targets: context, ..one }
    }

    /// A network on the first `count` samples of a task.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) when there are not so many.
    pub fn of(task: &Task, part: Part, count: usize, network: Network, loss: Loss) -> Result<Self> {
        Ok(match task {
            Task::Images(dataset) => {
                let images = if part == Part::Train { &dataset.train } else { &dataset.test };
                let samples = Samples::images(dataset, images, count)?;
                Problem::classifier(network, loss, images.shape, task.classes(), samples)
            }
            Task::Text(text) => {
                let samples = Samples::sequences(text, part, count)?;
                Problem::language(network, loss, text.context, task.classes(), samples)
            }
        })
    }

    /// Where in a vector the trained parameters are, those whose names begin with one of `blocks`; all where there are none.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for a block that is not there, and those of the problem's graph.
    pub fn layout(&self, blocks: &[String]) -> Result<Vec<Block>> {
        let (b, _) = self.graph(BatchNorm::Eval, 1)?;
        Ok(layout(chosen(b.trained(), blocks)?.iter()))
    }

    /// The graph for `n` samples, without assignments, whatever it asks for.
    pub(crate) fn draft(&self, mode: Mode, n: usize) -> Result<(Builder, Parts)> {
        self.drafted(Builder::new(mode), n)
    }

    fn drafted(&self, mut b: Builder, n: usize) -> Result<(Builder, Parts)> {
        let parts = (self.build)(&mut b, n)?;
        b.g = b.g.without_assigns();
        Ok((b, parts))
    }

    /// The graph for `n` samples, without assignments. With the statistics of all samples, the graph of fewer has means
    /// over [parts](hillshade_engine::Graph::mean_of_parts).
    pub(crate) fn graph(&self, batch_norm: BatchNorm, n: usize) -> Result<(Builder, Parts)> {
        let b = match batch_norm {
            BatchNorm::Eval => Builder::new(Mode::Eval),
            BatchNorm::Full if n < self.samples.count => Builder::of_part(),
            _ => Builder::new(Mode::Train),
        };
        let (b, parts) = self.drafted(b, n)?;
        let (losses, outputs) = (b.g.shape(parts.losses), b.g.shape(parts.outputs));
        let of_targets = if self.targets == 1 { vec![n] } else { vec![n, self.targets] };
        if losses != [n] || !outputs.starts_with(&of_targets) {
            let found = format!("losses {losses:?} and outputs {outputs:?}");
            return Err(argument("problem", format!("losses [{n}] and outputs that begin with {of_targets:?}"), found));
        }
        let known = |name: &String| {
            self.samples.floats.iter().map(|a| &a.0).chain(self.samples.indices.iter().map(|a| &a.0)).any(|a| a == name)
        };
        let stray = b.g.nodes().iter().find_map(|node| match &node.source {
            Source::Input(name) if !known(name) => Some(name.clone()),
            _ => None,
        });
        match stray {
            Some(name) if name == "seed" => Err(argument(
                "problem",
                "a loss that is the same every time",
                "dropout, which is not drawn by sample: measure in eval mode, or without it",
            )),
            Some(name) => Err(argument("problem", "inputs that the samples have", format!("\"{name}\""))),
            None => Ok((b, parts)),
        }
    }

    /// The ranges of samples that pass through the network together.
    pub(crate) fn pieces(&self, batch_norm: BatchNorm, micro_batch: Option<usize>) -> Result<Vec<Range<usize>>> {
        let count = self.samples.count;
        let size = match batch_norm {
            BatchNorm::Eval => micro_batch.unwrap_or(MICRO_BATCH).clamp(1, count),
            BatchNorm::Batch(size) => size,
            BatchNorm::Full => micro_batch.unwrap_or(count).clamp(1, count),
        };
        let batch = if batch_norm == BatchNorm::Full { count } else { size };
        if batch_norm != BatchNorm::Eval && (batch < 2 || batch > count) {
            return Err(argument("batch-norm batch", format!("2 to {count} samples"), batch));
        }
        let pieces: Vec<_> = (0..count).step_by(size).map(|start| start..(start + size).min(count)).collect();
        match (pieces.last(), batch_norm) {
            (Some(last), BatchNorm::Batch(_)) if last.len() < 2 => Err(argument(
                "batch-norm batch",
                format!("a size that does not leave one of {count} samples over"),
                size,
            )),
            _ => Ok(pieces),
        }
    }
}

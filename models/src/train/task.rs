//! Tasks: the classes of images, or the next tokens of a text, and the inputs that hold them.

use std::path::Path;

use hillshade_engine::{Data, Graph, Tensor};

use crate::{data::*, error::*, networks::*};

/// Images of a test batch.
const TEST_BATCH: usize = 250;

/// Name of the input that holds the labels of samples.
pub const LABELS: &str = "labels";

/// Samples to learn from and samples held out, each with one label or several.
#[derive(Debug, Clone)]
pub enum Task {
    /// Images, each with its class.
    Images(Dataset),
    /// Sequences of tokens, each token with the next.
    Text(Text),
}

/// Which samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those to learn from.
    Train,
    /// Those held out.
    Test,
}

/// What changes samples at random in training: how images are, in which epoch, by which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augmentation {
    /// The changes of images.
    pub augment: Augment,
    /// The run's seed.
    pub seed: u64,
    /// The epoch.
    pub epoch: u32,
}

/// A batch: samples ready for a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Fed {
    /// What the network takes.
    pub x: Values,
    /// What it is to predict: for an image its class, for a token the next.
    pub labels: Vec<u32>,
}

/// Numbers of an input.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Pixels.
    F32(Vec<f32>),
    /// Tokens.
    U32(Vec<u32>),
}

impl Values {
    /// As data for the input.
    pub fn data(&self) -> Data<'_> {
        match self {
            Values::F32(x) => Data::F32(x),
            Values::U32(x) => Data::U32(x),
        }
    }
}

impl From<Dataset> for Task {
    fn from(images: Dataset) -> Self {
        Task::Images(images)
    }
}

impl From<Text> for Task {
    fn from(text: Text) -> Self {
        Task::Text(text)
    }
}

impl Task {
    /// Opens the data of a name: [`data::open`](crate::data::open) and [`data::open_text`](crate::data::open_text).
    ///
    /// # Errors
    ///
    /// Theirs, and [`Error::Argument`] for a vocabulary of images.
    pub fn open(data: &str, folder: Option<&Path>, vocabulary: Option<&Vocabulary>) -> Result<Self> {
        match vocabulary {
            _ if data.starts_with(TEXT) => open::open_text(data, vocabulary).map(Task::Text),
            None => open::open(data, folder).map(Task::Images),
            Some(_) => Err(Error::argument("tokenizer", "text to go with it", data)),
        }
    }

    /// Makes the samples those of a network: sequences as long as it takes them.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a network that takes something else, and a text that is too short.
    pub fn suit(&mut self, network: &Network) -> Result<()> {
        let refused = |takes: &str, of: &str| {
            Err(Error::argument("model", format!("a network that takes {takes}"), format!("{network}, of {of}")))
        };
        match (self, network.takes(), network.context()) {
            (Task::Images(_), Takes::Images, _) => Ok(()),
            (Task::Text(text), Takes::Tokens, Some(context)) => text.cut(context),
            (Task::Images(_), ..) => refused("images", "tokens"),
            (Task::Text(_), ..) => refused("tokens", "images"),
        }
    }

    /// What is said of images, or of text.
    fn either<'a, T>(&'a self, images: impl FnOnce(&'a Dataset) -> T, text: impl FnOnce(&'a Text) -> T) -> T {
        match self {
            Task::Images(of) => images(of),
            Task::Text(of) => text(of),
        }
    }

    /// The images, where the samples are images.
    pub fn images(&self) -> Option<&Dataset> {
        self.either(Some, |_| None)
    }

    /// The text, where the samples are sequences of it.
    pub fn text(&self) -> Option<&Text> {
        self.either(|_| None, Some)
    }

    /// What samples are called.
    pub fn samples(&self) -> &'static str {
        self.either(|_| "images", |_| "sequences")
    }

    /// What the samples' labels belong to: images, or tokens.
    pub fn units(&self) -> &'static str {
        self.either(|_| "images", |_| "tokens")
    }

    /// Labels of a sample.
    pub fn labels_per_sample(&self) -> usize {
        self.either(|_| 1, |text| text.context)
    }

    /// How many labels there are to choose from.
    pub fn classes(&self) -> usize {
        self.either(|images| images.classes.len(), |text| text.tokenizer.len())
    }

    /// The number of samples.
    pub fn len(&self, part: Part) -> usize {
        match part {
            Part::Train => self.either(|images| images.train.len(), Text::len),
            Part::Test => self.either(|images| images.test.len(), Text::test_len),
        }
    }

    /// Labels that are held out.
    pub fn test_labels(&self) -> usize {
        self.either(|images| images.test.len(), |text| text.test.len().saturating_sub(1))
    }

    /// Samples of a test batch, in a run that trains on batches of so many.
    pub(crate) fn test_batch(&self, batch: usize) -> usize {
        self.either(|_| TEST_BATCH, |_| batch).min(self.len(Part::Test)).max(1)
    }

    /// Keeps the first `n` training samples.
    pub fn limit(&mut self, n: usize) {
        match self {
            Task::Images(images) => images.limit(n),
            Task::Text(text) => text.limit(n),
        }
    }

    /// Bits that a mean loss in nats costs for each character held out, of text.
    pub fn bits_per_character(&self, loss: f64) -> Option<f64> {
        self.text().map(|text| text.bits_per_character(loss))
    }

    /// Name and shape of the input that takes `n` samples.
    pub fn input(&self, n: usize) -> (&'static str, Vec<usize>) {
        match self {
            Task::Images(images) => ("images", [&[n], &images.train.shape[..]].concat()),
            Task::Text(text) => ("tokens", vec![n, text.context]),
        }
    }

    /// Adds the inputs of `n` samples to a graph: what the network takes and the labels, `[n]` or `[n, context]`.
    #[track_caller]
    pub fn inputs<'g>(&self, g: &'g Graph, n: usize) -> [Tensor<'g>; 2] {
        let (name, shape) = self.input(n);
        let x = match self {
            Task::Images(_) => g.input(name, &shape),
            Task::Text(_) => g.input_u32(name, &shape),
        };
        [x, self.label_input(g, n)]
    }

    /// Adds the input of the labels of `n` samples.
    #[track_caller]
    pub(crate) fn label_input<'g>(&self, g: &'g Graph, n: usize) -> Tensor<'g> {
        match self {
            Task::Images(_) => g.input_u32(LABELS, &[n]),
            Task::Text(text) => g.input_u32(LABELS, &[n, text.context]),
        }
    }

    /// The samples at `index`, changed at random as `drawn` says. An index behind the last sample gives one whose labels
    /// are no classes: it counts for nothing.
    ///
    /// # Panics
    ///
    /// As slices do, where there is no image at all.
    pub fn batch(&self, part: Part, index: &[u32], drawn: Option<Augmentation>) -> Fed {
        match self {
            Task::Images(images) => {
                let of = if part == Part::Train { &images.train } else { &images.test };
                let last = of.len().saturating_sub(1) as u32;
                let within: Vec<u32> = index.iter().map(|&i| i.min(last)).collect();
                let augment = drawn.filter(|d| d.augment != Augment::default());
                let batch = images.batch(of, &within, augment.map(|d| (d.augment, d.seed, d.epoch)));
                let label = |(&i, label): (&u32, u32)| if i > last { u32::MAX } else { label };
                Fed { x: Values::F32(batch.x), labels: index.iter().zip(batch.labels).map(label).collect() }
            }
            Task::Text(text) => {
                let of = if part == Part::Train { &text.train } else { &text.test };
                let batch = text.batch(of, index, drawn.map(|d| (d.seed, d.epoch)));
                Fed { x: Values::U32(batch.tokens), labels: batch.next }
            }
        }
    }
}

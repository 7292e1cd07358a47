//! What a run is, where it stands, and how it scores.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::train::interventions::{loss_scale::LossScale, sam::Perturbation};
use crate::{data::Vocabulary, nn::Loss, optim::*};

/// How the values that a step's second pass reads of its first are stored between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// As 16-bit floats ([`Graph::store_f16`](hillshade_engine::Graph::store_f16)): half the memory, for gradients with
    /// factors rounded to 11 bits. Parameters, losses, statistics, gradients and all sums stay as they are.
    F16,
}

/// What is trained, and how: everything that a run's numbers depend on beside the executor.
///
/// The default is what `hillshade train` does without options. Parts that configurations of earlier versions lack are
/// read as the default's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The network: [`Network::parse`](crate::Network::parse).
    pub model: String,
    /// The data: [`Task::open`](crate::Task::open).
    pub data: String,
    /// What the tokens of a text stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Vocabulary>,
    /// Its folder, where it does not have a usual one.
    pub folder: Option<PathBuf>,
    /// How many of the first training samples there are; all where it is not said. The scale of pixels stays that of all.
    pub limit: Option<usize>,
    /// Passes over the training samples.
    pub epochs: u32,
    /// Samples of a step; the rest of an epoch is left to other shuffles. A step on all samples takes them in their order.
    pub batch: usize,
    /// The loss.
    #[serde(default)]
    pub loss: Loss,
    /// The share of each label that goes to all classes alike, in training: [`Loss::smoothed`].
    #[serde(default)]
    pub smoothing: f64,
    /// The parameter of the distribution with which images are [mixed](crate::data::Mixup) in pairs, at most 4; 0 mixes none.
    #[serde(default)]
    pub mixup: f64,
    /// The update rule.
    pub optimizer: Optimizer,
    /// Where the gradient is taken, if not at the parameters.
    pub perturbation: Option<Perturbation>,
    /// The length to which longer gradients, of all parameters together, are shortened.
    pub clip: Option<f64>,
    /// Passes in which the images of a step go through the network, each with an equal part of them; the gradient is the
    /// mean over all. Batch normalization sees a part alone, and so does a [`Perturbation`]. 0 counts as 1.
    #[serde(default = "one")]
    pub accumulate: u32,
    /// How much of the running averages of parameters and statistics stays in a step, from 0 to below 1. It is
    /// `min(d, (1 + t)/(10 + t))` in step `t`, so that the first ones are soon forgotten. Tests are of the averages.
    pub average: Option<f64>,
    /// How activations are stored from the forward to the backward pass.
    #[serde(default)]
    pub precision: Precision,
    /// What the loss is multiplied by while its gradient is taken; steps whose gradient is not finite are left out.
    pub loss_scale: Option<LossScale>,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// Seed of parameters, shuffles, augmentation and dropout.
    pub seed: u64,
    /// Zero margin in pixels for random crops.
    pub crop: usize,
    /// Whether images are mirrored at random.
    pub flip: bool,
    /// After how many epochs what is held out is scored again; they are after the last one, too. 0 counts as 1.
    #[serde(default = "one")]
    pub test_every: u32,
}

fn one() -> u32 {
    1
}

impl Config {
    /// Passes of a step: more than one where gradients are accumulated.
    pub(crate) fn passes(&self) -> usize {
        self.accumulate.max(1) as usize
    }

    /// Samples of a pass.
    pub(crate) fn pass_samples(&self) -> usize {
        self.batch / self.passes()
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            model: "cnn".into(),
            data: "digits".into(),
            tokenizer: None,
            folder: None,
            limit: None,
            epochs: 15,
            batch: 64,
            loss: Loss::default(),
            optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 },
            perturbation: None,
            smoothing: 0.0,
            mixup: 0.0,
            clip: None,
            accumulate: 1,
            average: None,
            precision: Precision::F32,
            loss_scale: None,
            schedule: Schedule { rate: 0.05, shape: Shape::Cosine, warmup: 20 },
            seed: 0,
            crop: 0,
            flip: false,
            test_every: 1,
        }
    }
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

/// Loss and accuracy over some labels: images', or tokens'.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean of the run's [`Config::loss`]: cross-entropy in nats, or half the squared error; in training against the
    /// smoothed labels of mixed images.
    pub loss: f64,
    /// Share of labels whose logit is the largest, for mixed images the first one's; where images are to be given back, the
    /// mean of `1 − ‖y − x‖²/‖x‖²`.
    pub accuracy: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first version wrote.
    const OLD: &str = r#"{"model": "cnn", "data": "digits", "folder": null, "epochs": 15, "batch": 64,
        "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": true, "decay": 0.0005},
        "schedule": {"rate": 0.05, "shape": "cosine", "warmup": 20}, "seed": 0, "crop": 0, "flip": false}"#;

    #[test]
    fn old_configurations_are_read_as_they_were_meant() {
        let old: Config = serde_json::from_str(OLD).expect("all that is needed");
        assert_eq!(old, Config::default());
    }

    #[test]
    fn configurations_are_read_as_written() {
        for perturbation in [None, Some(Perturbation::Sam { rho: 0.1 }), Some(Perturbation::Asam { rho: 0.5 })] {
            let config =
                Config { limit: Some(5000), loss: Loss::Squared, perturbation, test_every: 20, ..Config::default() };
            let config = Config { smoothing: 0.1, mixup: 0.2, clip: Some(1.0), accumulate: 4, ..config };
            let (average, loss_scale) = (Some(0.99), Some(LossScale::Static(128.0)));
            let config = Config { average, precision: Precision::F16, loss_scale, ..config };
            let text = serde_json::to_string(&config).expect("text");
            assert!([r#""precision":"f16""#, r#""loss":"squared""#].iter().all(|part| text.contains(part)), "{text}");
            assert_eq!(serde_json::from_str::<Config>(&text).expect("the same"), config);
        }
    }
}

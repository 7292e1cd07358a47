//! A run's configuration, progress and score.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::train::{intervention::Intervention, interventions::*};
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

/// Declares [`Config`]: its parts, each with its default, and what each makes that changes a step, in the order in which
/// these act.
macro_rules! config {
    ($($(#[$attribute:meta])* $name:ident: $type:ty = $default:expr $(=> $makes:expr)?;)+) => {
        /// What is trained, and how: everything that a run's numbers depend on beside the executor.
        ///
        /// The default is what `hillshade train` does without options. Parts that configurations of earlier versions lack
        /// are read as the default's.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Config {
            $($(#[$attribute])* pub $name: $type,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Config { $($name: $default,)+ }
            }
        }

        impl Config {
            /// What changes a step, in order.
            pub(crate) fn interventions(&self) -> Vec<Box<dyn Intervention>> {
                let mut all: Vec<Box<dyn Intervention>> = Vec::new();
                $($(
                    let makes: fn($type) -> Option<_> = $makes;
                    all.extend(makes(self.$name).map(|how| Box::new(how) as Box<dyn Intervention>));
                )?)+
                all
            }
        }
    };
}

config! {
    /// The network: [`Network::parse`](crate::Network::parse).
    model: String = "cnn".into();
    /// The data: [`Task::open`](crate::Task::open).
    data: String = "digits".into();
    /// What the tokens of a text stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer: Option<Vocabulary> = None;
    /// Its folder, where it does not have a usual one.
    folder: Option<PathBuf> = None;
    /// How many of the first training samples there are; all where it is not said. The scale of pixels stays that of all.
    limit: Option<usize> = None;
    /// Passes over the training samples.
    epochs: u32 = 15;
    /// Samples of a step; the rest of an epoch is left to other shuffles. A step on all samples takes them in their order.
    batch: usize = 64;
    /// The loss.
    loss: Loss = Loss::default();
    /// The share of each label that goes to all classes alike, in training: [`Loss::smoothed`].
    smoothing: f64 = 0.0 => |share| (share != 0.0).then_some(Smoothing(share));
    /// The parameter of the distribution with which images are [mixed](crate::data::Mixup) in pairs, at most 4; 0 mixes none.
    mixup: f64 = 0.0 => |alpha| (alpha != 0.0).then_some(Mixing(alpha));
    /// The update rule.
    optimizer: Optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };
    /// Where the gradient is taken, if not at the parameters.
    perturbation: Option<Perturbation> = None => |how| how;
    /// Passes in which the images of a step go through the network, each with an equal part of them; the gradient is the
    /// mean over all. Batch normalization sees a part alone, and so does a [`Perturbation`]. 0 counts as 1.
    accumulate: u32 = 1 => |passes| (passes > 1).then_some(Accumulate(passes));
    /// What the loss is multiplied by while its gradient is taken; steps whose gradient is not finite are left out.
    loss_scale: Option<LossScale> = None => |scale| scale;
    /// The length to which longer gradients, of all parameters together, are shortened.
    clip: Option<f64> = None => |most| most.map(Clip);
    /// How much of the running averages of parameters and statistics stays in a step, from 0 to below 1. It is
    /// `min(d, (1 + t)/(10 + t))` in step `t`, so that the first ones are soon forgotten. Tests are of the averages.
    average: Option<f64> = None => |stays| stays.map(Average);
    /// How activations are stored from the forward to the backward pass.
    precision: Precision = Precision::F32;
    /// The learning rate over the run.
    schedule: Schedule = Schedule { rate: 0.05, shape: Shape::Cosine, warmup: 20 };
    /// Seed of parameters, shuffles, augmentation and dropout.
    seed: u64 = 0;
    /// Zero margin in pixels for random crops.
    crop: usize = 0;
    /// Whether images are mirrored at random.
    flip: bool = false;
    /// After how many epochs what is held out is scored again; they are after the last one, too. 0 counts as 1.
    test_every: u32 = 1;
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

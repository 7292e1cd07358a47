//! The model layer of Hillshade: parameters and layers, networks, optimizers, data, training, checkpoints.
//!
//! ```
#![doc = include_str!("../../examples/mlp.rs")]
//! # mod hillshade { pub mod engine { pub use hillshade_engine::*; } pub mod models { pub use hillshade_models::*; } }
//! ```
//!
//! The rooms below are in the order in which they build on one another: a module uses those above it, never those below.

pub(crate) mod error;

/// Labelled images and texts: the data sets that Hillshade opens, and the batches it draws from them.
pub mod data {
    pub(crate) mod batch;
    pub(crate) mod cifar;
    pub(crate) mod dataset;
    pub(crate) mod digits;
    pub(crate) mod files;
    pub(crate) mod folder;
    pub(crate) mod mixup;
    pub(crate) mod mnist;
    pub(crate) mod open;
    pub(crate) mod text;
    pub(crate) mod tokenizer;

    pub(crate) use files::*;
    pub use {batch::*, dataset::*, mixup::*, open::*, text::*, tokenizer::*};
}

/// Parameters, layers and losses.
pub(crate) mod nn {
    pub mod builder;
    pub mod init;
    pub mod layers;
    pub mod loss;
    pub mod norm;
    pub mod sequence;
    pub mod weight;

    pub use {builder::*, init::*, loss::*, norm::*, sequence::*, weight::*};
}

/// The networks: a table of families, each in a file of its own.
pub(crate) mod networks {
    pub mod autoencoder;
    pub mod choices;
    pub mod cnn;
    pub mod family;
    pub mod gpt2;
    pub mod lenet;
    pub mod llama;
    pub mod lstm;
    pub mod mlp;
    pub mod network;
    pub mod options;
    pub mod plain;
    pub mod resnet;
    pub mod vgg;
    pub mod vit;
    pub mod wrn;

    pub use {family::*, network::*, options::*};
}

/// Update rules, and learning rates over a run.
pub(crate) mod optim {
    pub mod rules;
    pub mod schedule;

    pub use {rules::*, schedule::*};
}

/// Training runs: their configuration, task, graphs, and what changes a step.
pub(crate) mod train {
    /// What changes a step.
    pub mod interventions {
        pub mod accumulate;
        pub mod average;
        pub mod clip;
        pub mod loss_scale;
        pub mod mixup;
        pub mod sam;
        pub mod smoothing;

        pub use {accumulate::*, average::*, clip::*, loss_scale::*, mixup::*, sam::*, smoothing::*};
    }

    pub mod check;
    pub mod config;
    pub mod intervention;
    pub mod step;
    pub mod task;
    pub mod trainer;

    pub use {config::*, task::*, trainer::*};
}

/// Runs and weights in files.
pub(crate) mod io {
    pub mod checkpoint;
    pub mod export;
    pub mod hugging_face;
    pub mod import;
    pub mod torch_layout;
}

pub(crate) mod generate;

pub use error::{Error, Result};
pub use generate::{Generator, Sampling};
pub use io::checkpoint::{Checkpoint, write_atomically};
pub use io::export::export;
pub use io::hugging_face::{Pretrained, pretrained};
pub use io::import::{Weights, import};
pub use io::torch_layout::{Tensor, to_torch};
pub use networks::{Choice, Family, Goal, Network, Setting, Takes};
pub use nn::{Builder, Init, Layer, Loss, Mode, Norm, Param, Reparametrization, Rope, RopeBands, Rotation};
pub use optim::{Adam, AdamW, Descent, Optimizer, Schedule, Sgd, Shape as ScheduleShape};
pub use train::intervention::{Intervention, Pass, Step};
pub use train::interventions::{LossScale, Perturbation};
pub use train::{Augmentation, Config, Fed, LABELS, Part, Precision, Progress, Score, Task, Trainer, Values};

//! The model layer of Hillshade: parameters and layers, networks, optimizers, data, training, checkpoints.

mod checkpoint;
mod config;
pub mod data;
mod error;
mod export;
mod generate;
mod import;
mod init;
mod layer;
mod loss;
mod network;
mod optim;
mod scale;
mod schedule;
mod sharpness;
mod task;
mod torch;
mod train;

pub use checkpoint::{Checkpoint, write_atomically};
pub use config::{Config, Precision, Progress, Score};
pub use error::{Error, Result};
pub use export::export;
pub use generate::{Generator, Sampling};
pub use import::{Pretrained, Weights, import, pretrained};
pub use init::Init;
pub use layer::{Builder, Layer, Mode, Norm, Param, Reparametrization, Rope, RopeBands, Rotation};
pub use loss::Loss;
pub use network::{Choice, Family, Goal, Network, Setting, Takes};
pub use optim::Optimizer;
pub use scale::LossScale;
pub use schedule::{Schedule, Shape as ScheduleShape};
pub use sharpness::Perturbation;
pub use task::{Drawn, Fed, LABELS, Part, Task, Values};
pub use torch::{Tensor, to_torch};
pub use train::Trainer;

//! The model layer of Hillshade: parameters and layers, networks, optimizers, data, training, checkpoints.

mod checkpoint;
pub mod data;
mod error;
mod import;
mod init;
mod layer;
mod network;
mod optim;
mod schedule;
mod train;

pub use checkpoint::{Checkpoint, write_atomically};
pub use error::{Error, Result};
pub use import::{Tensor, import};
pub use init::Init;
pub use layer::{Builder, Mode, Param};
pub use network::{Cnn, Mlp, Network, ResNet};
pub use optim::Optimizer;
pub use schedule::{Schedule, Shape as ScheduleShape};
pub use train::{Config, Progress, Score, Trainer};

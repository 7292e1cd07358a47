//! Which of a run's weights a command takes.

use clap::ValueEnum;
use hillshade::models::Weights;

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Last,
    Average,
}

/// The option of commands that take weights.
#[derive(clap::Args)]
pub struct Choice {
    /// Weights of a run: those of the last step, or their running averages. By default the averages where the run keeps
    /// them, as in its tests.
    #[arg(long, value_enum)]
    weights: Option<Name>,
}

impl Choice {
    /// What was asked for, if anything.
    pub fn wanted(&self) -> Option<Weights> {
        self.weights.map(|name| match name {
            Name::Last => Weights::Last,
            Name::Average => Weights::Average,
        })
    }
}

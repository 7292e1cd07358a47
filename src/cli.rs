//! Commands, their options, and how the program ends.

mod descent;
mod devices;
mod eval;
mod executor;
mod export;
mod folder;
mod generate;
mod landscape;
mod networks;
mod numbers;
mod profile;
mod results;
mod sharpness;
mod spectrum;
mod statistics;
mod subject;
mod train;
mod verify;
mod weights;

use std::{
    fmt::Display,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use hillshade::models;

/// A GPU training engine that can see the shape of its own loss.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the adapters: name, backend, driver, tier, limits, features.
    Devices(devices::Options),
    /// List the networks with their options, or one network's layers with shapes, parameters and costs.
    Models(networks::Options),
    /// Train a network; with no options, the CNN on the built-in digits.
    Train(Box<train::Options>),
    /// Score a run's checkpoint on the test set.
    Eval(eval::Options),
    /// Continue a text with a language model.
    Generate(generate::Options),
    /// Write a run's weights as PyTorch's load_state_dict takes them.
    Export(export::Options),
    /// Measure a loss's curvature: eigenvalues, trace and density, as numbers and as a plot.
    Spectrum(spectrum::Options),
    /// Time one training step or one product with a curvature matrix, kernel by kernel, beside the device's roofline.
    Profile(profile::Options),
    /// Check the curvature of a network by identities that must hold for it; ends with 1 where one does not.
    Verify(verify::Options),
    /// Measure a loss along one or two directions, as numbers and as a plot.
    Landscape(landscape::Options),
    /// Measure gradient steps of several sizes: the loss, the change of the gradient, the effective smoothness.
    Descent(descent::Options),
    /// Measure sharpness: by how much a loss increases within a radius, on average and in the worst case.
    Sharpness(sharpness::Options),
}

/// Ends in a line that says what was expected and found.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The model layer's or the engine's.
    #[error(transparent)]
    Models(#[from] models::Error),
    /// The lab's.
    #[error(transparent)]
    Lab(hillshade::lab::Error),
    /// Checks that failed, of so many.
    #[error("expected every identity to hold, found {failed} of {all} that do not")]
    Unverified { failed: usize, all: usize },
    /// The run was stopped from the keyboard, after a checkpoint.
    #[error("stopped; resume with: hillshade train --resume {}", quoted(.0))]
    Stopped(PathBuf),
}

impl From<hillshade::engine::Error> for Error {
    fn from(e: hillshade::engine::Error) -> Self {
        Error::Models(e.into())
    }
}

impl From<hillshade::lab::Error> for Error {
    fn from(e: hillshade::lab::Error) -> Self {
        match e {
            hillshade::lab::Error::Models(e) => Error::Models(e),
            e => Error::Lab(e),
        }
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text }
}

type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// 2 for bad input, 1 for failures while running, 130 after Ctrl-C.
    fn code(&self) -> u8 {
        use hillshade::engine::Error as Engine;
        match self {
            Error::Stopped(_) => 130,
            Error::Unverified { .. } => 1,
            Error::Lab(hillshade::lab::Error::NotFinite { .. } | hillshade::lab::Error::NotDeterministic { .. }) => 1,
            Error::Lab(_) => 2,
            Error::Models(models::Error::Diverged { .. }) => 1,
            Error::Models(models::Error::Io { what: "write", .. }) => 1,
            Error::Models(models::Error::Engine(e)) => match e {
                Engine::OutOfMemory(_) | Engine::DeviceLost(_) | Engine::Device(_) => 1,
                _ => 2,
            },
            Error::Models(_) => 2,
        }
    }
}

/// Prints a result. A reader who has left, as in `hillshade devices | head`, is no failure.
fn print(text: impl Display) -> Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(models::Error::Io { what: "write", path: "standard output".into(), source }.into())
        }
        _ => Ok(()),
    }
}

/// Says how it goes on standard error. Work goes on where nobody can be told.
fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Runs the program.
pub fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Devices(options) => devices::run(&options),
        Command::Models(options) => networks::run(&options),
        Command::Train(options) => train::run(&options),
        Command::Eval(options) => eval::run(&options),
        Command::Generate(options) => generate::run(&options),
        Command::Export(options) => export::run(&options),
        Command::Spectrum(options) => spectrum::run(&options),
        Command::Profile(options) => profile::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Landscape(options) => landscape::run(&options),
        Command::Descent(options) => descent::run(&options),
        Command::Sharpness(options) => sharpness::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(format_args!("hillshade: {}", e.to_string().replace('\n', " ")));
            ExitCode::from(e.code())
        }
    }
}

//! What can go wrong with networks, data and files, said with what was expected and what was found.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that the crate refuses or that fails under it. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is at any of the places where it could be.
    #[error("expected {what}, found nothing at {}", list(looked))]
    Missing {
        /// What was looked for.
        what: String,
        /// Every path that was tried.
        looked: Vec<PathBuf>,
    },
    /// A path is there but the system does not let it be read or written.
    #[error("expected to {what} {path}, found: {source}", path = path.display())]
    Io {
        /// What was being done, as a verb: `read`, `write`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or folder is there but does not hold what its format says.
    #[error("{path}: expected {expected}, found {found}", path = path.display())]
    Format {
        /// The file or folder; a member of an archive follows the archive's path.
        path: PathBuf,
        /// What the format asks for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A name is not among those known.
    #[error("expected a {what} among {known}, found {name:?}")]
    Name {
        /// What is named: a data set, a network.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An argument has a value that cannot be used.
    #[error("{what}: expected {expected}, found {found}")]
    Argument {
        /// Which argument.
        what: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Training has run away.
    #[error("expected a finite loss, found {loss} at step {step}: the learning rate {rate} is too large{}", or(*half))]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
        /// The learning rate.
        rate: f64,
        /// Whether activations are stored as 16-bit floats.
        half: bool,
    },
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] hillshade_engine::Error),
}

impl Error {
    /// What to make of the system's reason for not doing something with a path.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Error::Io { what, path: path.into(), source }
    }

    /// An [`Error::Format`].
    pub(crate) fn format(path: &Path, expected: impl ToString, found: impl ToString) -> Self {
        Error::Format { path: path.into(), expected: expected.to_string(), found: found.to_string() }
    }

    /// An [`Error::Argument`].
    pub(crate) fn argument(what: impl ToString, expected: impl ToString, found: impl ToString) -> Self {
        Error::Argument { what: what.to_string(), expected: expected.to_string(), found: found.to_string() }
    }
}

/// What else may have made a loss infinite.
fn or(half: bool) -> &'static str {
    if half { ", or an activation is above 65504, the largest number of f16" } else { "" }
}

/// `a, b, c`.
fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_expected_and_found_in_one_line() {
        let missing = Error::Missing { what: "a file".into(), looked: vec!["x".into(), "x.gz".into()] };
        let name = Error::Name { what: "data set", name: "x\n".into(), known: "y, z".into() };
        let diverged = Error::Diverged { step: 3, loss: f64::NAN, rate: 0.5, half: true };
        let x = Path::new("x");
        let errors = [
            (missing, "expected a file, found nothing at x, x.gz"),
            (Error::io("read", x)(io::Error::other("no right to")), "expected to read x, found: no right to"),
            (Error::format(x, "2 bytes", 1), "x: expected 2 bytes, found 1"),
            (name, "expected a data set among y, z, found \"x\\n\""),
            (Error::argument("seed", "a number", "x"), "seed: expected a number, found x"),
            (
                diverged,
                "expected a finite loss, found NaN at step 3: the learning rate 0.5 is too large, or an activation is above \
                 65504, the largest number of f16",
            ),
        ];
        for (error, message) in errors {
            assert_eq!(error.to_string(), message);
        }
    }
}

//! What can go wrong with a measurement, said with what was expected and what was found.

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that the crate refuses or that fails under it. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// A measurement does not fit in memory.
    #[error("{what} needs {needed} bytes, {available} are available; {fits}")]
    Memory {
        /// The measurement.
        what: String,
        /// What it needs.
        needed: u64,
        /// What there is.
        available: u64,
        /// What would fit.
        fits: String,
    },
    /// The same loss at the same point came out differently, so there is no one matrix to measure.
    #[error("expected the same gradient twice, found {differing} of {count} entries different, by up to {most:e}")]
    NotDeterministic {
        /// Entries that differ.
        differing: usize,
        /// Entries.
        count: usize,
        /// The largest difference.
        most: f32,
    },
    /// A number is not finite.
    #[error("expected finite numbers, found {found} in {what}")]
    NotFinite {
        /// Where.
        what: String,
        /// What was found.
        found: f64,
    },
    /// The model layer or the engine refused or failed.
    #[error(transparent)]
    Models(#[from] hillshade_models::Error),
}

impl From<hillshade_engine::Error> for Error {
    fn from(e: hillshade_engine::Error) -> Self {
        Error::Models(e.into())
    }
}

pub(crate) fn argument(what: &str, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::Argument { what: what.into(), expected: expected.into(), found: found.to_string() }
}

/// Refuses an argument where a condition says so.
macro_rules! refuse {
    ($when:expr, $what:expr, $expected:expr, $found:expr) => {
        if $when {
            return Err($crate::error::argument($what, $expected, $found));
        }
    };
}
pub(crate) use refuse;

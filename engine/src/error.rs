//! The engine's errors, which say what was asked and what was there.

use crate::tensor::DType;

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that the engine refuses or that fails under it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule was broken while a graph was built.
    #[error("{error} (at {place})")]
    At {
        /// The rule.
        #[source]
        error: Box<Error>,
        /// Where in the source.
        place: &'static std::panic::Location<'static>,
    },
    /// Operands break an op's shape rule.
    #[error("{op}: {rule}, got {got}")]
    Shape {
        /// The op that refused.
        op: &'static str,
        /// The rule, as a formula.
        rule: String,
        /// The shapes that were given.
        got: String,
    },
    /// An operand has the wrong element type.
    #[error("{op}: operand {operand} must be {expected}, got {found}")]
    DType {
        /// The op that refused.
        op: &'static str,
        /// Which operand, from 0.
        operand: usize,
        /// The type asked for.
        expected: DType,
        /// The type found.
        found: DType,
    },
    /// An op has no derivative rule for what was asked; never a silent zero.
    #[error("{op} has no {rule} rule: {why}")]
    NoRule {
        /// The op without the rule.
        op: &'static str,
        /// `vjp` or `jvp`.
        rule: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// A name is used twice, or not known.
    #[error("{what} \"{name}\": {problem}")]
    Name {
        /// What is named: an input, a state.
        what: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Data of the wrong length or type was given for a value.
    #[error("{what}: expected {expected}, got {found}")]
    Data {
        /// Whose data.
        what: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// No adapter matches.
    #[error("no adapter {wanted}; there are: {available}")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// The adapters there are.
        available: String,
    },
    /// The device's limits are exceeded.
    #[error("{what} needs {needed}, the device allows {limit}")]
    Limit {
        /// What exceeds the limit.
        what: String,
        /// How much it needs.
        needed: u64,
        /// How much there is.
        limit: u64,
    },
    /// The planned memory does not fit.
    #[error("the program needs {needed} bytes at its peak, {available} are available")]
    Memory {
        /// The planned peak.
        needed: u64,
        /// What may be used.
        available: u64,
    },
    /// The device ran out of memory.
    #[error("the device is out of memory: {0}")]
    OutOfMemory(String),
    /// The device is gone.
    #[error("the device was lost: {0}")]
    DeviceLost(String),
    /// The driver or wgpu reported a fault.
    #[error("the device reported: {0}")]
    Device(String),
}

impl Error {
    /// What went wrong, without the place in the source.
    pub fn cause(&self) -> &Error {
        match self {
            Error::At { error, .. } => error.cause(),
            error => error,
        }
    }
}

//! Scopes: states of a session under names of their own, which go together.

use std::sync::{Arc, Mutex, PoisonError};

/// What [`Session::scope`](crate::Session::scope) gives: states whose names begin with [`Scope::name`] are nobody else's, and
/// are removed from the session when it is next changed after the scope is gone.
#[derive(Debug)]
pub struct Scope {
    prefix: String,
    gone: Gone,
}

/// Prefixes of scopes that are gone.
type Gone = Arc<Mutex<Vec<String>>>;

impl Scope {
    /// The name of a state in this scope.
    pub fn name(&self, of: &str) -> String {
        format!("{}{of}", self.prefix)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.prefix));
    }
}

/// The scopes of a session.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    opened: usize,
    gone: Gone,
}

impl Scopes {
    pub(crate) fn open(&mut self) -> Scope {
        self.opened += 1;
        Scope { prefix: format!("scope/{}/", self.opened), gone: self.gone.clone() }
    }

    /// The prefixes of scopes that have gone since this was last asked.
    pub(crate) fn gone(&self) -> Vec<String> {
        std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

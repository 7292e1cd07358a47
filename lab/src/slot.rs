//! Places on a session.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use hillshade_engine::Session;

/// A number that nothing else has: what is kept on a session goes by it, so that one does not write over what another
/// reads.
#[derive(Debug)]
pub(crate) struct Slot(usize);

/// The numbers that are in use, and how many there were.
static SLOTS: Mutex<(BTreeSet<usize>, usize)> = Mutex::new((BTreeSet::new(), 0));

/// What comes before the number in the names of states.
const PREFIX: &str = "lab/slot/";

impl Slot {
    pub fn take() -> Self {
        let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        let own = slots.1;
        slots.1 += 1;
        slots.0.insert(own);
        Slot(own)
    }

    /// The same; what slots that are gone have left on the session is dropped first.
    pub fn on(session: &mut Session) -> Self {
        let used = SLOTS.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        for name in session.names() {
            let slot = name.strip_prefix(PREFIX).and_then(|rest| rest.split('/').next()?.parse().ok());
            if slot.is_some_and(|slot: usize| !used.contains(&slot)) {
                session.remove(&name);
            }
        }
        Slot::take()
    }

    /// A state's name.
    pub fn name(&self, of: &str) -> String {
        format!("{PREFIX}{}/{of}", self.0)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        SLOTS.lock().unwrap_or_else(PoisonError::into_inner).0.remove(&self.0);
    }
}

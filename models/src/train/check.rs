//! Checks of a run's configuration, before anything is drawn.

use hillshade_engine::{Graph, Session};

use crate::train::{config::Config, intervention::expect, task::*};
use crate::{error::*, nn::*};

/// Refuses a number of samples that there are not.
pub(crate) fn within(what: &str, task: &Task, found: usize) -> Result<()> {
    let (all, samples) = (task.len(Part::Train), task.samples());
    expect((2..=all).contains(&found), what, format!("2 to {all}, the number of training {samples}"), found)
}

/// Refuses a network that is too large before any of its parameters is drawn.
pub(crate) fn fits(g: &Graph, b: &Builder, session: &Session, config: &Config) -> Result<()> {
    let count = |p: &Param| p.shape.iter().fold(1, |n: usize, &extent| n.saturating_mul(extent));
    if let Some(p) = b.params.iter().find(|p| count(p) > u32::MAX as usize) {
        let expected = format!("parameters of at most {} values, as far as indices reach", u32::MAX);
        return Err(Error::argument(&config.model, expected, format!("\"{}\" of shape {:?}", p.name, p.shape)));
    }
    // No state is set yet, so compiling goes no further than the plan and its size.
    match session.compile(g, &[]) {
        Err(e @ hillshade_engine::Error::Memory { .. }) => Err(e.into()),
        _ => Ok(()),
    }
}

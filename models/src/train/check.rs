//! What a run cannot be is refused before anything is drawn.

use hillshade_engine::Session;

use super::graph;
use crate::{
    Builder, Config, Error, LossScale, Param, Result,
    task::{Part, Task},
};

/// Refuses a number of samples that there are not.
pub(super) fn within(what: &str, task: &Task, found: usize) -> Result<()> {
    let (all, samples) = (task.len(Part::Train), task.samples());
    if (2..=all).contains(&found) {
        return Ok(());
    }
    let expected = format!("2 to {all}, the number of training {samples}");
    Err(Error::Argument { what: what.into(), expected, found: found.to_string() })
}

/// Refuses a network that is too large before any of its parameters is drawn.
pub(super) fn fits(b: &Builder, session: &Session, config: &Config) -> Result<()> {
    let count = |p: &Param| p.shape.iter().fold(1, |n: usize, &extent| n.saturating_mul(extent));
    if let Some(p) = b.params.iter().find(|p| count(p) > u32::MAX as usize) {
        return Err(Error::Argument {
            what: config.model.clone(),
            expected: format!("parameters of at most {} values, as far as indices reach", u32::MAX),
            found: format!("\"{}\" of shape {:?}", p.name, p.shape),
        });
    }
    // No state is set yet, so compiling goes no further than the plan and its size.
    match session.compile(&b.g, &[]) {
        Err(e @ hillshade_engine::Error::Memory { .. }) => Err(e.into()),
        _ => Ok(()),
    }
}

/// Refuses numbers out of their ranges.
pub(super) fn check(config: &Config, task: &Task) -> Result<()> {
    let refuse =
        |what: &str, expected: String, found: String| Err(Error::Argument { what: what.into(), expected, found });
    let passes = graph::passes(config);
    if !config.batch.is_multiple_of(passes) || config.batch / passes < 2 {
        let expected = format!("equal parts of 2 or more of {} {}", config.batch, task.samples());
        return refuse("accumulate", expected, passes.to_string());
    }
    for (what, share) in [("smoothing", Some(config.smoothing)), ("average", config.average)] {
        if let Some(share) = share.filter(|share| !(0.0..1.0).contains(share)) {
            return refuse(what, "a number from 0 to below 1".into(), format!("{share:?}"));
        }
    }
    if let Some(LossScale::Static(scale)) = config.loss_scale
        && !(scale > 0.0 && (scale as f32).is_normal())
    {
        return refuse("loss-scale", "a positive number from 1e-37 to 1e38, or dynamic".into(), format!("{scale:?}"));
    }
    if config.loss_scale.is_some() && config.perturbation.is_some() {
        return refuse("loss-scale", "no sharpness-aware steps beside it".into(), "both".into());
    }
    if !(0.0..=4.0).contains(&config.mixup) {
        return refuse("mixup", "a number from 0 to 4".into(), format!("{:?}", config.mixup));
    }
    if config.mixup > 0.0 && task.images().is_none() {
        return refuse("mixup", "images to mix".into(), config.data.clone());
    }
    match config.clip.filter(|&most| !(most > 0.0 && (most as f32).is_normal())) {
        Some(most) => refuse("clip", "a positive number from 1e-37 to 1e38".into(), format!("{most:?}")),
        None => Ok(()),
    }
}

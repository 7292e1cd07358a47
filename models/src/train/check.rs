//! What a run cannot be is refused before anything is drawn.

use hillshade_engine::{Graph, Session};

use crate::train::{config::Config, interventions::loss_scale::LossScale, task::*};
use crate::{error::*, nn::*};

/// Refuses a number of samples that there are not.
pub(crate) fn within(what: &str, task: &Task, found: usize) -> Result<()> {
    let (all, samples) = (task.len(Part::Train), task.samples());
    match (2..=all).contains(&found) {
        true => Ok(()),
        false => Err(Error::argument(what, format!("2 to {all}, the number of training {samples}"), found)),
    }
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

/// Refuses numbers out of their ranges.
pub(crate) fn check(config: &Config, task: &Task) -> Result<()> {
    let normal = |v: f64| v > 0.0 && (v as f32).is_normal();
    let share = |share: f64| (0.0..1.0).contains(&share);
    let (below, positive) = ("a number from 0 to below 1", "a positive number from 1e-37 to 1e38");
    let parts = format!("equal parts of 2 or more of {} {}", config.batch, task.samples());
    let scale =
        config.loss_scale.and_then(|scale| if let LossScale::Static(scale) = scale { Some(scale) } else { None });
    let dynamic = format!("{positive}, or dynamic");
    let told = |v: Option<f64>| format!("{:?}", v.unwrap_or_default());
    for (is_good, what, expected, found) in [
        (
            config.batch.is_multiple_of(config.passes()) && config.pass_samples() >= 2,
            "accumulate",
            parts.as_str(),
            config.passes().to_string(),
        ),
        (share(config.smoothing), "smoothing", below, told(Some(config.smoothing))),
        (config.average.is_none_or(share), "average", below, told(config.average)),
        (scale.is_none_or(normal), "loss-scale", dynamic.as_str(), told(scale)),
        (
            config.loss_scale.is_none() || config.perturbation.is_none(),
            "loss-scale",
            "no sharpness-aware steps beside it",
            "both".into(),
        ),
        ((0.0..=4.0).contains(&config.mixup), "mixup", "a number from 0 to 4", told(Some(config.mixup))),
        (config.mixup == 0.0 || task.images().is_some(), "mixup", "images to mix", config.data.clone()),
        (config.clip.is_none_or(normal), "clip", positive, told(config.clip)),
    ] {
        if !is_good {
            return Err(Error::argument(what, expected, found));
        }
    }
    Ok(())
}

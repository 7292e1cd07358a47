//! Curvature and landscapes, against closed forms, other tools and identities.

#[path = "../common/mod.rs"]
mod common;

mod batch_norm_of_the_set;
mod closed_forms;
mod curvature;
mod descent;
mod examples;
mod fisher_targets;
mod landscape;
mod matrices;
mod spectra;
mod traces;
mod verify;

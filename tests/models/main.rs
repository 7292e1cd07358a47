//! Networks, their losses and optimizers, and training runs, against PyTorch, the reference and formulas.

#[path = "../common/mod.rs"]
mod common;

mod edges_of_steps;
mod examples;
mod f16_training;
mod golden;
mod interventions;
mod language;
mod models;
mod networks;
mod partial_evaluation;
mod resnet20;
mod sequences;
mod training;

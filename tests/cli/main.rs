//! The program as its users meet it: what it prints and writes, how it ends, what survives when it is stopped.

#[path = "../common/mod.rs"]
mod common;

mod interface;
mod landscapes;
mod profiles;
mod program;
mod refusals;
mod reproducibility;
mod stops;
mod texts;
mod verify;
mod zoo;

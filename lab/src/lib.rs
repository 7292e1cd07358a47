//! The lab of Hillshade: exact curvature of any loss graph, and what one measures with it.
//!
//! ```
#![doc = include_str!("../../examples/spectrum.rs")]
//! # mod hillshade {
//! #     pub mod engine { pub use hillshade_engine::*; }
//! #     pub mod models { pub use hillshade_models::*; }
//! #     pub mod lab { pub use hillshade_lab::*; }
//! # }
//! ```
//!
//! What builds graphs or runs on a session can fail with the errors of the engine and the models, and of the functions that it
//! calls; a section on errors says with which others.
//!
//! The rooms below are in the order in which they build on one another: a module uses those above it, never those below.

pub(crate) mod error;
pub(crate) mod layout;
pub(crate) mod problem;

/// Curvature matrices as operators, on vectors that stay on the session.
pub(crate) mod operator {
    pub mod curvature;
    pub mod gradient;
    pub mod matrix;
    pub mod memory;
    pub mod micro_batches;
    pub mod operator;
    pub mod product;
    pub mod programs;
    pub mod vectors;

    pub use {curvature::*, gradient::*, matrix::*, memory::*, operator::*, vectors::*};
    pub(crate) use {micro_batches::*, programs::*};
}

/// Eigenvalues, traces and densities from products.
pub(crate) mod solve {
    pub mod eigen;
    pub mod krylov;
    pub mod lobpcg;
    pub mod slq;
    pub mod trace;
    pub mod tracker;

    pub use {eigen::*, lobpcg::*, slq::*, trace::*, tracker::*};
}

/// The loss along directions.
pub(crate) mod landscape {
    pub mod directions;
    pub mod flips;
    pub mod grid;
    pub mod landscape;
    pub mod measures;

    pub use {directions::*, flips::*, grid::*, landscape::*, measures::*};
}

/// Identities that the symmetries of a network impose on its gradient and curvature.
pub(crate) mod verify {
    pub mod check;
    pub mod structure;
    pub mod symmetry;
    pub mod verify;

    pub use {check::*, symmetry::*, verify::*};
}

pub use error::{Error, Result};
pub use landscape::{
    Ball, Conditions, Direction, Directions, Flips, Grid, Landscape, Principal, Scaling, Secant, Sharpness, Statistics,
    Step, StepPoint, average_sharpness, parameters, places, secant, step_measures, worst_sharpness,
};
pub use layout::Block;
pub use operator::{
    Combination, Curvature, Dense, Gradient, Matrix, Operator, Options, Outer, Point, Probe, Setting, Vectors, dense,
    input, output,
};
pub use problem::{BatchNorm, Likelihood, Parts, Problem, Samples};
pub use solve::{
    Density, Diagonal, Eigen, End, Estimate, Lobpcg, Quadrature, Sampling, Search, Tracked, Tracker, Value, Watch,
    diagonal, eigenvalues, found, hutch_plus_plus, hutchinson, layer_traces, power_iteration, xtrace,
};
pub use verify::{Check, Status, Verified, Verify, consistency, symmetries, verify::verify};

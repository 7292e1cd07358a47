//! The lab of Hillshade: exact curvature of any loss graph, and what one measures with it.

mod curvature;
mod eigen;
mod error;
mod gradient;
mod kind;
mod krylov;
mod landscape;
mod lobpcg;
mod operator;
mod passes;
mod problem;
mod quadrature;
mod slot;
mod structure;
mod symmetry;
mod trace;
mod tracker;
mod vectors;
mod verify;

pub use curvature::{Curvature, Options, Point};
pub use eigen::{Eigen, End, Search, Value, Watch, eigenvalues, found, power_iteration};
pub use error::{Error, Result};
pub use gradient::{Block, Gradient};
pub use kind::Kind;
pub use landscape::{
    Ball, Conditions, Direction, Directions, Flips, Grid, Landscape, Principal, Scaling, Secant, Sharpness, Statistics,
    Step, StepPoint, average_sharpness, parameters, places, secant, step_measures, worst_sharpness,
};
pub use lobpcg::Lobpcg;
pub use operator::{Combination, Dense, Operator, Outer, Setting, dense};
pub use problem::{BatchNorm, Likelihood, Parts, Problem, Samples};
pub use quadrature::{Density, Quadrature};
pub use symmetry::symmetries;
pub use trace::{Diagonal, Estimate, Sampling, diagonal, hutch_plus_plus, hutchinson, layer_traces, xtrace};
pub use tracker::{Tracked, Tracker};
pub use vectors::{Probe, Vectors, input, output};
pub use verify::{Check, Status, Verified, Verify, consistency, verify};

//! Tests of the engine: graphs, derivatives, the compiler, the executors, and the kernels' texts.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/writers.rs"]
mod writers;

mod attention;
mod compile;
mod derivatives;
mod each_class;
mod edges_on_devices;
mod edges_on_the_cpu;
mod errors;
mod execution;
mod f16_storage;
mod fusions;
mod gemm_variants;
mod long_axes_on_devices;
mod numbers;
mod operators;
mod ops;
mod plan;
mod refusals;
mod rooms;
mod sessions;
mod shaders;
mod updates;
mod vmap;

//! The engine of Hillshade: graphs of tensor operations, their derivatives of any order, a compiler, and three executors.
//!
//! ```
#![doc = include_str!("../../examples/hvp.rs")]
//! # mod hillshade { pub mod engine { pub use hillshade_engine::*; } }
//! ```
//!
//! Users write ops of their own as the engine's are written:
//!
//! ```
#![doc = include_str!("../../examples/custom_op.rs")]
//! # mod hillshade { pub mod engine { pub use hillshade_engine::*; } }
//! ```
//!
//! The rooms below are in the order in which they build on one another: a module uses those above it, never those below.

pub(crate) mod error;

/// What values are: element types, shapes, the geometry of convolutions, counter-based random numbers.
pub(crate) mod tensor {
    pub mod dtype;
    pub mod geometry;
    pub mod philox;
    pub mod shape;
    pub(crate) mod stack;

    pub(crate) use {dtype::*, geometry::*, philox::*, shape::*, stack::*};
}

/// Loops on the CPU, in f32 and f64: they know slices and extents, and neither graphs nor ops.
pub(crate) mod cpu {
    pub mod aligned;
    pub mod buffer;
    pub mod channels;
    pub mod epilogue;
    pub mod float;
    pub mod math;
    pub mod scratch;
    pub mod slices;
    pub mod stack;

    /// Convolutions.
    pub mod conv {
        pub mod depthwise;
        pub mod direct;
        pub mod patches;
        pub mod sums;
        pub mod vectors;
        pub mod winograd;
    }

    pub(crate) use {aligned::*, buffer::*, channels::*, epilogue::*, float::*, slices::*, stack::*};
}

/// Dispatches as data, and what kernels are chosen for.
pub(crate) mod launch {
    pub mod launch;
    pub mod target;

    pub(crate) use {launch::*, target::*};
}

/// Programs as data: graphs, ops, the handles by which formulas are written, and test cases.
pub(crate) mod graph {
    pub mod cases;
    pub mod graph;
    pub mod op;
    pub mod tensor;

    pub(crate) use {cases::*, graph::*, op::*, tensor::*};
}

pub mod ops;

/// From graphs to plans: pruned, merged, fused, placed.
pub(crate) mod compile {
    pub mod fuse;
    pub mod plan;
    pub mod simplify;

    pub(crate) use {fuse::*, plan::*, simplify::*};
}

/// Derivatives and other transformations of graphs.
pub(crate) mod diff {
    pub mod f16;
    pub mod grad;
    pub mod partial_eval;
    pub mod vmap;
}

/// The device: the only room that names wgpu, beside its executor.
pub(crate) mod device {
    pub mod gpu;
    pub mod pipeline;
    pub mod timestamps;

    pub(crate) use {gpu::*, timestamps::*};
}

/// Executors and what is measured on them.
pub(crate) mod run {
    pub mod ceilings;
    pub mod cpu;
    pub mod device;
    pub mod inputs;
    pub mod profile;
    pub mod scope;
    pub mod self_test;
    pub mod session;
}

pub use compile::plan::{Named, Place, Plan, Step};
pub use cpu::{
    buffer::{In, Operand, OutMut},
    float::{Mat, Real},
    stack::{Stack, Term},
};
pub use device::gpu::{Adapter, Gpu, Options, adapters};
pub use diff::partial_eval::PartialEval;
pub use error::{Error, Result};
pub use graph::cases::{Generator, OperandData, TestCase};
pub use graph::{
    graph::{Graph, Node, Source, Var},
    op::{At, Derivatives, Op, Same, Stacked},
    tensor::Tensor,
};
pub use launch::{
    launch::{Bind, Launch, Launches},
    target::{Class, Cooperative, GemmVariant, Target, Tier},
};
pub use ops::{Adam, Attention, Map, Pointwise, Pool, Rule, Sgd, Update};
pub use run::{
    ceilings::Ceilings,
    inputs::{Data, Inputs, Key},
    profile::{Profile, Span},
    scope::Scope,
    session::{Program, Session},
};
pub use tensor::{
    dtype::{DType, Type},
    geometry::{Conv, Geometry},
    philox::philox,
    shape::{self, Shape},
};

/// Waits for a future on this thread; not in the browser, where nothing may block.
#[cfg(not(target_arch = "wasm32"))]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

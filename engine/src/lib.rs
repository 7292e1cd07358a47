//! The engine of Hillshade: graphs of tensor operations, their derivatives of any order, a compiler, and three executors.

mod array;
mod batch;
mod blocks;
mod case;
mod ceilings;
mod channels;
mod compile;
mod conv;
mod cooperative;
mod cpu;
mod depthwise;
mod device;
mod direct;
mod error;
mod feed;
mod finish;
mod functions;
mod fuse;
mod gemm;
mod gpu;
mod grad;
mod graph;
mod heads;
mod kernel;
mod ladder;
mod lent;
mod map;
mod norm;
mod op;
pub mod ops;
mod phases;
mod plan;
mod profile;
mod real;
mod reduce;
mod rows;
mod session;
pub mod shape;
mod split;
mod stack;
mod store;
mod strided;
mod tangent;
mod update;
mod winograd;

pub use batch::Stacked;
pub use case::{Case, Drawn, Sample};
pub use ceilings::Ceilings;
pub use conv::{Conv, Geometry};
pub use cooperative::Cooperative;
pub use direct::Direct;
pub use error::{Error, Result};
pub use feed::Data;
pub use gpu::{Adapter, Class, Gpu, Options, Tier, adapters};
pub use graph::{Graph, Node, Source, Var};
pub use ladder::Variant;
pub use map::{Map, Pointwise};
pub use op::{At, Bind, Launch, Launches, Op, Operand, Type};
pub use ops::{Adam, Attention, Pool, Sgd};
pub use plan::{Named, Place, Plan, Step};
pub use profile::{Profile, Span};
pub use real::{In, Mat, OutMut, Real};
pub use session::{Program, Session};
pub use shape::Shape;
pub use split::Split;
pub use stack::{Stack, Term};
pub use update::{Rule, Update};

/// Element type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float; f64 in the twin.
    F32,
    /// 32-bit index.
    U32,
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::U32 => "u32",
        })
    }
}

/// Waits for a future on this thread; not in the browser, where nothing may block.
#[cfg(not(target_arch = "wasm32"))]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

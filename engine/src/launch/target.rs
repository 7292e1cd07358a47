//! What graphs are compiled for: the CPU or a device, tiers and classes of devices, GEMM variants.

use std::fmt;

/// How capable an adapter is; every kernel has a portable variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// WebGPU's default limits, f32.
    Portable,
    /// Subgroups.
    Native,
    /// Cooperative matrices.
    Cooperative,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Tier::Portable => "portable",
            Tier::Native => "native",
            Tier::Cooperative => "cooperative matrix",
        })
    }
}

/// What a device computes with, by which ops choose among their kernels. All of them are right everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A GPU: neighbouring lanes load neighbouring memory at once, and workgroups share theirs. Its matrix products are all of
    /// one variant, where that is asked for.
    Gpu(Option<GemmVariant>),
    /// A CPU under a graphics interface: each lane loads for itself, barriers are loops, divisions are slow.
    Software {
        /// Whether eight neighbours are in one subgroup, so that what they load can go around; left out where they are not.
        subgroups: bool,
    },
}

/// Invocations of a subgroup that make products together.
pub(crate) const NEIGHBOURS: u32 = 8;

impl Class {
    /// A GPU with the products of the table.
    pub const GPU: Self = Class::Gpu(None);

    /// A software adapter of which nothing is asked.
    pub const SOFTWARE: Self = Class::Software { subgroups: false };

    /// Whether it is a software adapter.
    pub fn is_software(self) -> bool {
        matches!(self, Class::Software { .. })
    }
}

impl Default for Class {
    fn default() -> Self {
        Class::GPU
    }
}

/// A loop of matrix products on GPUs. Every one is right for every product; convolutions that have no kernel with it
/// take that of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GemmVariant {
    /// One output for each invocation, nothing shared.
    Naive,
    /// 4 × 4 outputs for each invocation, from tiles in shared memory, a number at a time.
    Shared,
    /// Up to 8 × 8 outputs for each invocation; all memory is moved by vec4s.
    Registers,
    /// The same with two buffers in shared memory, one of which is filled while the other is read.
    Buffered,
    /// Nothing shared: what an invocation loads goes around in its subgroup. For adapters with subgroups.
    Subgroups,
    /// For few rows or few columns: the summed axis is divided among the invocations.
    Vector,
    /// Cooperative matrices: factors are rounded to 16-bit floats, sums are f32. For adapters with such matrices.
    Cooperative(Cooperative),
}

impl GemmVariant {
    /// All of them, the last one with its default sizes.
    pub fn all() -> [GemmVariant; 7] {
        use GemmVariant::*;
        [Naive, Shared, Registers, Buffered, Subgroups, Vector, Cooperative(Default::default())]
    }
}

impl fmt::Display for GemmVariant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            GemmVariant::Naive => "naive",
            GemmVariant::Shared => "shared",
            GemmVariant::Registers => "registers",
            GemmVariant::Buffered => "buffered",
            GemmVariant::Subgroups => "subgroups",
            GemmVariant::Vector => "vector",
            GemmVariant::Cooperative(_) => "f16",
        })
    }
}

/// How an adapter multiplies cooperative matrices of 16-bit floats with sums in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cooperative {
    /// Rows and columns of a matrix, 8 or 16.
    pub side: u32,
    /// The most invocations of a subgroup, whose work a matrix is.
    pub subgroup: u32,
}

impl Default for Cooperative {
    fn default() -> Self {
        Cooperative { side: 16, subgroup: 32 }
    }
}

/// Storage buffers that a dispatch may bind everywhere.
const STORAGE_BUFFERS: usize = 8;

/// The executor that a program is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The CPU in f64, without fusions.
    Reference,
    /// The CPU in f32.
    Host,
    /// A device.
    Device {
        /// Of which class its kernels are.
        class: Class,
        /// The most storage buffers that a dispatch may bind.
        storage_buffers: usize,
    },
}

impl Target {
    /// A GPU that has no more than WebGPU's limits.
    pub const GPU: Self = Target::device(Class::GPU);

    /// A device of this class that has no more than WebGPU's limits.
    pub const fn device(class: Class) -> Self {
        Target::Device { class, storage_buffers: STORAGE_BUFFERS }
    }

    /// The class of its kernels, if it has any.
    pub(crate) fn class(self) -> Option<Class> {
        match self {
            Target::Device { class, .. } => Some(class),
            Target::Reference | Target::Host => None,
        }
    }

    /// Whether graphs are fused for it, and then how many storage buffers an op may take.
    pub(crate) fn fuses(self) -> Option<usize> {
        match self {
            Target::Reference => None,
            Target::Host => Some(STORAGE_BUFFERS),
            Target::Device { storage_buffers, .. } => Some(storage_buffers),
        }
    }
}

//! GEMM variants on GPUs: the kernels that there are, which one a product gets, and its tile sizes.

use crate::launch::GemmVariant;

/// A matrix product as a kernel sees it: `batches` times `[m, k] [k, n]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batches: usize,
    /// Along which axis neighbours of the left and of the right factor lie together.
    pub along: [Along; 2],
    /// Whether those neighbours come in aligned vec4s.
    pub vec4s: [bool; 2],
    /// What pieces of the summed axis are multiples of, on software adapters.
    pub unit: usize,
}

/// An axis of a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Along {
    /// The summed axis.
    K,
    /// Rows of the left factor, columns of the right one.
    Other,
}

/// A kernel for a product: its constants, its tiles, and how many of them a workgroup makes.
pub(crate) struct Choice {
    pub kernel: &'static str,
    pub constants: Vec<(&'static str, f64)>,
    pub tile: [usize; 2],
    pub each: usize,
}

/// A kernel's name, its sizes, and the tile that a workgroup makes.
type Loop = (&'static str, Vec<(&'static str, usize)>, [usize; 2]);

/// For each op its kernels of other loops than the one with registers: shared, with matrices of 8 × 8, of 16 × 16.
const KERNELS: [[&str; 4]; 4] = [
    ["matmul", "matmul_shared", "matmul_cooperative8", "matmul_cooperative16"],
    ["conv2d", "conv2d_shared", "conv2d_cooperative8", "conv2d_cooperative16"],
    [
        "conv2d_input_grad",
        "conv2d_input_grad_shared",
        "conv2d_input_grad_cooperative8",
        "conv2d_input_grad_cooperative16",
    ],
    [
        "conv2d_weight_grad",
        "conv2d_weight_grad_shared",
        "conv2d_weight_grad_cooperative8",
        "conv2d_weight_grad_cooperative16",
    ],
];

/// Workgroups from which tiles of 128 × 128 are worth it: with fewer, parts of a large GPU would be idle.
const MANY: usize = 128;

/// vec4s that hold an extent, a power of two within bounds.
fn vec4s(extent: usize, [least, most]: [usize; 2]) -> usize {
    extent.div_ceil(4).next_power_of_two().clamp(least, most)
}

impl Product {
    /// The kernel of an op for this product: that of the table, or of the variant that is asked for.
    pub(crate) fn choice(&self, op: &'static str, asked: Option<GemmVariant>) -> Choice {
        let own = asked.filter(|v| {
            op == "matmul" || !matches!(v, GemmVariant::Naive | GemmVariant::Vector | GemmVariant::Subgroups)
        });
        let variant = own.unwrap_or_else(|| self.variant(op));
        let [_, shared, eight, sixteen] = KERNELS.into_iter().find(|k| k[0] == op).expect("it has all products");
        let (kernel, sizes, tile) = match variant {
            GemmVariant::Naive => ("matmul_naive", vec![], [1, 1]),
            GemmVariant::Shared => self.shared(shared),
            GemmVariant::Registers => self.registers(op, 1),
            GemmVariant::Buffered => self.registers(op, 2),
            GemmVariant::Subgroups => ("matmul_subgroups", vec![], [32, 128]),
            GemmVariant::Vector => self.vector(),
            GemmVariant::Cooperative(c) => {
                // Four subgroups, and an invocation for each block of a tile.
                let (kernel, width) = if c.side == 8 { (eight, 64) } else { (sixteen, 128) };
                (kernel, vec![("LANES", width.max(4 * c.subgroup as usize))], [width; 2])
            }
        };
        let mut constants: Vec<_> = sizes.into_iter().map(|(name, size)| (name, size as f64)).collect();
        let flag = |v: bool| f64::from(u8::from(v));
        if variant != GemmVariant::Naive {
            let along = ["A_ALONG_K", "B_ALONG_K"].into_iter().zip(self.along);
            constants.extend(along.map(|(name, along)| (name, flag(along == Along::K))));
        }
        if !matches!(variant, GemmVariant::Naive | GemmVariant::Shared) {
            constants.extend(["A_VEC4", "B_VEC4"].into_iter().zip(self.vec4s.map(flag)));
        }
        let each = if variant == GemmVariant::Naive { 256 } else { 1 };
        Choice { kernel, constants, tile, each }
    }

    /// The table. No speed was measured on a GPU yet: it is what is known to be good on discrete ones.
    fn variant(&self, op: &str) -> GemmVariant {
        match self.m.min(self.n) {
            0..16 if op == "matmul" && self.k >= 256 => GemmVariant::Vector,
            0..16 => GemmVariant::Shared,
            _ => GemmVariant::Buffered,
        }
    }

    fn shared(&self, kernel: &'static str) -> Loop {
        let (across, down) = (vec4s(self.n, [2, 16]), vec4s(self.m, [4, 16]));
        (kernel, vec![("ACROSS", across), ("DOWN", down)], [4 * down, 4 * across])
    }

    /// Tiles of up to 64 along both axes, or up to 128 where there are enough of them and little of the last one is
    /// empty.
    fn registers(&self, kernel: &'static str, buffers: usize) -> Loop {
        let large = self.batches * self.m.div_ceil(128) * self.n.div_ceil(128) >= MANY;
        let most = |extent: usize| if large && extent.next_multiple_of(128) <= extent + extent / 4 { 32 } else { 16 };
        let [mut rows, mut columns] = [self.m, self.n].map(|extent| vec4s(extent, [4, most(extent)]));
        // Two vec4s to an invocation, where eight invocations or more remain along the axis: fewer could not load all
        // blocks.
        let narrow = rows.min(columns) == 4;
        if narrow {
            (rows, columns) = (rows.min(16), columns.min(16));
        }
        let [each_row, each_column] = [rows, columns].map(|vec4s| if vec4s >= 16 && !narrow { 2 } else { 1 });
        let lanes = [("DOWN", rows / each_row), ("ACROSS", columns / each_column)];
        let sizes = [("ROWS", each_row), ("COLUMNS", each_column), ("BUFFERS", buffers)];
        (kernel, lanes.into_iter().chain(sizes).collect(), [4 * rows, 4 * columns])
    }

    /// Few vec4s along the shorter axis. Along the other one, neighbouring invocations take neighbours of the larger
    /// factor: vec4s of its own axis, or of the summed one.
    fn vector(&self) -> Loop {
        let few_rows = self.m < self.n;
        let along_k = self.along[usize::from(few_rows)] == Along::K;
        let long = if along_k { 1 } else { 16 };
        let down = vec4s(self.m, [1, if few_rows { 4 } else { long }]);
        let across = vec4s(self.n, [1, if few_rows { long } else { 4 }]);
        let along = 256 / (down * across);
        let sizes = vec![("ALONG", along), ("DOWN", down), ("ACROSS", across), ("K_FIRST", usize::from(along_k))];
        ("matmul_vector", sizes, [4 * down, 4 * across])
    }
}

//! The launches of Winograd convolutions: transforms to components, a matrix product for each component, and a transform back.
//!
//! Between them rows of a component's matrices are tiles (or channels), or tiles and items of a stack together: a factor
//! that is one for all meets the items of the other side by side, so that it is transformed and loaded once. They go through
//! the tiles in chunks whose components stay in the cache.
//!
//! Each component is of all pixels of a tile: where one of them is infinite or NaN, all 4 × 4 results of its tile are NaN. In
//! other ways only those are infinite whose windows have it. Either way it does not go unseen.

use std::ops::Range;

use crate::launch::*;
use crate::{
    cpu::conv::winograd::{Tiling, tiles::PARTS},
    ops::{
        conv::epilogue::EpilogueOperands,
        matmul::{
            gemm::{Kernels, SHARED_ROWS},
            variants::{Along, Product},
        },
    },
};

/// Products of components are sums of one term, without words of its own.
static ONE_TERM: [Vec<usize>; 1] = [Vec::new()];

/// Elements that a chunk's tiles have in each component, as a rule and at most.
const CHUNK: usize = 1 << 14;
const LONG_CHUNK: usize = 1 << 18;

/// Elements between components, a line of a cache: those a power of two apart would compete for the same lines.
const GAP: usize = 16;

/// Elements of a scratch buffer beyond which a convolution is made in another way: 128 MiB, what every device binds.
const MOST: usize = 1 << 25;

/// Channels below which transforms cost more than they save.
const FEW: usize = 16;

/// The rows and columns of a factor's components: columns lie side by side, of rows either those of items follow one
/// another (`inside`) or items do.
#[derive(Clone, Copy)]
struct Factor {
    /// 1 where there is one for all.
    items: usize,
    rows: usize,
    columns: usize,
    inside: bool,
    /// Elements after those of an item, or of all items that lie inside.
    gap: usize,
}

impl Factor {
    /// Elements from a row and from an item to the next.
    fn steps(self) -> [usize; 2] {
        match self.inside {
            true => [self.items * self.columns, self.columns],
            false => [self.columns, self.rows * self.columns + self.gap],
        }
    }

    fn component(self) -> usize {
        match self.inside {
            true => self.items * self.rows * self.columns + self.gap,
            false => self.items * self.steps()[1],
        }
    }

    /// Elements of all components.
    fn len(self) -> usize {
        PARTS * self.component()
    }

    /// For products of so many items: by how many of them one is shared, and from one to the next.
    fn batches(self, items: usize) -> [usize; 2] {
        [items / self.items, self.steps()[1]]
    }
}

/// The lengths of scratch buffers.
#[derive(Default)]
struct Scratch(Vec<usize>);

impl Scratch {
    /// At least so many elements for this buffer.
    fn take(&mut self, buffer: usize, len: usize) -> Bind {
        if self.0.len() <= buffer {
            self.0.resize(buffer + 1, 0);
        }
        self.0[buffer] = self.0[buffer].max(len);
        Bind::Scratch(buffer)
    }

    /// The launches on these buffers, if none is too long.
    fn launches(self, list: Vec<Launch>) -> Option<Launches> {
        self.0.iter().all(|&len| len <= MOST).then_some(Launches { scratch: self.0, list })
    }
}

/// The buffers of left and of right factors, and of their products, if need be from here on.
const LEFT: usize = 0;
const RIGHT: usize = 1;
const SUMS: usize = 2;

impl Tiling {
    /// The ranges of tiles, of at least so many, in which a class of adapters goes through `n` images of each item; `None`
    /// where it makes the convolution in another way. For GPUs nothing has been measured.
    fn chunks(
        &self, class: Class, [n, items]: [usize; 2], least: usize,
    ) -> Option<impl Iterator<Item = Range<usize>> + use<>> {
        let [down, across] = self.count();
        let [ci, co] = self.channels;
        let fits = [ci, co].iter().all(|&c| c >= FEW && c.is_multiple_of(4));
        let (tiles, width) = (n * down * across, items * ci.max(co));
        let chunk = (CHUNK / width).max(least.min(LONG_CHUNK / width)).next_multiple_of(SHARED_ROWS);
        let chunks = (0..tiles).step_by(chunk).map(move |first| first..(first + chunk).min(tiles));
        (class.is_software() && fits).then_some(chunks)
    }

    /// A launch over some tiles of each of so many items, whose images have `n` each.
    fn through_tiles(&self, kernel: &'static str, n: usize, items: usize, tiles: &Range<usize>, image: bool) -> Launch {
        let ([down, across], [ci, co]) = (self.count(), self.channels);
        let (vec4s, size) = if image { (ci / 4, self.size) } else { (co / 4, self.out) };
        Launch::new(kernel, (items * tiles.len() * vec4s).div_ceil(64))
            .params([tiles.start, tiles.len(), n, down, across, items].map(word))
            .params([vec4s, size[0], size[1], self.padding[0], self.padding[1]].map(word))
    }

    /// The components of a factor, from `begin` on.
    fn components(
        &self, n: usize, tiles: &Range<usize>, (factor, begin): (Factor, usize), image: bool, bind: [Bind; 2],
    ) -> Launch {
        let kernel = if image { "winograd_image" } else { "winograd_cotangent" };
        let [row, item] = factor.steps();
        let steps = [begin, factor.component(), row, item].map(|step| word(step / 4));
        self.through_tiles(kernel, n, factor.items, tiles, image)
            .params(steps)
            .params([factor.inside.into()])
            .bind(bind)
    }

    /// `y = Σ x ⋆ w`, of operands (x, w) for each term, and its epilogue, where this is how a class computes it. `stacks` says
    /// for each term which of them are stacks; weights are those of the convolution whose input gradient this is, if `mirror`.
    pub(crate) fn launch(
        &self, class: Class, size @ [n, items]: [usize; 2], stacks: &[[bool; 2]], mirror: bool,
        epilogue: EpilogueOperands,
    ) -> Option<Launches> {
        let chunks = self.chunks(class, size, 8)?;
        let [ci, co] = self.channels;
        let (mut scratch, mut list) = (Scratch::default(), Vec::new());
        let factor = |stack, rows, columns| {
            let items = if stack { items } else { 1 };
            Factor { items, rows, columns, inside: false, gap: GAP }
        };
        let of_terms = |rows, columns, i: usize| {
            let mut begin = 0;
            let mut next = |stack: &[bool; 2]| {
                let factor = factor(stack[i], rows, columns);
                let own = (factor, begin);
                begin += factor.len();
                own
            };
            let all: Vec<_> = stacks.iter().map(&mut next).collect();
            (all, begin)
        };
        let (w, len) = of_terms(ci, co, 1);
        let right = scratch.take(RIGHT, len);
        for (term, &(w, begin)) in w.iter().enumerate() {
            let kernel = through_kernels("winograd_kernel", (w, begin), w, [Bind::In(2 * term + 1), right]);
            list.push(kernel.constant("MIRROR", mirror));
        }
        for chunk in chunks {
            let (x, len) = of_terms(chunk.len(), ci, 0);
            let left = scratch.take(LEFT, len);
            for (term, &x) in x.iter().enumerate() {
                list.push(self.components(n, &chunk, x, true, [Bind::In(2 * term), left]));
            }
            let y = factor(true, chunk.len(), co);
            let sums = scratch.take(SUMS, y.len());
            let mut words = vec![ci, y.steps()[1]];
            for term in [0, stacks.len() - 1] {
                for (factor, begin) in [x[term], w[term]] {
                    words.extend([&[begin][..], &factor.batches(items)].concat());
                }
            }
            let size @ [m, _, k, _] = [chunk.len(), co, stacks.len() * ci, PARTS * items];
            let kernels = Kernels::new(["winograd_tiles"; 2], "winograd_subgroup", [m, k], &words, &ONE_TERM, None);
            list.extend(products(class, size, false, Kernels { bind: [left, right, sums], ..kernels }));
            let steps = [0, y.component(), y.steps()[0], y.steps()[1]].map(|step| word(step / 4));
            let EpilogueOperands { bias, residual, mask, relu } = epilogue;
            list.push(
                self.through_tiles("winograd_results", n, items, &chunk, false)
                    .params(steps)
                    .params([0])
                    .constant("BIAS", bias.is_some())
                    .constant("RESIDUAL", residual.is_some())
                    .constant("MASK", mask.is_some())
                    .constant("RELU", relu)
                    .bind([sums])
                    .bind([bias, residual, mask].map(|i| Bind::In(i.unwrap_or(0))))
                    .bind([Bind::Out(0)]),
            );
        }
        scratch.launches(list)
    }

    /// `dw = Σ x ⋆ᵀ ct`, of operands (x, ct) for each term, where this is how a class makes it.
    pub(crate) fn launch_weight_grad(
        &self, class: Class, size @ [n, items]: [usize; 2], stacks: &[[bool; 2]],
    ) -> Option<Launches> {
        let [ci, co] = self.channels;
        // Each chunk goes through all sums, which should be less than its components.
        let chunks = self.chunks(class, size, 4 * ci.max(co))?;
        let (mut scratch, mut list) = (Scratch::default(), Vec::new());
        // Channels of x are rows: of all items, if it is a stack.
        let sums: Vec<_> = (stacks.iter().enumerate())
            .map(|(term, &[x_stack, _])| {
                let dw = Factor { items, rows: ci, columns: co, inside: !x_stack, gap: 0 };
                (scratch.take(SUMS + term, dw.len()), dw)
            })
            .collect();
        for chunk in chunks {
            for (term, &[x_stack, ct_stack]) in stacks.iter().enumerate() {
                let both = x_stack && ct_stack;
                let of = |stack, columns| {
                    let items = if stack { items } else { 1 };
                    Factor { items, rows: chunk.len(), columns, inside: !both, gap: GAP }
                };
                let (x, ct) = (of(x_stack, ci), of(ct_stack, co));
                let left = scratch.take(LEFT, x.len());
                let right = scratch.take(RIGHT, ct.len());
                list.push(self.components(n, &chunk, (x, 0), true, [Bind::In(2 * term), left]));
                list.push(self.components(n, &chunk, (ct, 0), false, [Bind::In(2 * term + 1), right]));
                let size = match both {
                    false => [x.items * ci, ct.items * co, chunk.len(), PARTS],
                    true => [ci, co, chunk.len(), PARTS * items],
                };
                let (to, dw) = sums[term];
                let [a, b, y] = [x, ct, dw].map(|factor| if both { factor.steps()[1] } else { factor.component() });
                let words = [a, 1, size[0], b, size[1], 1, y];
                let (names, parts) = (["matmul", "matmul_tiles"], [size[0], size[2]]);
                let kernels = Kernels::new(names, "matmul_subgroup", parts, &words, &ONE_TERM, Some(false));
                // The first chunk writes, the others add.
                let kernels = Kernels { bind: [left, right, to], accumulate: chunk.start > 0, ..kernels };
                list.extend(products(class, size, true, kernels));
            }
        }
        let (first, last) = (sums[0], sums[sums.len() - 1]);
        let taps = through_kernels("winograd_taps", (first.1, 0), last.1, [first.0, last.0]).bind([Bind::Out(0)]);
        list.push(taps.constant("TERMS", stacks.len() as f64));
        scratch.launches(list)
    }
}

/// A launch over the rows of a kernel, four columns at a time, whose components are from `begin` on.
fn through_kernels(kernel: &'static str, (w, begin): (Factor, usize), other: Factor, bind: [Bind; 2]) -> Launch {
    let (Factor { items, rows, columns, .. }, [own, others]) = (w, [w.steps(), other.steps()]);
    let steps = [begin, w.component(), own[0], own[1], others[0], others[1]].map(|step| word(step / 4));
    Launch::new(kernel, (items * rows * columns / 4).div_ceil(64))
        .params([rows, columns / 4, items].map(word))
        .params(steps)
        .bind(bind)
}

/// The launches of matrix products `[batches, m, k] [batches, k, n]`, the left factors transposed if `ta`.
fn products(class: Class, [m, n, k, batches]: [usize; 4], ta: bool, kernels: Kernels) -> Vec<Launch> {
    let along = [if ta { Along::Other } else { Along::K }, Along::Other];
    let vec4s = [(if ta { m } else { k }).is_multiple_of(4), n.is_multiple_of(4)];
    // Chunks are pieces of the sum already: it is not split into others.
    Product { m, n, k, batches, along, vec4s, unit: k }.launches(class, kernels).list
}

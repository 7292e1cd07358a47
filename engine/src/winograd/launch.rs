//! The launches of Winograd convolutions: transforms to components, a matrix product for each component, and a transform back.
//!
//! Between them rows of a component's matrices are tiles (or channels), or tiles and members of a stack together: a factor
//! that is one for all meets the members of the other side by side, so that it is transformed and loaded once. They go through
//! the tiles in chunks whose components stay in the cache.

use std::ops::Range;

use super::{Tiling, tiles::PARTS};
use crate::{
    Bind, Class, Launch, Launches,
    finish::Endings,
    gemm::{Along, Kernels, Product, SHARED_ROWS},
    op::word,
};

/// Elements that a chunk's tiles have in each component, as a rule and at most.
const CHUNK: usize = 1 << 14;
const LONG_CHUNK: usize = 1 << 18;

/// Elements between components: a line of a cache.
const GAP: usize = 16;

/// Elements of a scratch buffer beyond which a convolution is made in another way: 128 MiB, what every device binds.
const MOST: usize = 1 << 25;

/// Channels below which transforms cost more than they save.
const FEW: usize = 16;

/// The rows and columns of a factor's components: columns lie side by side, of rows either those of members follow one
/// another (`inside`) or members do.
#[derive(Clone, Copy)]
struct Factor {
    /// 1 where there is one for all.
    members: usize,
    rows: usize,
    columns: usize,
    inside: bool,
    /// Whether members are products of their own, which like components lie evenly apart.
    batched: bool,
}

impl Factor {
    /// Elements from a row and from a member to the next.
    fn steps(self) -> [usize; 2] {
        match self.inside {
            true => [self.members * self.columns, self.columns],
            false => [self.columns, self.rows * self.columns],
        }
    }

    /// Elements from a component to the next, a few more than it has: components a power of two apart would compete for the
    /// same lines of the cache.
    fn component(self) -> usize {
        let gap = if self.batched { 0 } else { GAP };
        self.members * self.rows * self.columns + gap
    }

    /// Elements from a product's batch to the next.
    fn batch(self) -> usize {
        if self.batched { self.rows * self.columns } else { self.component() }
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

/// What a convolution's results are made with after the products: by the number of its operand a bias, one number for each
/// channel, and how they end.
#[derive(Clone, Copy, Default)]
pub struct Ends {
    pub bias: Option<usize>,
    pub endings: Endings,
}

/// The buffers of left and of right factors; those of the terms' products follow.
const LEFT: usize = 0;
const RIGHT: usize = 1;

impl Tiling {
    /// The ranges of tiles, of at least so many, in which a class of adapters goes through `n` images of each member; `None`
    /// where it makes the convolution in another way. For GPUs nothing has been measured.
    fn chunks(
        &self,
        class: Class,
        [n, members]: [usize; 2],
        least: usize,
    ) -> Option<impl Iterator<Item = Range<usize>> + use<>> {
        let [down, across] = self.count();
        let [ci, co] = self.channels;
        let fits = [ci, co].iter().all(|&c| c >= FEW && c.is_multiple_of(4));
        let (tiles, width) = (n * down * across, members * ci.max(co));
        let chunk = (CHUNK / width).max(least.min(LONG_CHUNK / width)).next_multiple_of(SHARED_ROWS);
        let chunks = (0..tiles).step_by(chunk).map(move |first| first..(first + chunk).min(tiles));
        (class.is_software() && fits).then_some(chunks)
    }

    /// A launch over some tiles of each of so many members, whose images have `n` each.
    fn through_tiles(
        &self,
        kernel: &'static str,
        n: usize,
        members: usize,
        tiles: &Range<usize>,
        image: bool,
    ) -> Launch {
        let ([down, across], [ci, co]) = (self.count(), self.channels);
        let (fours, size) = if image { (ci / 4, self.size) } else { (co / 4, self.out) };
        Launch::new(kernel, (members * tiles.len() * fours).div_ceil(64))
            .params([tiles.start, tiles.len(), n * down * across, down, across, members].map(word))
            .params([fours, size[0], size[1], self.padding[0], self.padding[1]].map(word))
    }

    fn components(&self, n: usize, tiles: &Range<usize>, factor: Factor, image: bool, bind: [Bind; 2]) -> Launch {
        let kernel = if image { "winograd_image" } else { "winograd_cotangent" };
        let [row, member] = factor.steps();
        let steps = [factor.component(), row, member, 0, 0].map(|step| word(step / 4));
        self.through_tiles(kernel, n, factor.members, tiles, image).params(steps).bind(bind)
    }

    /// `y = Σ x ⋆ w`, of operands (x, w) for each term, and its ends, where this is how a class makes it. `stacks` says for
    /// each term which of them are stacks; weights are those of the convolution whose input gradient this is, if `mirror`.
    pub fn launch(
        &self,
        class: Class,
        size @ [n, members]: [usize; 2],
        stacks: &[[bool; 2]],
        mirror: bool,
        ends: Ends,
    ) -> Option<Launches> {
        let chunks = self.chunks(class, size, 8)?;
        let [ci, co] = self.channels;
        let (mut scratch, mut list) = (Scratch::default(), Vec::new());
        let factor = |stack, rows, columns, batched: bool| {
            let members = if stack { members } else { 1 };
            Factor { members, rows, columns, inside: !batched, batched }
        };
        for (term, &[x_stack, w_stack]) in stacks.iter().enumerate() {
            let w = factor(w_stack, ci, co, x_stack && w_stack);
            let right = scratch.take(RIGHT + term, PARTS * w.component());
            let kernel = through_kernels("winograd_kernel", w, w, [Bind::In(2 * term + 1), right]);
            list.push(kernel.constant("MIRROR", mirror));
        }
        for chunk in chunks {
            let mut results = Vec::new();
            for (term, &[x_stack, w_stack]) in stacks.iter().enumerate() {
                let both = x_stack && w_stack;
                let x = factor(x_stack, chunk.len(), ci, both);
                let w = factor(w_stack, ci, co, both);
                let y = factor(true, chunk.len(), co, both);
                let left = scratch.take(LEFT, PARTS * x.component());
                let to = scratch.take(RIGHT + stacks.len() + term, PARTS * y.component());
                list.push(self.components(n, &chunk, x, true, [Bind::In(2 * term), left]));
                let columns = if w_stack { members * co } else { co };
                let size = match both {
                    false => [x.members * chunk.len(), columns, ci, PARTS],
                    true => [chunk.len(), co, ci, PARTS * members],
                };
                let operands = [(x, left), (w, Bind::Scratch(RIGHT + term)), (y, to)];
                list.extend(products(class, size, false, operands));
                results.push((to, y));
            }
            let (first, last) = (results[0], results[results.len() - 1]);
            let [own, others] = [first.1.steps(), last.1.steps()];
            let steps = [first.1.component(), own[0], own[1], others[0], others[1]].map(|step| word(step / 4));
            let Endings { residual, gate, relu } = ends.endings;
            let bind = [ends.bias, residual, gate].map(|i| Bind::In(i.unwrap_or(0)));
            list.push(
                self.through_tiles("winograd_results", n, members, &chunk, false)
                    .params(steps)
                    .constant("TERMS", stacks.len() as f64)
                    .constant("BIAS", ends.bias.is_some())
                    .constant("RESIDUAL", residual.is_some())
                    .constant("GATE", gate.is_some())
                    .constant("RELU", relu)
                    .bind([first.0, last.0, bind[0], bind[1], bind[2], Bind::Out(0)]),
            );
        }
        scratch.launches(list)
    }

    /// `dw = Σ x ⋆ᵀ ct`, of operands (x, ct) for each term, where this is how a class makes it.
    pub fn launch_weight_grad(
        &self,
        class: Class,
        size @ [n, members]: [usize; 2],
        stacks: &[[bool; 2]],
    ) -> Option<Launches> {
        let [ci, co] = self.channels;
        // Each chunk goes through all sums, which should be less than its components.
        let chunks = self.chunks(class, size, 4 * ci.max(co))?;
        let (mut scratch, mut list) = (Scratch::default(), Vec::new());
        // Channels of x are rows: of all members, if it is a stack.
        let sums: Vec<_> = (stacks.iter().enumerate())
            .map(|(term, &[x_stack, ct_stack])| {
                let batched = x_stack && ct_stack;
                let dw = Factor { members, rows: ci, columns: co, inside: !x_stack, batched };
                (scratch.take(RIGHT + 1 + term, PARTS * dw.component()), dw)
            })
            .collect();
        for chunk in chunks {
            for (term, &[x_stack, ct_stack]) in stacks.iter().enumerate() {
                let both = x_stack && ct_stack;
                let of = |stack, columns| Factor {
                    members: if stack { members } else { 1 },
                    rows: chunk.len(),
                    columns,
                    inside: !both,
                    batched: both,
                };
                let (x, ct) = (of(x_stack, ci), of(ct_stack, co));
                let left = scratch.take(LEFT, PARTS * x.component());
                let right = scratch.take(RIGHT, PARTS * ct.component());
                list.push(self.components(n, &chunk, x, true, [Bind::In(2 * term), left]));
                list.push(self.components(n, &chunk, ct, false, [Bind::In(2 * term + 1), right]));
                let size = match both {
                    false => [x.members * ci, ct.members * co, chunk.len(), PARTS],
                    true => [ci, co, chunk.len(), PARTS * members],
                };
                let (to, dw) = sums[term];
                let mut added = products(class, size, true, [(x, left), (ct, right), (dw, to)]);
                for (name, value) in added.iter_mut().flat_map(|launch| &mut launch.constants) {
                    if *name == "ACCUMULATE" && chunk.start > 0 {
                        *value = 1.0;
                    }
                }
                list.extend(added);
            }
        }
        let (first, last) = (sums[0], sums[sums.len() - 1]);
        let taps = through_kernels("winograd_taps", first.1, last.1, [first.0, last.0]).bind([Bind::Out(0)]);
        list.push(taps.constant("TERMS", stacks.len() as f64));
        scratch.launches(list)
    }
}

/// A launch over the rows of a kernel, four columns at a time.
fn through_kernels(kernel: &'static str, w: Factor, other: Factor, bind: [Bind; 2]) -> Launch {
    let (Factor { members, rows, columns, .. }, [own, others]) = (w, [w.steps(), other.steps()]);
    let steps = [w.component(), own[0], own[1], others[0], others[1]].map(|step| word(step / 4));
    Launch::new(kernel, (members * rows * columns / 4).div_ceil(64))
        .params([rows, columns / 4, members].map(word))
        .params(steps)
        .bind(bind)
}

/// The launches of matrix products `[batches, m, k] [batches, k, n]`, the left factors transposed if `ta`, of two factors and
/// for results that lie like a third.
fn products(class: Class, [m, n, k, batches]: [usize; 4], ta: bool, operands: [(Factor, Bind); 3]) -> Vec<Launch> {
    let (a_i, a_k) = if ta { (1, m) } else { (k, 1) };
    let [a, b, y] = operands.map(|(factor, _)| factor.batch());
    let kernels = Kernels {
        names: ["matmul", "matmul_tiles"],
        lanes: Some("matmul_lanes"),
        words: &[a, a_i, a_k, b, n, 1, y],
        terms: &[Vec::new()],
        bias: Some(false),
    };
    let along = [if ta { Along::Other } else { Along::K }, Along::Other];
    let fours = [(if ta { m } else { k }).is_multiple_of(4), n.is_multiple_of(4)];
    // Chunks are pieces of the sum already: it is not split into others.
    let product = Product { m, n, k, batches, along, fours, unit: k };
    let mut list = product.launches(class, kernels).list;
    for bind in list.iter_mut().flat_map(|launch| &mut launch.bind) {
        *bind = match bind {
            Bind::In(i @ 0..=1) => operands[*i].1,
            _ => operands[2].1,
        };
    }
    list
}

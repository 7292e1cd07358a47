//! Depthwise convolutions, and on the CPU grouped ones of few channels, directly. The launches are in
//! `ops/conv/depthwise.rs`.
//!
//! Rows of images are copied into lines in which each channel lies as often as it meets output channels, columns of equal
//! remainders by the stride lie together, and zeros are on either side. A tap is then a product of neighbouring elements of
//! two lines, whatever the number of channels, the stride and the dilation. Of an input gradient the pixels of equal
//! remainders are a line of their own, which only those taps add to that meet them.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::{
    cpu::{
        conv::sums::{begin, task_rows},
        epilogue::Epilogue,
        float::Real,
        stack::{Stack, Term},
    },
    tensor::Geometry,
};

/// Elements of a block of sums, whose loops compilers unroll into vectors.
const WIDTH: usize = 64;

/// Output pixels that one task of the weight gradient adds up, in whole rows.
const PIXELS: usize = 1024;

/// A tap of a line of results: where the source's line begins for it, and the number of its row of weights.
type Tap = [usize; 2];

/// How rows of an image are copied.
#[derive(Clone, Copy)]
struct Layout {
    /// Height and width of the image.
    size: [usize; 2],
    /// Its channels: groups, of a group, and how often each is repeated.
    channels: [usize; 3],
    /// Zeros before a row.
    left: usize,
    /// By what columns are divided into parts of equal remainders.
    stride: usize,
    /// Pixels of a part.
    pixels: usize,
    /// Rows that a window reaches.
    rows: usize,
}

impl Layout {
    /// Of x, for a convolution and its weight gradient.
    fn image(g: &Geometry) -> Self {
        let (conv, width) = (g.conv, g.size[1] + 2 * g.conv.padding[1]);
        Layout {
            size: g.size,
            channels: [conv.groups, g.ci, g.co],
            left: conv.padding[1],
            stride: conv.stride[1],
            pixels: width.div_ceil(conv.stride[1]),
            rows: conv.dilation[0] * (g.kernel[0] - 1) + 1,
        }
    }

    /// Of a cotangent, for an input gradient.
    fn cotangent(g: &Geometry) -> Self {
        let (conv, reach) = (g.conv, [0, 1].map(|axis| g.conv.dilation[axis] * (g.kernel[axis] - 1)));
        let left = reach[1].saturating_sub(conv.padding[1]).div_ceil(conv.stride[1]);
        let right = ((g.size[1] + conv.padding[1]).div_ceil(conv.stride[1])).saturating_sub(g.out[1]);
        Layout {
            size: g.out,
            channels: [conv.groups * g.co, 1, 1],
            left,
            stride: 1,
            pixels: left + g.out[1] + right,
            rows: reach[0] / conv.stride[0] + 1,
        }
    }

    /// Elements of a part.
    fn part(&self) -> usize {
        self.pixels * self.channels[0] * self.channels[2]
    }

    /// Elements of a row: of the parts for each channel of a group.
    fn row(&self) -> usize {
        self.channels[1] * self.stride * self.part()
    }

    /// Where a part of row `y` begins, from column `x` of it on.
    fn at(&self, y: usize, channel: usize, part: usize, x: usize) -> usize {
        let outs = self.channels[0] * self.channels[2];
        y % self.rows * self.row() + (channel * self.stride + part) * self.part() + x * outs
    }
}

/// The rows of an image that windows reach, copied; those above are given up as the windows go down.
struct Lines<F> {
    layout: Layout,
    data: Vec<F>,
    /// The first row that no window has reached.
    next: usize,
}

impl<F: Real> Lines<F> {
    fn new(layout: Layout) -> Self {
        Lines { layout, data: vec![F::zero(); layout.rows * layout.row()], next: 0 }
    }

    /// Copies the rows that are not there yet.
    fn reach(&mut self, image: &[F], rows: Range<usize>) {
        for y in rows.start.max(self.next)..rows.end.min(self.layout.size[0]) {
            self.copy(image, y);
        }
        self.next = self.next.max(rows.end);
    }

    fn copy(&mut self, image: &[F], y: usize) {
        let layout = self.layout;
        let ([groups, ci, co], width) = (layout.channels, layout.size[1]);
        let row = &image[y * width * groups * ci..][..width * groups * ci];
        if [ci, co, layout.stride] == [1; 3] {
            self.data[layout.at(y, 0, 0, layout.left)..][..row.len()].copy_from_slice(row);
            return;
        }
        for (x, pixel) in row.chunks_exact(groups * ci).enumerate() {
            let x = x + layout.left;
            for c in 0..ci {
                let to = layout.at(y, c, x % layout.stride, x / layout.stride);
                let to = &mut self.data[to..][..groups * co];
                match ci * co {
                    1 => to.copy_from_slice(pixel),
                    _ => to.chunks_exact_mut(co).zip(pixel.chunks_exact(ci)).for_each(|(to, p)| to.fill(p[c])),
                }
            }
        }
    }
}

/// Rows of weights, from their last channel on again from the first, so that blocks may begin at any channel.
fn cyclic<F: Real>(w: &Stack<F>, items: usize, outs: usize) -> Vec<F> {
    let items = if w.is_one() { 1 } else { items };
    let rows = (0..items).flat_map(|m| w.item(m).chunks_exact(outs));
    rows.flat_map(|row| row.iter().cycle().take(outs + WIDTH).copied()).collect()
}

/// `y += Σ x w` over taps, for neighbouring elements of a line that begins with the first channel.
struct Sum<'a, F> {
    taps: &'a [Tap],
    x: &'a [F],
    /// Made by [`cyclic`].
    w: &'a [F],
    outs: usize,
    y: &'a mut [F],
}

impl<F: Real> WithSimd for Sum<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (blocks, rest) = self.y.as_chunks_mut::<WIDTH>();
        let (step, mut at, mut channel) = (self.outs + WIDTH, 0, 0);
        for y in blocks {
            let mut sums = *y;
            for &[x, w] in self.taps {
                let x = &self.x[x + at..][..WIDTH];
                let w = &self.w[w * step + channel..][..WIDTH];
                for ((sum, &x), &w) in sums.iter_mut().zip(x).zip(w) {
                    *sum += x * w;
                }
            }
            *y = sums;
            at += WIDTH;
            channel = (channel + WIDTH) % self.outs;
        }
        for &[x, w] in self.taps {
            let w = &self.w[w * step + channel..];
            rest.iter_mut().zip(&self.x[x + at..]).zip(w).for_each(|((y, &x), &w)| *y += x * w);
        }
    }
}

/// `y += x ct` for each tap, of elements of a line added up to those of a period of channels.
struct Products<'a, F> {
    taps: &'a [Tap],
    x: &'a [F],
    ct: &'a [F],
    /// A multiple of the channels and of blocks.
    period: usize,
    y: &'a mut [F],
}

impl<F: Real> WithSimd for Products<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let sets = self.period / WIDTH;
        let (blocks, rest) = self.ct.as_chunks::<WIDTH>();
        for &[x, tap] in self.taps {
            let (x, y) = (&self.x[x..], &mut self.y[tap * self.period..][..self.period]);
            for (set, y) in y.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate().take(blocks.len()) {
                let mut sums = *y;
                for b in (set..blocks.len()).step_by(sets) {
                    let x = &x[b * WIDTH..][..WIDTH];
                    for ((sum, &x), &ct) in sums.iter_mut().zip(x).zip(&blocks[b]) {
                        *sum += x * ct;
                    }
                }
                *y = sums;
            }
            let y = &mut y[blocks.len() % sets * WIDTH..];
            let x = &x[blocks.len() * WIDTH..];
            y.iter_mut().zip(x).zip(rest).for_each(|((y, &x), &ct)| *y += x * ct);
        }
    }
}

impl Geometry {
    /// Whether each output channel has an input channel of its own.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.ci == 1 && (self.conv.groups > 1 || self.co == 1)
    }

    fn outs(&self) -> usize {
        self.co * self.conv.groups
    }

    fn row_of_weights(&self, ky: usize, kx: usize, channel: usize) -> usize {
        (ky * self.kernel[1] + kx) * self.ci + channel
    }

    /// The rows of x under the window of a row of y.
    fn rows_under(&self, y: usize) -> Range<usize> {
        let (top, padding) = (y * self.conv.stride[0], self.conv.padding[0]);
        top.saturating_sub(padding)..(top + self.conv.dilation[0] * (self.kernel[0] - 1) + 1).saturating_sub(padding)
    }

    /// The rows of y whose windows are above a row of x, or beside it.
    fn rows_above(&self, y: usize) -> Range<usize> {
        let (at, stride) = (y + self.conv.padding[0], self.conv.stride[0]);
        at.saturating_sub(self.conv.dilation[0] * (self.kernel[0] - 1)).div_ceil(stride)..at / stride + 1
    }

    /// The taps of a row of y.
    fn taps_of(&self, layout: &Layout, y: usize, taps: &mut Vec<Tap>) {
        let (conv, stride) = (self.conv, self.conv.stride[1]);
        taps.clear();
        for ky in 0..self.kernel[0] {
            let row = (y * conv.stride[0] + ky * conv.dilation[0]).wrapping_sub(conv.padding[0]);
            for kx in (0..self.kernel[1]).filter(|_| row < self.size[0]) {
                let x = kx * conv.dilation[1];
                let tap = |c| [layout.at(row, c, x % stride, x / stride), self.row_of_weights(ky, kx, c)];
                taps.extend((0..self.ci).map(tap));
            }
        }
    }

    /// The taps that meet a row's pixels of this remainder by the stride, of a channel of each group.
    fn taps_meeting(&self, layout: &Layout, [y, remainder, channel]: [usize; 3], taps: &mut Vec<Tap>) {
        let place = |axis: usize, at: usize, tap: usize, from: usize| {
            let at = (at + self.conv.padding[axis] + from * self.conv.stride[axis])
                .checked_sub(tap * self.conv.dilation[axis])?;
            at.is_multiple_of(self.conv.stride[axis]).then_some(at / self.conv.stride[axis])
        };
        taps.clear();
        for ky in 0..self.kernel[0] {
            let Some(row) = place(0, y, ky, 0).filter(|&row| row < self.out[0]) else { continue };
            for kx in 0..self.kernel[1] {
                let Some(x) = place(1, remainder, kx, layout.left) else { continue };
                taps.push([layout.at(row, 0, 0, x), self.row_of_weights(ky, kx, channel)]);
            }
        }
    }

    /// `y = bias + Σ x ⋆ w` over terms, with its epilogue, for each item of their stacks.
    pub(crate) fn depthwise<F: Real>(&self, terms: &[Term<F>], bias: &[F], epilogue: Epilogue<F>, y: &mut [F]) {
        let (outs, layout, len) = (self.outs(), Layout::image(self), self.y()[1..].iter().product::<usize>());
        let weights: Vec<_> = terms.iter().map(|[_, w]| cyclic(w, y.len() / (self.n * len), outs)).collect();
        let (line, image, taps) = (self.out[1] * outs, self.x()[1..].iter().product::<usize>(), self.taps() * self.ci);
        let rows = task_rows(y.len() / len, self.out[0]);
        y.par_chunks_mut(rows * line).enumerate().for_each_init(Vec::new, |list, (task, y)| {
            let (of_all, first) = (task * rows / self.out[0], task * rows % self.out[0]);
            begin(y, bias);
            for ([x, _], weights) in terms.iter().zip(&weights) {
                let x = &x.item(of_all / self.n)[of_all % self.n * image..][..image];
                let w = Stack::of(weights, taps * (outs + WIDTH)).item(of_all / self.n);
                let mut lines = Lines::new(layout);
                for (i, y) in y.chunks_exact_mut(line).enumerate() {
                    lines.reach(x, self.rows_under(first + i));
                    self.taps_of(&layout, first + i, list);
                    F::vectorize(Sum { taps: list, x: &lines.data, w, outs, y });
                }
            }
            epilogue.apply(of_all / self.n, (of_all % self.n * self.out[0] + first) * line, y);
        });
    }

    /// `dx = Σ ct ⋆ᵀ w` over terms, for each item of their stacks.
    pub(crate) fn depthwise_input_grad<F: Real>(&self, terms: &[Term<F>], epilogue: Epilogue<F>, dx: &mut [F]) {
        let (outs, layout, len) = (self.outs(), Layout::cotangent(self), self.x()[1..].iter().product::<usize>());
        let weights: Vec<_> = terms.iter().map(|[_, w]| cyclic(w, dx.len() / (self.n * len), outs)).collect();
        let (line, image, taps) = (len / self.size[0], self.y()[1..].iter().product::<usize>(), self.taps() * self.ci);
        let rows = task_rows(dx.len() / len, self.size[0]);
        dx.par_chunks_mut(rows * line).enumerate().for_each_init(Vec::new, |sums, (task, dx)| {
            let (of_all, first) = (task * rows / self.size[0], task * rows % self.size[0]);
            let item = of_all / self.n;
            let terms = terms.iter().zip(&weights).map(|([ct, _], w)| {
                let ct = &ct.item(item)[of_all % self.n * image..][..image];
                (ct, Stack::of(w, taps * (outs + WIDTH)).item(item), Lines::new(layout))
            });
            let mut terms: Vec<_> = terms.collect();
            for (i, dx) in dx.chunks_exact_mut(line).enumerate() {
                terms.iter_mut().for_each(|(ct, _, lines)| lines.reach(ct, self.rows_above(first + i)));
                self.input_grad_line(&terms, first + i, sums, dx);
            }
            epilogue.apply(item, (of_all % self.n * self.size[0] + first) * line, dx);
        });
    }

    /// A row of dx.
    fn input_grad_line<F: Real>(&self, terms: &[(&[F], &[F], Lines<F>)], y: usize, sums: &mut Vec<F>, dx: &mut [F]) {
        let (outs, stride, mut taps) = (self.outs(), self.conv.stride[1], Vec::new());
        for [remainder, channel] in (0..stride.min(self.size[1])).flat_map(|r| (0..self.ci).map(move |c| [r, c])) {
            sums.clear();
            sums.resize((self.size[1] - remainder).div_ceil(stride) * outs, F::zero());
            for (_, w, lines) in terms {
                self.taps_meeting(&lines.layout, [y, remainder, channel], &mut taps);
                F::vectorize(Sum { taps: &taps, x: &lines.data, w, outs, y: sums });
            }
            let pixels = dx.chunks_exact_mut(self.ci * self.conv.groups).skip(remainder).step_by(stride);
            for (dx, sums) in pixels.zip(sums.chunks_exact(outs)) {
                match self.ci * self.co {
                    1 => dx.copy_from_slice(sums),
                    _ => dx.chunks_exact_mut(self.ci).zip(sums.chunks_exact(self.co)).for_each(|(dx, sums)| {
                        dx[channel] = sums.iter().copied().sum();
                    }),
                }
            }
        }
    }

    /// `dw = Σ x ⋆ᵀ ct` over terms, for each item of their stacks, in tasks of whole rows whose sums are added in order.
    pub(crate) fn depthwise_weight_grad<F: Real>(&self, terms: &[Term<F>], dw: &mut [F]) {
        let len = self.w().iter().product();
        let rows = PIXELS.div_ceil(self.out[1]);
        let tasks = (self.n * self.out[0]).div_ceil(rows);
        let mut sums = vec![F::zero(); tasks * dw.len()];
        sums.par_chunks_mut(len).enumerate().for_each_init(Vec::new, |long, (task, sums)| {
            let rows = task % tasks * rows..((task % tasks + 1) * rows).min(self.n * self.out[0]);
            self.depthwise_weight_grad_rows(terms, task / tasks, rows, long, sums);
        });
        for (dw, sums) in dw.chunks_mut(len).zip(sums.chunks(tasks * len)) {
            begin(dw, &[]);
            sums.chunks(len).for_each(|sums| dw.iter_mut().zip(sums).for_each(|(dw, &sum)| *dw += sum));
        }
    }

    /// Adds `Σ x ⋆ᵀ ct` over terms and some rows of all images to weights.
    fn depthwise_weight_grad_rows<F: Real>(
        &self, terms: &[Term<F>], item: usize, rows: Range<usize>, long: &mut Vec<F>, dw: &mut [F],
    ) {
        let (outs, layout, mut taps) = (self.outs(), Layout::image(self), Vec::new());
        let (line, image) = (self.out[1] * outs, self.x()[1..].iter().product::<usize>());
        let period = outs << (WIDTH.trailing_zeros().saturating_sub(outs.trailing_zeros()));
        long.clear();
        long.resize(self.taps() * self.ci * period, F::zero());
        for [x, ct] in terms {
            let mut lines = Lines::new(layout);
            for row in rows.clone() {
                let (n, y) = (row / self.out[0], row % self.out[0]);
                if y == 0 {
                    lines.next = 0;
                }
                lines.reach(&x.item(item)[n * image..][..image], self.rows_under(y));
                self.taps_of(&layout, y, &mut taps);
                let ct = &ct.item(item)[row * line..][..line];
                F::vectorize(Products { taps: &taps, x: &lines.data, ct, period, y: long });
            }
        }
        for (dw, long) in dw.chunks_exact_mut(outs).zip(long.chunks_exact(period)) {
            for long in long.chunks_exact(outs) {
                dw.iter_mut().zip(long).for_each(|(dw, &sum)| *dw += sum);
            }
        }
    }
}

//! Convolutions by 3×3 kernels with a quarter of the multiplications: Winograd's F(4×4, 3×3), in f32 (Lavin and Gray 2016).
//! The loops of the CPU; the launches for software adapters are in `ops/conv/winograd.rs`.
//!
//! A tile of 6×6 pixels and a kernel are transformed to 36 components each, whose products, summed over channels and
//! transformed back, are 4×4 results: `y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ x B)] A`. This is linear in the kernel, so its gradient needs
//! no other transforms: `dw = Gᵀ [(A ct Aᵀ) ⊙ (Bᵀ x B)] G`. Items of a stack share the transform of what they have in common.

pub mod tiles;

use std::{array::from_fn, ops::Range};

use pulp::Arch;
use rayon::prelude::*;

use crate::{
    cpu::{
        conv::sums::add_up,
        epilogue::Epilogue,
        scratch::Scratch,
        stack::{Term, stretches},
    },
    tensor::Geometry,
};
use tiles::{
    Cotangent, Grid, Image, Kernel, Map, Outer, PARTS, Products, Results, Rows, SIDE, STEP, Steps, Taps, component,
};

/// Tiles whose components a task makes at once.
const GROUP: usize = 16;

/// Floats of components, or of their sums, that a core keeps close.
const CLOSE: usize = 1 << 17;

/// A convolution of images by a 3×3 kernel, cut into tiles.
#[derive(Clone, Copy)]
pub struct Tiling {
    /// Height and width of images and of results.
    pub size: [usize; 2],
    pub out: [usize; 2],
    pub padding: [usize; 2],
    /// Of images and of results.
    pub channels: [usize; 2],
}

/// Zeros what lies beside `row` numbers from `left` on in lines of length `pitch`.
fn clear(lines: &mut [f32], pitch: usize, left: usize, row: usize) {
    for line in lines.chunks_exact_mut(pitch) {
        line[..left].fill(0.0);
        line[left + row..].fill(0.0);
    }
}

impl Tiling {
    /// Of a convolution's forward direction; `None` where it has another kernel, a stride, dilation, groups, or so small an
    /// image that most of its tiles would be empty.
    pub fn new(g: &Geometry) -> Option<Self> {
        let plain = g.kernel == [3, 3] && g.conv.stride == [1, 1] && g.conv.dilation == [1, 1] && g.conv.groups == 1;
        let t = Tiling { size: g.size, out: g.out, padding: g.conv.padding, channels: [g.ci, g.co] };
        (plain && t.padding.iter().all(|&p| p < 3) && t.is_full()).then_some(t)
    }

    /// Whether the tiles have less work than the pixels of results.
    pub fn is_full(&self) -> bool {
        let [down, across] = self.count();
        SIDE * down * across <= self.out[0] * self.out[1]
    }

    /// That of the input gradient.
    pub fn reversed(self) -> Self {
        let Tiling { size, out, padding, channels: [ci, co] } = self;
        Tiling { size: out, out: size, padding: padding.map(|p| 2 - p), channels: [co, ci] }
    }

    /// Tiles down and across an image.
    pub fn count(&self) -> [usize; 2] {
        self.out.map(|out| out.div_ceil(STEP))
    }

    /// Rows of tiles of a task, of whole images or of one, and floats of results they make.
    fn task(&self, n: usize) -> [usize; 2] {
        let ([down, across], row) = (self.count(), self.out[1] * self.channels[1]);
        if n >= 8 || !self.out[0].is_multiple_of(STEP) {
            let images = GROUP.div_ceil(down * across).min((n / 8).max(1));
            return [images * down, images * self.out[0] * row];
        }
        let rows = (1..=down.div_ceil(8)).rev().find(|&r| down.is_multiple_of(r)).unwrap_or(1);
        [rows, rows * STEP * row]
    }

    /// Transforms rows of tiles of images to components `[36, tiles, ci]`.
    fn images(&self, x: &[f32], rows: Range<usize>, to: &mut [f32]) {
        let ([down, across], [ci, _], width) = (self.count(), self.channels, self.size[1]);
        let (pitch, row) = ((across * STEP + 2) * ci, width * ci);
        let tiles = rows.len() * across;
        let (mut zeros, mut between) = (Scratch::new(row), Scratch::new(SIDE * pitch));
        let left = self.padding[1] * ci;
        zeros.fill(0.0);
        clear(&mut between, pitch, left, row);
        for (i, at) in rows.enumerate() {
            let (image, top) = (&x[at / down * self.size[0] * row..], at % down * STEP);
            let line = |k: usize| match (top + k).checked_sub(self.padding[0]) {
                Some(y) if y < self.size[0] => &image[y * row..][..row],
                _ => &zeros,
            };
            let mut lines = between.chunks_exact_mut(pitch);
            let y = from_fn(|_| &mut lines.next().unwrap_or_default()[left..][..row]);
            Arch::new().dispatch(Rows { map: Image, x: from_fn(line), y });
            let grid = Grid {
                map: Image,
                counts: [SIDE, across],
                channels: ci,
                x: &between,
                from: Steps { maps: [pitch, STEP * ci], numbers: ci },
                y: &mut to[i * across * ci..],
                to: Steps { maps: [SIDE * component(tiles, ci), ci], numbers: component(tiles, ci) },
            };
            Arch::new().dispatch(grid);
        }
    }

    /// Transforms rows of tiles of results' cotangents to components `[36, tiles, co]`.
    fn cotangents(&self, ct: &[f32], rows: Range<usize>, to: &mut [f32]) {
        let ([down, across], [_, co], [height, width]) = (self.count(), self.channels, self.out);
        let (pitch, row) = (across * STEP * co, width * co);
        let tiles = rows.len() * across;
        let (mut zeros, mut between) = (Scratch::new(row), Scratch::new(SIDE * pitch));
        zeros.fill(0.0);
        clear(&mut between, pitch, 0, row);
        for (i, at) in rows.enumerate() {
            let (image, top) = (&ct[at / down * height * row..], at % down * STEP);
            let x = from_fn(|k| if top + k < height { &image[(top + k) * row..][..row] } else { &zeros });
            let mut lines = between.chunks_exact_mut(pitch);
            let y = from_fn(|_| &mut lines.next().unwrap_or_default()[..row]);
            Arch::new().dispatch(Rows { map: Cotangent, x, y });
            let grid = Grid {
                map: Cotangent,
                counts: [SIDE, across],
                channels: co,
                x: &between,
                from: Steps { maps: [pitch, STEP * co], numbers: co },
                y: &mut to[i * across * co..],
                to: Steps { maps: [SIDE * component(tiles, co), co], numbers: component(tiles, co) },
            };
            Arch::new().dispatch(grid);
        }
    }

    /// Transforms sums of products `[36, tiles, co]` to rows of results, of which `y` holds those from row `start` of tiles on.
    fn results(&self, m: &[f32], rows: Range<usize>, start: usize, y: &mut [f32]) {
        let ([down, across], [_, co], [height, width]) = (self.count(), self.channels, self.out);
        let (pitch, row) = (across * STEP * co, width * co);
        let tiles = rows.len() * across;
        let (mut spare, mut between) = (Scratch::new(STEP * row), Scratch::new(SIDE * pitch));
        let line = |at: usize| at / down * height + at % down * STEP;
        for (i, at) in rows.enumerate() {
            let grid = Grid {
                map: Results,
                counts: [SIDE, across],
                channels: co,
                x: &m[i * across * co..],
                from: Steps { maps: [SIDE * component(tiles, co), co], numbers: component(tiles, co) },
                y: &mut between,
                to: Steps { maps: [pitch, STEP * co], numbers: co },
            };
            Arch::new().dispatch(grid);
            let lines = STEP.min(height - at % down * STEP);
            let y = &mut y[(line(at) - line(start)) * row..][..lines * row];
            let mut lines = y.chunks_exact_mut(row).chain(spare.chunks_exact_mut(row));
            let y = from_fn(|_| lines.next().unwrap_or_default());
            Arch::new().dispatch(Rows { map: Results, x: from_fn(|k| &between[k * pitch..][..row]), y });
        }
    }

    /// `y = bias + Σ x ⋆ w` over terms of images and weights `[3, 3, channels]`.
    pub fn convolve(
        &self, terms: &[Term<f32>], bias: &[f32], epilogue: Epilogue<f32>, [n, items]: [usize; 2], y: &mut [f32],
    ) {
        let ([down, across], [ci, co]) = (self.count(), self.channels);
        let components = PARTS * ci * co;
        let weights = |[_, w]: &Term<f32>| {
            let mut all = Scratch::new(if w.is_one() { 1 } else { items } * components);
            let each = all.chunks_exact_mut(components).enumerate();
            let tasks: Vec<_> = each.flat_map(|(m, u)| columns(w.item(m), u, ci * co)).collect();
            tasks.into_par_iter().for_each(|(w, mut u)| kernels(w, &mut u));
            all
        };
        let weights: Vec<Scratch> = terms.iter().map(weights).collect();
        let [rows, len] = self.task(n);
        let group = (GROUP.max(CLOSE / (2 * PARTS * (ci + co))) / across).max(1);
        let tasks = stretches(y, items, len);
        tasks.into_par_iter().enumerate().for_each(|(task, mut y)| {
            let rows = task * rows..((task + 1) * rows).min(n * down);
            let largest = rows.len().min(group) * across;
            let mut images: Vec<_> = terms.iter().map(|_| Scratch::new(PARTS * component(largest, ci))).collect();
            let mut m = Scratch::new(PARTS * component(largest, co));
            for from in rows.clone().step_by(group) {
                let part = from..(from + group).min(rows.end);
                for (item, y) in y.iter_mut().enumerate() {
                    for ([x, _], to) in terms.iter().zip(&mut images) {
                        if item == 0 || !x.is_one() {
                            self.images(x.item(item), part.clone(), to);
                        }
                    }
                    let terms: Vec<[&[f32]; 2]> = (images.iter().zip(terms).zip(&weights))
                        .map(|((v, [_, w]), u)| [&v[..], &u[if w.is_one() { 0 } else { item * components }..]])
                        .collect();
                    let tiles = part.len() * across;
                    Arch::new().dispatch(Products { terms: &terms, tiles, channels: self.channels, m: &mut m });
                    self.results(&m, part.clone(), rows.start, y);
                }
            }
            if !bias.is_empty() {
                let pixels = y.iter_mut().flat_map(|y| y.chunks_exact_mut(co));
                pixels.for_each(|y| y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias));
            }
            y.iter_mut().enumerate().for_each(|(item, y)| epilogue.apply(item, task * len, y));
        });
    }

    /// `dw = Σ x ⋆ᵀ ct` over terms, in tasks whose sums are added in order.
    pub fn weight_grad(&self, terms: &[Term<f32>], n: usize, dw: &mut [f32]) {
        let ([down, across], [ci, co]) = (self.count(), self.channels);
        let (len, all) = (9 * ci * co, dw.len());
        let items = (CLOSE / (PARTS * ci * co)).clamp(1, all / len);
        let rows = n * down;
        let per_task = rows.div_ceil((rows * across / (2 * GROUP)).clamp(1, 16));
        let group = (CLOSE / (PARTS * (ci + co)) / across).max(1);
        let group = per_task.div_ceil(per_task.div_ceil(group));
        let mut sums = Scratch::new(rows.div_ceil(per_task) * all);
        let parts = sums.chunks_mut(all).enumerate();
        let parts = parts.flat_map(|(task, s)| s.chunks_mut(items * len).enumerate().map(move |(i, s)| (task, i, s)));
        let parts: Vec<_> = parts.collect();
        parts.into_par_iter().for_each(|(task, i, dw)| {
            let rows = task * per_task..((task + 1) * per_task).min(rows);
            let (first, components) = (i * items, PARTS * ci * co);
            let largest = rows.len().min(group) * across;
            let lend = |channels| terms.iter().map(move |_| Scratch::new(PARTS * component(largest, channels)));
            let (mut images, mut cotangents): (Vec<_>, Vec<_>) = (lend(ci).collect(), lend(co).collect());
            let mut sums = Scratch::new(dw.len() / len * components);
            sums.fill(0.0);
            for from in rows.clone().step_by(group) {
                let part = from..(from + group).min(rows.end);
                for (item, s) in sums.chunks_exact_mut(components).enumerate() {
                    for (i, [x, ct]) in terms.iter().enumerate() {
                        if item == 0 || !x.is_one() {
                            self.images(x.item(first + item), part.clone(), &mut images[i]);
                        }
                        if item == 0 || !ct.is_one() {
                            self.cotangents(ct.item(first + item), part.clone(), &mut cotangents[i]);
                        }
                    }
                    let terms: Vec<[&[f32]; 2]> =
                        images.iter().zip(&cotangents).map(|(v, t)| [&v[..], &t[..]]).collect();
                    let tiles = part.len() * across;
                    Arch::new().dispatch(Outer { terms: &terms, tiles, channels: self.channels, s });
                }
            }
            for (s, dw) in sums.chunks_exact(components).zip(dw.chunks_exact_mut(len)) {
                taps(s, dw);
            }
        });
        add_up(&sums, dw);
    }
}

/// Maps blocks of `x [I, J, len]`, whose items are arrays of like length, along the first axis: to `[O, J, len]`.
fn down<M, const I: usize, const O: usize>(map: M, x: &[f32], y: &mut [f32])
where
    M: Map<I, O>,
{
    let step = x.len() / I;
    let mut rows = y.chunks_exact_mut(step);
    let y = from_fn(|_| rows.next().unwrap_or_default());
    Arch::new().dispatch(Rows { map, x: from_fn(|k| &x[k * step..][..step]), y });
}

/// Pieces of the columns of a kernel `[9, columns]`, with the components `[36, columns]` that are to be made of each.
fn columns<'a>(
    w: &'a [f32], u: &'a mut [f32], columns: usize,
) -> impl Iterator<Item = ([&'a [f32]; 9], Vec<&'a mut [f32]>)> {
    const PIECE: usize = 1024;
    let pieces = stretches(u, PARTS, PIECE).into_iter().enumerate();
    pieces.map(move |(i, u)| (from_fn(|tap| &w[tap * columns + i * PIECE..][..u[0].len()]), u))
}

/// Components of some columns of a kernel.
fn kernels(w: [&[f32]; 9], u: &mut [&mut [f32]]) {
    let len = w[0].len();
    let mut between = Scratch::new(3 * SIDE * len);
    for (row, to) in w.chunks_exact(3).zip(between.chunks_exact_mut(SIDE * len)) {
        let mut to = to.chunks_exact_mut(len);
        let y = from_fn(|_| to.next().unwrap_or_default());
        Arch::new().dispatch(Rows { map: Kernel, x: from_fn(|tap| row[tap]), y });
    }
    for j in 0..SIDE {
        let x = from_fn(|row| &between[(row * SIDE + j) * len..][..len]);
        let mut to = u.iter_mut().skip(j).step_by(SIDE);
        let y = from_fn(|_| to.next().map(|to| &mut **to).unwrap_or_default());
        Arch::new().dispatch(Rows { map: Kernel, x, y });
    }
}

/// The gradient `[3, 3, ci, co]` of a kernel from that of its components.
fn taps(s: &[f32], dw: &mut [f32]) {
    let len = s.len() / PARTS;
    let mut between = Scratch::new(3 * SIDE * len);
    down::<_, SIDE, 3>(Taps, s, &mut between);
    for (between, to) in between.chunks_exact(SIDE * len).zip(dw.chunks_exact_mut(3 * len)) {
        down::<_, SIDE, 3>(Taps, between, to);
    }
}

//! Direct convolutions of f32 on the CPU: outputs of neighbouring pixels in registers, images as they lie in memory,
//! no patches.
//!
//! Under a row of the kernel the window of a pixel is one run of `kernel width · ci` numbers of a padded image row, and the
//! runs of neighbouring pixels overlap. So each row of the kernel adds a product of a matrix of runs and a block of weights.

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::{
    cpu::{
        conv::{
            patches::ROWS,
            sums::{add_up, begin, task_rows},
            vectors::{Backward, Extents, Forward, vectors},
            winograd::Tiling,
        },
        epilogue::Epilogue,
        scratch::Scratch,
        stack::{Stack, Term, stretches},
    },
    tensor::Geometry,
};

/// Numbers in a vector below which products of packed patches are faster.
const LANES: usize = 8;

/// Items of a stack whose weight gradients a task makes.
const GROUP: usize = 4;

/// Numbers that a vector of this CPU holds.
fn lanes() -> usize {
    struct Count;
    impl WithSimd for Count {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    Arch::new().dispatch(Count)
}

/// Whether these loops take a convolution, with so many numbers to a vector: of `outs` channels.
fn takes(g: &Geometry, outs: usize) -> bool {
    let lanes = lanes();
    lanes >= LANES && outs.is_multiple_of(lanes) && g.conv.groups == 1 && g.conv.dilation == [1, 1]
}

/// Rows `from..to` of a padded image; those outside it are zeros.
fn pad(image: &[f32], size: [usize; 2], channels: usize, padding: [usize; 2], rows: [usize; 2]) -> Scratch {
    let (row, left) = (size[1] * channels, padding[1] * channels);
    let pitch = row + 2 * left;
    let mut padded = Scratch::new((rows[1] - rows[0]) * pitch);
    for (y, to) in (rows[0]..rows[1]).zip(padded.chunks_exact_mut(pitch)) {
        match y.checked_sub(padding[0]).filter(|&y| y < size[0]) {
            Some(y) => {
                to[..left].fill(0.0);
                to[left..][..row].copy_from_slice(&image[y * row..][..row]);
                to[left + row..].fill(0.0);
            }
            None => to.fill(0.0),
        }
    }
    padded
}

/// Weights `[rows, outs]` as [`Forward`] reads them: the channels of all items side by side, in panels.
fn panels(items: &[&[f32]], rows: usize, outs: usize) -> Scratch {
    let (lanes, all) = (lanes(), items.len() * outs);
    let wide = lanes * vectors(lanes, all);
    let mut panels = Scratch::new(rows * all);
    panels.par_chunks_exact_mut(rows * wide).enumerate().for_each(|(panel, to)| {
        for (v, c) in (panel * wide..(panel + 1) * wide).step_by(lanes).enumerate() {
            let w = &items[c / outs][c % outs..];
            for (row, to) in to.chunks_exact_mut(wide).enumerate() {
                to[v * lanes..][..lanes].copy_from_slice(&w[row * outs..][..lanes]);
            }
        }
    });
    panels
}

/// The weights, of kernels mirrored and with the channels' roles exchanged, that make a convolution of an input gradient.
fn mirrored(g: &Geometry, items: &[&[f32]]) -> Scratch {
    let (taps, len) = (g.kernel[0] * g.kernel[1], g.ci * g.co);
    let mut mirrored = Scratch::new(items.len() * taps * len);
    mirrored.par_chunks_exact_mut(len).enumerate().for_each(|(at, to)| {
        let from = &items[at / taps][(taps - 1 - at % taps) * len..][..len];
        for (c, from) in from.chunks_exact(g.co).enumerate() {
            from.iter().zip(to[c..].iter_mut().step_by(g.ci)).for_each(|(&from, to)| *to = from);
        }
    });
    mirrored
}

fn image_of(images: &[f32], image: usize, size: [usize; 2], channels: usize) -> &[f32] {
    let len = size[0] * size[1] * channels;
    &images[image * len..][..len]
}

/// The items of a stack that are worked on together: all, where what they meet is the same for all, and else each alone.
fn together(one: &Stack<f32>, other: &Stack<f32>, items: usize) -> usize {
    if one.is_one() && !other.is_one() { items } else { 1 }
}

/// `y = bias + Σ x ⋆ w` over terms of images `[n, size, channels]` and weights `[kernel, channels, outs]`.
fn convolve(
    terms: &[Term<f32>], [size, out, kernel, padding, stride]: [[usize; 2]; 5], [channels, outs]: [usize; 2],
    bias: &[f32], epilogue: Epilogue<f32>, [n, items]: [usize; 2], y: &mut [f32],
) {
    let e = Extents::new(size[1], channels, padding[1], stride, kernel, outs);
    let rows = task_rows(n, out[0]);
    let weights = |[x, w]: &Term<f32>| -> Vec<Scratch> {
        let all: Vec<&[f32]> = (0..if w.is_one() { 1 } else { items }).map(|m| w.item(m)).collect();
        all.chunks(together(x, w, items)).map(|w| panels(w, e.rows * e.run, outs)).collect()
    };
    let weights: Vec<_> = terms.iter().map(weights).collect();
    let tasks = stretches(y, items, rows * out[1] * outs);
    tasks.into_par_iter().enumerate().for_each(|(task, mut y)| {
        let (image, first) = (task * rows / out[0], task * rows % out[0]);
        let rows = [first * stride[0], (first + rows - 1) * stride[0] + kernel[0]];
        y.iter_mut().for_each(|y| begin(y, bias));
        for ([x, w], weights) in terms.iter().zip(&weights) {
            for (part, y) in y.chunks_mut(together(x, w, items)).enumerate() {
                let x = image_of(x.item(part), image, size, channels);
                let padded = (padding != [0, 0]).then(|| pad(x, size, channels, padding, rows));
                let x = padded.as_deref().unwrap_or_else(|| &x[rows[0] * e.pitch..]);
                let w = weights.get(part).unwrap_or(&weights[0]);
                Arch::new().dispatch(Forward { e, x, w, y });
            }
        }
        let start = (image * out[0] + first) * out[1] * outs;
        y.iter_mut().enumerate().for_each(|(item, y)| epilogue.apply(item, start, y));
    });
}

/// The tiles of a convolution that Winograd's transforms take.
fn tiling(g: &Geometry) -> Option<Tiling> {
    Tiling::new(g).filter(|_| takes(g, g.ci) && takes(g, g.co))
}

/// The weights of each term as [`mirrored`] makes them.
fn mirrored_terms(g: &Geometry, terms: &[Term<f32>], items: usize) -> Vec<Scratch> {
    let mirror = |[_, w]: &Term<f32>| {
        let all: Vec<&[f32]> = (0..if w.is_one() { 1 } else { items }).map(|m| w.item(m)).collect();
        mirrored(g, &all)
    };
    terms.iter().map(mirror).collect()
}

/// `y = bias + Σ x ⋆ w` over terms, with its epilogue, where the geometry is one that these loops take; else nothing is
/// done.
///
/// Results are stacks if a factor is one. Where one image meets stacked weights, or stacked cotangents, their channels lie
/// side by side, and every number of the image that is loaded serves several items.
fn forward(g: &Geometry, terms: &[Term<f32>], bias: &[f32], epilogue: Epilogue<f32>, y: &mut [f32]) -> bool {
    if !takes(g, g.co) {
        return false;
    }
    let items = y.len() / g.y().iter().product::<usize>();
    if let Some(tiling) = tiling(g) {
        tiling.convolve(terms, bias, epilogue, [g.n, items], y);
        return true;
    }
    let extents = [g.size, g.out, g.kernel, g.conv.padding, g.conv.stride];
    convolve(terms, extents, [g.ci, g.co], bias, epilogue, [g.n, items], y);
    true
}

/// `dx = Σ ct ⋆ᵀ w` over terms. Without a stride it is a convolution with the mirrored weights.
fn input_grad(g: &Geometry, terms: &[Term<f32>], epilogue: Epilogue<f32>, dx: &mut [f32]) -> bool {
    let fits = (0..2).all(|axis| g.conv.padding[axis] < g.kernel[axis]);
    if !takes(g, g.ci) || g.conv.stride != [1, 1] || !fits {
        return false;
    }
    let (items, len) = (dx.len() / g.x().iter().product::<usize>(), g.w().iter().product());
    let weights = mirrored_terms(g, terms, items);
    let terms: Vec<_> = terms.iter().zip(&weights).map(|(&[ct, _], w)| [ct, Stack::of(w, len)]).collect();
    if let Some(tiling) = tiling(g).map(Tiling::reversed).filter(Tiling::is_full) {
        tiling.convolve(&terms, &[], epilogue, [g.n, items], dx);
        return true;
    }
    let padding = from_fn(|axis| g.kernel[axis] - 1 - g.conv.padding[axis]);
    let extents = [g.out, g.size, g.kernel, padding, [1, 1]];
    convolve(&terms, extents, [g.co, g.ci], &[], epilogue, [g.n, items], dx);
    true
}

/// `dw = Σ x ⋆ᵀ ct` over terms, in tasks of whole images of about so many output pixels, for some items of the stack each, whose sums are added in order.
fn weight_grad(g: &Geometry, terms: &[Term<f32>], dw: &mut [f32], rows_per_task: usize) -> bool {
    if !takes(g, g.co) {
        return false;
    }
    if let Some(tiling) = tiling(g) {
        tiling.weight_grad(terms, g.n, dw);
        return true;
    }
    let e = Extents::new(g.size[1], g.ci, g.conv.padding[1], g.conv.stride, g.kernel, g.co);
    let len = g.w().iter().product::<usize>();
    let group = GROUP.min(dw.len() / len);
    let tasks = g.rows().div_ceil(rows_per_task).min(16).min(g.n);
    let per_task = g.n.div_ceil(tasks);
    let mut sums = Scratch::new(tasks * dw.len());
    sums.fill(0.0);
    let all = sums.chunks_mut(dw.len()).enumerate();
    let parts = all.flat_map(|(task, s)| s.chunks_mut(group * len).enumerate().map(move |(part, s)| (task, part, s)));
    let parts: Vec<_> = parts.collect();
    parts.into_par_iter().for_each(|(task, part, sums)| {
        let images = task * per_task..((task + 1) * per_task).min(g.n);
        for (image, [x, ct]) in images.flat_map(|image| terms.iter().map(move |term| (image, term))) {
            for (i, dw) in sums.chunks_mut(together(x, ct, group) * len).enumerate() {
                let first = part * group + i;
                let x = image_of(x.item(first), image, g.size, g.ci);
                let (padding, height) = (g.conv.padding, g.size[0] + 2 * g.conv.padding[0]);
                let padded = (padding != [0, 0]).then(|| pad(x, g.size, g.ci, padding, [0, height]));
                let x = padded.as_deref().unwrap_or(x);
                let ct: Vec<_> =
                    (first..first + dw.len() / len).map(|m| image_of(ct.item(m), image, g.out, g.co)).collect();
                Arch::new().dispatch(Backward { e, x, ct: &ct, dw });
            }
        }
    });
    add_up(&sums, dw);
    true
}

/// The host's convolutions: by these loops or Winograd's where they take the geometry, else by patches.
impl Geometry {
    /// [`Geometry::forward`] in f32.
    pub(crate) fn forward_host(&self, terms: &[Term<f32>], bias: &[f32], epilogue: Epilogue<f32>, y: &mut [f32]) {
        if !forward(self, terms, bias, epilogue, y) {
            self.forward(terms, bias, epilogue, y);
        }
    }

    /// [`Geometry::input_grad`] in f32.
    pub(crate) fn input_grad_host(&self, terms: &[Term<f32>], epilogue: Epilogue<f32>, dx: &mut [f32]) {
        if !input_grad(self, terms, epilogue, dx) {
            self.input_grad(terms, epilogue, dx);
        }
    }

    /// [`Geometry::weight_grad`] in f32.
    pub(crate) fn weight_grad_host(&self, terms: &[Term<f32>], dw: &mut [f32]) {
        if !weight_grad(self, terms, dw, ROWS) {
            self.weight_grad(terms, dw);
        }
    }
}

//! Direct convolutions of f32 on the CPU: outputs of neighbouring pixels in registers, images and weights as they lie in
//! memory, no patches.
//!
//! Under a row of the kernel the window of a pixel is one run of `kernel width · ci` numbers of a padded image row, and the
//! runs of neighbouring pixels overlap. So each row of the kernel adds a product of a matrix of runs and a block of weights.

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::Geometry;

/// The direct loops for convolutions that a float has. Each returns whether it takes the geometry, and else does nothing.
pub trait Direct: Sized {
    /// `y += Σ x ⋆ w` over terms.
    fn forward(_: &Geometry, _terms: &[(&[Self], &[Self])], _y: &mut [Self]) -> bool {
        false
    }

    /// `dx += Σ ct ⋆ᵀ w` over terms.
    fn input_grad(_: &Geometry, _terms: &[(&[Self], &[Self])], _dx: &mut [Self]) -> bool {
        false
    }

    /// `dw += x ⋆ᵀ ct`, with so many output pixels to a task.
    fn weight_grad(_: &Geometry, _x: &[Self], _ct: &[Self], _dw: &mut [Self], _rows: usize) -> bool {
        false
    }
}

/// Numbers in a vector below which products of packed patches are faster.
const LANES: usize = 8;

/// Output pixels after which sums go back to the weights' gradient.
const SPAN: usize = 64;

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

/// Copies rows `from..to` of a padded image; those outside it are zeros.
fn pad(image: &[f32], size: [usize; 2], channels: usize, padding: [usize; 2], rows: [usize; 2], out: &mut Vec<f32>) {
    let (row, pitch) = (size[1] * channels, (size[1] + 2 * padding[1]) * channels);
    out.clear();
    out.resize((rows[1] - rows[0]) * pitch, 0.0);
    for (y, out) in (rows[0]..rows[1]).zip(out.chunks_exact_mut(pitch)) {
        if let Some(y) = y.checked_sub(padding[0]).filter(|&y| y < size[0]) {
            out[padding[1] * channels..][..row].copy_from_slice(&image[y * row..][..row]);
        }
    }
}

/// The extents of a convolution of padded rows, in elements.
#[derive(Clone, Copy)]
struct Extents {
    /// From a padded row to the next.
    pitch: usize,
    /// From the window of a pixel to that of the one below, and of the one beside.
    step: [usize; 2],
    /// Rows of the kernel.
    rows: usize,
    /// A window's part of a row.
    run: usize,
    /// Output channels.
    outs: usize,
    /// Pixels of an output row.
    width: usize,
}

impl Extents {
    fn new(width: usize, channels: usize, padding: usize, stride: [usize; 2], kernel: [usize; 2], outs: usize) -> Self {
        let pitch = (width + 2 * padding) * channels;
        Extents {
            pitch,
            step: [stride[0] * pitch, stride[1] * channels],
            rows: kernel[0],
            run: kernel[1] * channels,
            outs,
            width: (width + 2 * padding - kernel[1]) / stride[1] + 1,
        }
    }
}

/// `V` vectors of a row of channels.
#[inline(always)]
fn load<S: Simd, const V: usize>(row: &[f32]) -> [S::f32s; V] {
    let (vectors, _) = S::as_simd_f32s(&row[..V * S::F32_LANES]);
    from_fn(|v| vectors[v])
}

#[inline(always)]
fn store<S: Simd, const V: usize>(row: &mut [f32], values: [S::f32s; V]) {
    let (vectors, _) = S::as_mut_simd_f32s(&mut row[..V * S::F32_LANES]);
    vectors.iter_mut().zip(values).for_each(|(to, v)| *to = v);
}

/// `y += x ⋆ w` for rows of outputs: x padded, w `[rows, run, outs]`, y `[…, width, outs]`.
struct Forward<'a> {
    e: Extents,
    x: &'a [f32],
    w: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match S::F32_LANES >= 16 && self.e.outs.is_multiple_of(2 * S::F32_LANES) {
            true => self.all::<S, 2>(simd),
            false => self.all::<S, 1>(simd),
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn all<S: Simd, const V: usize>(&mut self, simd: S) {
        let e = self.e;
        for row in 0..self.y.len() / (e.width * e.outs) {
            for c in (0..e.outs).step_by(V * S::F32_LANES) {
                let mut p = 0;
                while p < e.width {
                    p += match e.width - p {
                        8.. => self.tile::<S, 8, V>(simd, row, p, c),
                        4.. => self.tile::<S, 4, V>(simd, row, p, c),
                        2.. => self.tile::<S, 2, V>(simd, row, p, c),
                        _ => self.tile::<S, 1, V>(simd, row, p, c),
                    };
                }
            }
        }
    }

    /// `R` pixels from `p` on, `V` vectors of channels from `c` on; returns `R`.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, row: usize, p: usize, c: usize) -> usize {
        let e = self.e;
        let y = &mut self.y[(row * e.width + p) * e.outs..][..R * e.outs];
        let mut sums: [[S::f32s; V]; R] = from_fn(|r| load::<S, V>(&y[r * e.outs + c..]));
        for ky in 0..e.rows {
            let x = &self.x[row * e.step[0] + ky * e.pitch + p * e.step[1]..];
            let x: [&[f32]; R] = from_fn(|r| &x[r * e.step[1]..][..e.run]);
            let w = &self.w[ky * e.run * e.outs..][..e.run * e.outs];
            for (j, w) in w.chunks_exact(e.outs).enumerate() {
                let w = load::<S, V>(&w[c..]);
                for r in 0..R {
                    let x = simd.splat_f32s(x[r][j]);
                    sums[r] = from_fn(|v| simd.mul_add_e_f32s(x, w[v], sums[r][v]));
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            store::<S, V>(&mut y[r * e.outs + c..], sums);
        }
        R
    }
}

/// `dw += x ⋆ᵀ ct` over rows of outputs, in the layouts of [`Forward`].
struct Backward<'a> {
    e: Extents,
    x: &'a [f32],
    ct: &'a [f32],
    dw: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match S::F32_LANES >= 16 && self.e.outs.is_multiple_of(2 * S::F32_LANES) {
            true => self.all::<S, 2>(simd),
            false => self.all::<S, 1>(simd),
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn all<S: Simd, const V: usize>(&mut self, simd: S) {
        let e = self.e;
        let rows = self.ct.len() / (e.width * e.outs);
        let span = SPAN.div_ceil(e.width);
        for first in (0..rows).step_by(span) {
            let rows = first..(first + span).min(rows);
            for ky in 0..e.rows {
                for c in (0..e.outs).step_by(V * S::F32_LANES) {
                    let mut j = 0;
                    while j < e.run {
                        let rows = rows.clone();
                        j += match e.run - j {
                            8.. => self.tile::<S, 8, V>(simd, rows, ky, j, c),
                            4.. => self.tile::<S, 4, V>(simd, rows, ky, j, c),
                            3 => self.tile::<S, 3, V>(simd, rows, ky, j, c),
                            2 => self.tile::<S, 2, V>(simd, rows, ky, j, c),
                            _ => self.tile::<S, 1, V>(simd, rows, ky, j, c),
                        };
                    }
                }
            }
        }
    }

    /// `R` weights of the runs from `j` on, `V` vectors of channels from `c` on; returns `R`.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        rows: std::ops::Range<usize>,
        ky: usize,
        j: usize,
        c: usize,
    ) -> usize {
        let e = self.e;
        let dw = &mut self.dw[(ky * e.run + j) * e.outs..][..R * e.outs];
        let mut sums: [[S::f32s; V]; R] = from_fn(|r| load::<S, V>(&dw[r * e.outs + c..]));
        for row in rows {
            let x = &self.x[row * e.step[0] + ky * e.pitch + j..];
            let ct = &self.ct[row * e.width * e.outs..][..e.width * e.outs];
            for (p, ct) in ct.chunks_exact(e.outs).enumerate() {
                let (ct, x) = (load::<S, V>(&ct[c..]), &x[p * e.step[1]..][..R]);
                for r in 0..R {
                    let x = simd.splat_f32s(x[r]);
                    sums[r] = from_fn(|v| simd.mul_add_e_f32s(x, ct[v], sums[r][v]));
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            store::<S, V>(&mut dw[r * e.outs + c..], sums);
        }
        R
    }
}

/// Output rows of a task: of one image, which they divide.
fn task_rows(images: usize, rows: usize) -> usize {
    let most = if images >= 8 { rows } else { rows.div_ceil(8) };
    (1..=most).rev().find(|&r| rows.is_multiple_of(r)).unwrap_or(1)
}

/// `y += Σ x ⋆ w` over terms of images `[n, size, channels]` and weights `[kernel, channels, outs]`.
fn convolve(
    terms: &[(&[f32], &[f32])],
    [size, out, kernel, padding, stride]: [[usize; 2]; 5],
    [channels, outs]: [usize; 2],
    y: &mut [f32],
) {
    let e = Extents::new(size[1], channels, padding[1], stride, kernel, outs);
    let images = y.len() / (out[0] * out[1] * outs);
    let rows = task_rows(images, out[0]);
    y.par_chunks_mut(rows * out[1] * outs).enumerate().for_each_init(Vec::new, |padded, (task, y)| {
        let (image, first) = (task * rows / out[0], task * rows % out[0]);
        let rows = [first * stride[0], (first + rows - 1) * stride[0] + kernel[0]];
        for &(x, w) in terms {
            let x = &x[image * size[0] * size[1] * channels..][..size[0] * size[1] * channels];
            let x = match padding {
                [0, 0] => &x[rows[0] * e.pitch..],
                _ => {
                    pad(x, size, channels, padding, rows, padded);
                    padded.as_slice()
                }
            };
            Arch::new().dispatch(Forward { e, x, w, y });
        }
    });
}

impl Direct for f32 {
    fn forward(g: &Geometry, terms: &[(&[f32], &[f32])], y: &mut [f32]) -> bool {
        if !takes(g, g.co) {
            return false;
        }
        convolve(terms, [g.size, g.out, g.kernel, g.conv.padding, g.conv.stride], [g.ci, g.co], y);
        true
    }

    /// Without a stride it is a convolution with the mirrored weights.
    fn input_grad(g: &Geometry, terms: &[(&[f32], &[f32])], dx: &mut [f32]) -> bool {
        let fits = (0..2).all(|axis| g.conv.padding[axis] < g.kernel[axis]);
        if !takes(g, g.ci) || g.conv.stride != [1, 1] || !fits {
            return false;
        }
        let taps = g.kernel[0] * g.kernel[1];
        let mirrored: Vec<Vec<f32>> = terms
            .iter()
            .map(|(_, w)| {
                let mut mirrored = vec![0.0; w.len()];
                for (tap, to) in mirrored.chunks_exact_mut(g.ci * g.co).enumerate() {
                    let from = &w[(taps - 1 - tap) * g.ci * g.co..][..g.ci * g.co];
                    for (c, from) in from.chunks_exact(g.co).enumerate() {
                        from.iter().enumerate().for_each(|(o, &w)| to[o * g.ci + c] = w);
                    }
                }
                mirrored
            })
            .collect();
        let terms: Vec<_> = terms.iter().zip(&mirrored).map(|(&(ct, _), w)| (ct, w.as_slice())).collect();
        let padding = from_fn(|axis| g.kernel[axis] - 1 - g.conv.padding[axis]);
        convolve(&terms, [g.out, g.size, g.kernel, padding, [1, 1]], [g.co, g.ci], dx);
        true
    }

    /// In tasks of whole images whose sums are added in order.
    fn weight_grad(g: &Geometry, x: &[f32], ct: &[f32], dw: &mut [f32], rows_per_task: usize) -> bool {
        if !takes(g, g.co) {
            return false;
        }
        let e = Extents::new(g.size[1], g.ci, g.conv.padding[1], g.conv.stride, g.kernel, g.co);
        let pixels = g.out[0] * g.out[1];
        let tasks = g.rows().div_ceil(rows_per_task).min(16).min(g.n);
        let per_task = g.n.div_ceil(tasks);
        let mut sums = vec![0.0; tasks * dw.len()];
        sums.par_chunks_mut(dw.len()).enumerate().for_each_init(Vec::new, |padded, (task, dw)| {
            for image in task * per_task..((task + 1) * per_task).min(g.n) {
                let x = &x[image * g.size[0] * g.size[1] * g.ci..][..g.size[0] * g.size[1] * g.ci];
                let x = match g.conv.padding {
                    [0, 0] => x,
                    padding => {
                        pad(x, g.size, g.ci, padding, [0, g.size[0] + 2 * padding[0]], padded);
                        padded.as_slice()
                    }
                };
                let ct = &ct[image * pixels * g.co..][..pixels * g.co];
                Arch::new().dispatch(Backward { e, x, ct, dw: &mut *dw });
            }
        });
        for sum in sums.chunks(dw.len()) {
            dw.iter_mut().zip(sum).for_each(|(dw, sum)| *dw += sum);
        }
        true
    }
}

impl Direct for f64 {}

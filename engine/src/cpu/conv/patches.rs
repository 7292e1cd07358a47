//! Convolutions on the CPU by im2col: matrix products with patches, in f32 or f64.

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    cpu::{
        conv::sums::begin,
        epilogue::Epilogue,
        float::{Mat, Real},
        stack::Term,
    },
    tensor::Geometry,
};

/// Elements of a block of patches: what a core keeps close to its product.
const PATCHES: usize = 1 << 15;

/// Output pixels that one task of the weight gradient adds up; the tasks' sums are added in order.
pub(crate) const ROWS: usize = 1024;

impl Geometry {
    fn block(&self) -> usize {
        (PATCHES / (self.taps() * self.ci)).clamp(16, 1024)
    }

    /// The windows of some output pixels as rows `[taps, ci]`.
    fn patches<F: Real>(&self, x: &[F], group: usize, rows: Range<usize>, patches: &mut [F]) {
        let (ci, channels) = (self.ci, self.ci * self.conv.groups);
        for (row, patch) in rows.zip(patches.chunks_mut(self.taps() * ci)) {
            if self.conv.padding != [0, 0] {
                patch.fill(F::zero());
            }
            self.each_tap(row, |tap, pixel| {
                let from = &x[pixel * channels + group * ci..][..ci];
                patch[tap * ci..][..ci].copy_from_slice(from);
            });
        }
    }

    /// `y = bias + Σ x ⋆ w` over terms, with its epilogue, for each item of their stacks; without a bias it is empty.
    pub(crate) fn forward<F: Real>(&self, terms: &[Term<F>], bias: &[F], epilogue: Epilogue<F>, y: &mut [F]) {
        if self.is_thin() {
            return self.depthwise(terms, bias, epilogue, y);
        }
        let (outs, len) = (self.co * self.conv.groups, self.y().iter().product());
        for (item, y) in y.chunks_mut(len).enumerate() {
            let block = self.block();
            y.par_chunks_mut(block * outs).enumerate().for_each_init(Vec::new, |patches, (b, y)| {
                begin(y, bias);
                for [x, w] in terms {
                    self.forward_block(x.item(item), w.item(item), b * block, patches, y);
                }
                epilogue.apply(item, b * block * outs, y);
            });
        }
    }

    /// Adds `x ⋆ w` to rows of `y` from `start` on.
    fn forward_block<F: Real>(&self, x: &[F], w: &[F], start: usize, patches: &mut Vec<F>, y: &mut [F]) {
        let (k, outs) = (self.taps() * self.ci, self.co * self.conv.groups);
        let rows = start..start + y.len() / outs;
        for group in 0..self.conv.groups {
            let a = if self.is_pointwise() {
                let channels = self.ci * self.conv.groups;
                Mat { data: &x[rows.start * channels + group * self.ci..], row: channels, col: 1 }
            } else {
                patches.resize(self.block() * k, F::zero());
                self.patches(x, group, rows.clone(), patches);
                Mat { data: patches, row: k, col: 1 }
            };
            let w = Mat { data: &w[group * self.co..], row: outs, col: 1 };
            F::gemm([rows.len(), self.co, k], &mut y[group * self.co..], outs, a, w, true, false);
        }
    }

    /// `dx = Σ ct ⋆ᵀ w` over terms, for each item of their stacks, an image at a time.
    pub(crate) fn input_grad<F: Real>(&self, terms: &[Term<F>], epilogue: Epilogue<F>, dx: &mut [F]) {
        if self.is_thin() {
            return self.depthwise_input_grad(terms, epilogue, dx);
        }
        let (image, len) = (self.x()[1..].iter().product(), self.x().iter().product());
        for (item, dx) in dx.chunks_mut(len).enumerate() {
            let terms: Vec<_> = terms.iter().map(|[ct, w]| [ct.item(item), w.item(item)]).collect();
            dx.par_chunks_mut(image).enumerate().for_each_init(Vec::new, |patches, (image, dx)| {
                dx.fill(F::zero());
                self.input_grad_image(&terms, image, patches, dx);
                epilogue.apply(item, image * dx.len(), dx);
            });
        }
    }

    /// Adds `Σ ct ⋆ᵀ w` to an image.
    fn input_grad_image<F: Real>(&self, terms: &[[&[F]; 2]], image: usize, patches: &mut Vec<F>, dx: &mut [F]) {
        let (k, outs, channels) = (self.taps() * self.ci, self.co * self.conv.groups, self.ci * self.conv.groups);
        let (pixels, per_image) = (self.size[0] * self.size[1], self.out[0] * self.out[1]);
        let first = image * per_image;
        for group in 0..self.conv.groups {
            for start in (first..first + per_image).step_by(self.block()) {
                let rows = start..(start + self.block()).min(first + per_image);
                patches.resize(self.block() * k, F::zero());
                for (term, [ct, w]) in terms.iter().enumerate() {
                    let w = Mat { data: &w[group * self.co..], row: 1, col: outs };
                    let a = Mat { data: &ct[rows.start * outs + group * self.co..], row: outs, col: 1 };
                    let size = [rows.len(), k, self.co];
                    if self.is_pointwise() {
                        let dx = &mut dx[(rows.start - first) * channels + group * self.ci..];
                        F::gemm(size, dx, channels, a, w, true, false);
                    } else {
                        F::gemm(size, patches, k, a, w, term > 0, false);
                    }
                }
                if self.is_pointwise() {
                    continue;
                }
                for (row, patch) in rows.zip(patches.chunks(k)) {
                    self.each_tap(row, |tap, pixel| {
                        let to = &mut dx[(pixel - image * pixels) * channels + group * self.ci..][..self.ci];
                        to.iter_mut().zip(&patch[tap * self.ci..]).for_each(|(to, &from)| *to += from);
                    });
                }
            }
        }
    }

    /// `dw = Σ x ⋆ᵀ ct` over terms, for each item of their stacks, in tasks of fixed size whose sums are added in order.
    pub(crate) fn weight_grad<F: Real>(&self, terms: &[Term<F>], dw: &mut [F]) {
        if self.is_thin() {
            return self.depthwise_weight_grad(terms, dw);
        }
        let len = self.w().iter().product();
        let tasks = self.rows().div_ceil(ROWS).min(16);
        let per_task = self.rows().div_ceil(tasks);
        for (item, dw) in dw.chunks_mut(len).enumerate() {
            let mut sums = vec![F::zero(); tasks * len];
            sums.par_chunks_mut(len).enumerate().for_each_init(Vec::new, |patches, (task, dw)| {
                let rows = task * per_task..((task + 1) * per_task).min(self.rows());
                for [x, ct] in terms {
                    self.weight_grad_rows(x.item(item), ct.item(item), rows.clone(), patches, dw);
                }
            });
            begin(dw, &[]);
            for sum in sums.chunks(len) {
                dw.iter_mut().zip(sum).for_each(|(dw, &sum)| *dw += sum);
            }
        }
    }

    /// Adds `x ⋆ᵀ ct` over some output pixels.
    fn weight_grad_rows<F: Real>(&self, x: &[F], ct: &[F], rows: Range<usize>, patches: &mut Vec<F>, dw: &mut [F]) {
        let (k, outs, channels) = (self.taps() * self.ci, self.co * self.conv.groups, self.ci * self.conv.groups);
        for start in rows.clone().step_by(self.block()) {
            let rows = start..(start + self.block()).min(rows.end);
            for group in 0..self.conv.groups {
                let a = if self.is_pointwise() {
                    Mat { data: &x[rows.start * channels + group * self.ci..], row: 1, col: channels }
                } else {
                    patches.resize(self.block() * k, F::zero());
                    self.patches(x, group, rows.clone(), patches);
                    Mat { data: patches, row: 1, col: k }
                };
                let b = Mat { data: &ct[rows.start * outs + group * self.co..], row: outs, col: 1 };
                F::gemm([k, self.co, rows.len()], &mut dw[group * self.co..], outs, a, b, true, false);
            }
        }
    }
}

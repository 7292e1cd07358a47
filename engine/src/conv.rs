//! The geometry of two-dimensional convolutions, channels last, and their CPU evaluation as products with patches.

use std::ops::Range;

use rayon::prelude::*;

use crate::{Mat, Real, Term, finish::Finish};

/// Stride, zero padding, dilation (rows, columns) and channel groups of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Step from window to window.
    pub stride: [usize; 2],
    /// Zeros on either side.
    pub padding: [usize; 2],
    /// Distance between the taps of a window.
    pub dilation: [usize; 2],
    /// Groups into which input and output channels are divided alike.
    pub groups: usize,
}

impl Default for Conv {
    fn default() -> Self {
        Conv { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

impl Conv {
    /// Stride 1 and the same padding on all sides.
    pub fn padded(padding: usize) -> Self {
        Conv { padding: [padding; 2], ..Conv::default() }
    }

    /// With the same stride both ways.
    pub fn strided(self, stride: usize) -> Self {
        Conv { stride: [stride; 2], ..self }
    }

    /// Output extent along an axis (0 rows, 1 columns), `None` when the window does not fit.
    pub fn out(&self, axis: usize, n: usize, kernel: usize) -> Option<usize> {
        if kernel == 0 || self.stride[axis] == 0 || self.dilation[axis] == 0 {
            return None;
        }
        let span = self.dilation[axis] * (kernel - 1) + 1;
        Some((n + 2 * self.padding[axis]).checked_sub(span)? / self.stride[axis] + 1)
    }
}

/// A convolution with all its extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Stride, padding, dilation, groups.
    pub conv: Conv,
    /// Images.
    pub n: usize,
    /// Height and width of x.
    pub size: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Height and width of y.
    pub out: [usize; 2],
    /// Input channels of a group.
    pub ci: usize,
    /// Output channels of a group.
    pub co: usize,
}

/// Elements of a block of patches: what a core keeps close to its product.
const PATCHES: usize = 1 << 15;

/// Output pixels that one task of the weight gradient adds up; the tasks' sums are added in order.
const ROWS: usize = 1024;

/// Writes what a sum begins with: the bias in every row, or zeros.
pub(crate) fn begin<F: Real>(y: &mut [F], bias: &[F]) {
    match bias {
        [] => y.fill(F::zero()),
        bias => y.chunks_mut(bias.len()).for_each(|y| y.copy_from_slice(bias)),
    }
}

impl Geometry {
    /// From the shapes of x `[n, h, w, groups·ci]`, w `[kh, kw, ci, groups·co]`; `None` when they do not fit.
    pub fn new(conv: Conv, x: &[usize], w: &[usize]) -> Option<Self> {
        let ([n, height, width, channels], [kh, kw, ci, outs]) =
            (<[usize; 4]>::try_from(x).ok()?, <[usize; 4]>::try_from(w).ok()?);
        let fits = conv.groups > 0 && channels == ci * conv.groups && outs % conv.groups == 0;
        let out = [conv.out(0, height, kh)?, conv.out(1, width, kw)?];
        let co = outs / conv.groups.max(1);
        fits.then_some(Geometry { conv, n, size: [height, width], kernel: [kh, kw], out, ci, co })
    }

    /// Shape of x.
    pub fn x(&self) -> [usize; 4] {
        [self.n, self.size[0], self.size[1], self.ci * self.conv.groups]
    }

    /// Shape of w.
    pub fn w(&self) -> [usize; 4] {
        [self.kernel[0], self.kernel[1], self.ci, self.co * self.conv.groups]
    }

    /// Shape of y.
    pub fn y(&self) -> [usize; 4] {
        [self.n, self.out[0], self.out[1], self.co * self.conv.groups]
    }

    /// Pixels of y.
    pub fn rows(&self) -> usize {
        self.n * self.out[0] * self.out[1]
    }

    /// Multiply-adds, doubled.
    pub fn flops(&self) -> u64 {
        2 * (self.rows() * self.kernel[0] * self.kernel[1] * self.ci * self.co * self.conv.groups) as u64
    }

    /// From a tap to the next that meets the same pixels of x.
    pub(crate) fn tap_step(&self, axis: usize) -> usize {
        let gcd = |mut a: usize, mut b: usize| {
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        self.conv.stride[axis] / gcd(self.conv.stride[axis], self.conv.dilation[axis])
    }

    /// The kernels' words after those of the product; the last eight say that taps and pixels are all of them, in order.
    pub fn words(&self) -> [usize; 22] {
        let Geometry { conv, size, kernel, out, ci, co, .. } = *self;
        let Conv { stride, padding, dilation, .. } = conv;
        [
            size[0],
            size[1],
            out[0],
            out[1],
            kernel[0],
            kernel[1],
            ci,
            co,
            stride[0],
            stride[1],
            padding[0],
            padding[1],
            dilation[0],
            dilation[1],
            0,
            kernel[1],
            1,
            0,
            size[1],
            1,
            size[0] * size[1],
            self.n * size[0] * size[1],
        ]
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// A 1×1 convolution of every pixel: its patches are x itself.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.conv == (Conv { groups: self.conv.groups, ..Conv::default() })
    }

    /// Few channels in a group: loops, not products.
    fn is_thin(&self) -> bool {
        self.is_depthwise() || self.conv.groups > 1 && self.ci * self.co < 16
    }

    fn block(&self) -> usize {
        (PATCHES / (self.taps() * self.ci)).clamp(16, 1024)
    }

    /// Calls `f` for each tap of the window of output pixel `row` that lies inside x: (tap, pixel of x).
    #[inline]
    pub(crate) fn each_tap(&self, row: usize, mut f: impl FnMut(usize, usize)) {
        let [height, width] = self.size;
        let (image, pixel) = (row / (self.out[0] * self.out[1]), row % (self.out[0] * self.out[1]));
        let [stride_y, stride_x] = self.conv.stride;
        let (top, left) = (pixel / self.out[1] * stride_y, pixel % self.out[1] * stride_x);
        for ky in 0..self.kernel[0] {
            let y = (top + ky * self.conv.dilation[0]).wrapping_sub(self.conv.padding[0]);
            if y >= height {
                continue;
            }
            for kx in 0..self.kernel[1] {
                let x = (left + kx * self.conv.dilation[1]).wrapping_sub(self.conv.padding[1]);
                if x < width {
                    f(ky * self.kernel[1] + kx, (image * height + y) * width + x);
                }
            }
        }
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

    /// `y = bias + Σ x ⋆ w` over terms, finished, for each member of their stacks; without a bias it is empty.
    pub(crate) fn forward<F: Real>(&self, terms: &[Term<F>], bias: &[F], finish: Finish<F>, y: &mut [F]) {
        if F::forward(self, terms, bias, finish, y) {
            return;
        }
        if self.is_thin() {
            return self.depthwise(terms, bias, finish, y);
        }
        let (outs, len) = (self.co * self.conv.groups, self.y().iter().product());
        for (member, y) in y.chunks_mut(len).enumerate() {
            let block = self.block();
            y.par_chunks_mut(block * outs).enumerate().for_each_init(Vec::new, |patches, (b, y)| {
                begin(y, bias);
                for [x, w] in terms {
                    self.forward_block(x.member(member), w.member(member), b * block, patches, y);
                }
                finish.apply(member, b * block * outs, y);
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

    /// `dx = Σ ct ⋆ᵀ w` over terms, for each member of their stacks, an image at a time.
    pub(crate) fn input_grad<F: Real>(&self, terms: &[Term<F>], finish: Finish<F>, dx: &mut [F]) {
        if F::input_grad(self, terms, finish, dx) {
            return;
        }
        if self.is_thin() {
            return self.depthwise_input_grad(terms, finish, dx);
        }
        let (image, len) = (self.x()[1..].iter().product(), self.x().iter().product());
        for (member, dx) in dx.chunks_mut(len).enumerate() {
            let terms: Vec<_> = terms.iter().map(|[ct, w]| [ct.member(member), w.member(member)]).collect();
            dx.par_chunks_mut(image).enumerate().for_each_init(Vec::new, |patches, (image, dx)| {
                dx.fill(F::zero());
                self.input_grad_image(&terms, image, patches, dx);
                finish.apply(member, image * dx.len(), dx);
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

    /// `dw = Σ x ⋆ᵀ ct` over terms, for each member of their stacks, in tasks of fixed size whose sums are added in order.
    pub(crate) fn weight_grad<F: Real>(&self, terms: &[Term<F>], dw: &mut [F]) {
        if F::weight_grad(self, terms, dw, ROWS) {
            return;
        }
        if self.is_thin() {
            return self.depthwise_weight_grad(terms, dw);
        }
        let len = self.w().iter().product();
        let tasks = self.rows().div_ceil(ROWS).min(16);
        let per_task = self.rows().div_ceil(tasks);
        for (member, dw) in dw.chunks_mut(len).enumerate() {
            let mut sums = vec![F::zero(); tasks * len];
            sums.par_chunks_mut(len).enumerate().for_each_init(Vec::new, |patches, (task, dw)| {
                let rows = task * per_task..((task + 1) * per_task).min(self.rows());
                for [x, ct] in terms {
                    self.weight_grad_rows(x.member(member), ct.member(member), rows.clone(), patches, dw);
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

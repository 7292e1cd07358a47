//! The inner loops of direct convolutions: a register tile of neighbouring pixels, or weights, by SIMD vectors of channels.

use std::array::from_fn;

use pulp::{Simd, WithSimd};

/// Output pixels after which sums go back to the weights' gradient.
const SPAN: usize = 64;

/// The extents of a convolution of padded rows, in elements.
#[derive(Clone, Copy)]
pub struct Extents {
    /// From a padded row to the next.
    pub pitch: usize,
    /// From the window of a pixel to that of the one below, and of the one beside.
    pub step: [usize; 2],
    /// Rows of the kernel.
    pub rows: usize,
    /// A window's part of a row.
    pub run: usize,
    /// Output channels of an item of the stack.
    pub outs: usize,
    /// Pixels of an output row.
    pub width: usize,
}

impl Extents {
    pub fn new(
        width: usize, channels: usize, padding: usize, stride: [usize; 2], kernel: [usize; 2], outs: usize,
    ) -> Self {
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
pub fn load<S: Simd, const V: usize>(row: &[f32]) -> [S::f32s; V] {
    let (vectors, _) = S::as_simd_f32s(&row[..V * S::F32_LANES]);
    from_fn(|v| vectors[v])
}

#[inline(always)]
pub fn store<S: Simd>(row: &mut [f32], value: S::f32s) {
    S::as_mut_simd_f32s(&mut row[..S::F32_LANES]).0[0] = value;
}

/// Vectors of channels that a tile of this many channels is wide.
#[inline(always)]
pub fn vectors(lanes: usize, channels: usize) -> usize {
    if lanes >= 16 && channels.is_multiple_of(2 * lanes) { 2 } else { 1 }
}

/// For each vector of a tile from channel `c` on: the item of the stack and the channel of that.
#[inline(always)]
fn channels<const V: usize>(c: usize, lanes: usize, outs: usize) -> [[usize; 2]; V] {
    from_fn(|v| [(c + v * lanes) / outs, (c + v * lanes) % outs])
}

/// `y += x ⋆ w` for rows of outputs: x padded, y for each item `[…, width, outs]`, w in panels `[rows, run, V lanes]` of
/// the items' channels side by side.
pub struct Forward<'a, 'y> {
    pub e: Extents,
    pub x: &'a [f32],
    pub w: &'a [f32],
    pub y: &'a mut [&'y mut [f32]],
}

impl WithSimd for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match vectors(S::F32_LANES, self.e.outs * self.y.len()) {
            2 => self.all::<S, 2>(simd),
            _ => self.all::<S, 1>(simd),
        }
    }
}

impl Forward<'_, '_> {
    #[inline(always)]
    fn all<S: Simd, const V: usize>(&mut self, simd: S) {
        let e = self.e;
        for c in (0..e.outs * self.y.len()).step_by(V * S::F32_LANES) {
            for row in 0..self.y[0].len() / (e.width * e.outs) {
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
        let (e, wide) = (self.e, V * S::F32_LANES);
        let (at, own) = ((row * e.width + p) * e.outs, channels::<V>(c, S::F32_LANES, e.outs));
        let mut sums: [[S::f32s; V]; R] =
            from_fn(|r| from_fn(|v| load::<S, 1>(&self.y[own[v][0]][at + r * e.outs + own[v][1]..])[0]));
        let panel = &self.w[c * e.rows * e.run..][..e.rows * e.run * wide];
        for (ky, w) in panel.chunks_exact(e.run * wide).enumerate() {
            let x = &self.x[row * e.step[0] + ky * e.pitch + p * e.step[1]..];
            let x: [&[f32]; R] = from_fn(|r| &x[r * e.step[1]..][..e.run]);
            for (j, w) in w.chunks_exact(wide).enumerate() {
                let w = load::<S, V>(w);
                for r in 0..R {
                    let x = simd.splat_f32s(x[r][j]);
                    sums[r] = from_fn(|v| simd.mul_add_e_f32s(x, w[v], sums[r][v]));
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for v in 0..V {
                store::<S>(&mut self.y[own[v][0]][at + r * e.outs + own[v][1]..], sums[v]);
            }
        }
        R
    }
}

/// `dw += x ⋆ᵀ ct` over rows of outputs: x padded, ct for each item `[…, width, outs]`, dw `[items, rows, run, outs]`.
pub struct Backward<'a> {
    pub e: Extents,
    pub x: &'a [f32],
    pub ct: &'a [&'a [f32]],
    pub dw: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match vectors(S::F32_LANES, self.e.outs * self.ct.len()) {
            2 => self.all::<S, 2>(simd),
            _ => self.all::<S, 1>(simd),
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn all<S: Simd, const V: usize>(&mut self, simd: S) {
        let e = self.e;
        let rows = self.ct[0].len() / (e.width * e.outs);
        let span = SPAN.div_ceil(e.width);
        for first in (0..rows).step_by(span) {
            let rows = [first, (first + span).min(rows)];
            for ky in 0..e.rows {
                for c in (0..e.outs * self.ct.len()).step_by(V * S::F32_LANES) {
                    let mut j = 0;
                    while j < e.run {
                        j += match e.run - j {
                            8.. => self.tile::<S, 8, V>(simd, rows, [ky, j], c),
                            4.. => self.tile::<S, 4, V>(simd, rows, [ky, j], c),
                            3 => self.tile::<S, 3, V>(simd, rows, [ky, j], c),
                            2 => self.tile::<S, 2, V>(simd, rows, [ky, j], c),
                            _ => self.tile::<S, 1, V>(simd, rows, [ky, j], c),
                        };
                    }
                }
            }
        }
    }

    /// `R` weights of the runs of a row of the kernel from `j` on, `V` vectors of channels from `c` on; returns `R`.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        &mut self, simd: S, [from, to]: [usize; 2], [ky, j]: [usize; 2], c: usize,
    ) -> usize {
        let e = self.e;
        let own = channels::<V>(c, S::F32_LANES, e.outs);
        let at: [usize; V] = from_fn(|v| ((own[v][0] * e.rows + ky) * e.run + j) * e.outs + own[v][1]);
        let mut sums: [[S::f32s; V]; R] = from_fn(|r| from_fn(|v| load::<S, 1>(&self.dw[at[v] + r * e.outs..])[0]));
        for row in from..to {
            let x = &self.x[row * e.step[0] + ky * e.pitch + j..];
            let ct: [&[f32]; V] = from_fn(|v| &self.ct[own[v][0]][row * e.width * e.outs + own[v][1]..]);
            for p in 0..e.width {
                let ct: [S::f32s; V] = from_fn(|v| load::<S, 1>(&ct[v][p * e.outs..])[0]);
                let x = &x[p * e.step[1]..][..R];
                for r in 0..R {
                    let x = simd.splat_f32s(x[r]);
                    sums[r] = from_fn(|v| simd.mul_add_e_f32s(x, ct[v], sums[r][v]));
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for v in 0..V {
                store::<S>(&mut self.dw[at[v] + r * e.outs..], sums[v]);
            }
        }
        R
    }
}

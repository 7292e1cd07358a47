//! The inner loops of Winograd convolutions: transforms of tiles, and products of their components.

use std::array::from_fn;

use pulp::{Simd, WithSimd};

use crate::cpu::conv::vectors::{load, store, vectors};

/// Elements of a tile's side, which overlaps its neighbours by two.
pub const SIDE: usize = 6;

/// Output pixels of a tile's side.
pub const STEP: usize = 4;

/// Components that a tile is transformed to.
pub const PARTS: usize = SIDE * SIDE;

/// Floats from a component of `[tiles, channels]` to the next: a line of the cache more than they are, since at a distance of
/// a power of two they would all compete for the same lines.
pub fn component(tiles: usize, channels: usize) -> usize {
    tiles * channels + 16
}

/// Polynomials meet at 0, ±a, ±b and ∞, for a = √½ and b = √2: with ab = 1 the matrices' entries stay near one, and with them
/// the rounding is half of that at the whole numbers 0, ±1, ±2.
const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const B: f32 = std::f32::consts::SQRT_2;
const A2: f32 = 0.5;
const B2: f32 = 2.0;

/// `x + times y`.
#[inline(always)]
fn plus<S: Simd>(simd: S, x: S::f32s, times: f32, y: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(simd.splat_f32s(times), y, x)
}

/// `a x + b y`.
#[inline(always)]
fn both<S: Simd>(simd: S, [a, b]: [f32; 2], [x, y]: [S::f32s; 2]) -> S::f32s {
    plus(simd, simd.mul_f32s(simd.splat_f32s(b), y), a, x)
}

/// `even ± times odd`.
#[inline(always)]
fn pair<S: Simd>(simd: S, even: S::f32s, times: f32, odd: S::f32s) -> [S::f32s; 2] {
    [plus(simd, even, times, odd), plus(simd, even, -times, odd)]
}

/// Sums and differences of what was made at a and −a, and at b and −b.
#[inline(always)]
fn unpair<S: Simd>(simd: S, m: [S::f32s; SIDE]) -> [[S::f32s; 2]; 2] {
    [[simd.add_f32s(m[1], m[2]), simd.add_f32s(m[3], m[4])], [simd.sub_f32s(m[1], m[2]), simd.sub_f32s(m[3], m[4])]]
}

/// A linear map of `I` vectors to `O`. Those of tiles map rows and then columns, or columns and then rows.
pub trait Map<const I: usize, const O: usize>: Copy {
    fn of<S: Simd>(self, simd: S, x: [S::f32s; I]) -> [S::f32s; O];
}

/// Bᵀ: what an image's six neighbours are transformed to.
#[derive(Clone, Copy)]
pub struct Image;

impl Map<SIDE, SIDE> for Image {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: [S::f32s; SIDE]) -> [S::f32s; SIDE] {
        let [p, q] = pair(simd, plus(simd, x[4], -B2, x[2]), A, plus(simd, x[3], -B2, x[1]));
        let [r, s] = pair(simd, plus(simd, x[4], -A2, x[2]), B, plus(simd, x[3], -A2, x[1]));
        let ends = [simd.add_f32s(x[0], x[4]), simd.add_f32s(x[1], x[5])];
        [plus(simd, ends[0], -A2 - B2, x[2]), p, q, r, s, plus(simd, ends[1], -A2 - B2, x[3])]
    }
}

/// Aᵀ: four results of the products' six sums.
#[derive(Clone, Copy)]
pub struct Results;

impl Map<SIDE, STEP> for Results {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, m: [S::f32s; SIDE]) -> [S::f32s; STEP] {
        let [sums, differences] = unpair(simd, m);
        [
            simd.add_f32s(m[0], simd.add_f32s(sums[0], sums[1])),
            both(simd, [A, B], differences),
            both(simd, [A2, B2], sums),
            simd.add_f32s(both(simd, [A * A2, B * B2], differences), m[5]),
        ]
    }
}

/// A: what four neighbours of a cotangent are transformed to.
#[derive(Clone, Copy)]
pub struct Cotangent;

impl Map<STEP, SIDE> for Cotangent {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, y: [S::f32s; STEP]) -> [S::f32s; SIDE] {
        let [p, q] = pair(simd, plus(simd, y[0], A2, y[2]), A, plus(simd, y[1], A2, y[3]));
        let [r, s] = pair(simd, plus(simd, y[0], B2, y[2]), B, plus(simd, y[1], B2, y[3]));
        [y[0], p, q, r, s, y[3]]
    }
}

/// Factors of the kernel at ±a and ±b: one over the product of the differences to the other points.
const OVER: [f32; 2] = [1.0 / (2.0 * A2 * (A2 - B2)), 1.0 / (2.0 * B2 * (B2 - A2))];

/// G: what the three taps of a kernel are transformed to.
#[derive(Clone, Copy)]
pub struct Kernel;

impl Map<3, SIDE> for Kernel {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, w: [S::f32s; 3]) -> [S::f32s; SIDE] {
        let [p, q] = pair(simd, both(simd, [OVER[0], A2 * OVER[0]], [w[0], w[2]]), A * OVER[0], w[1]);
        let [r, s] = pair(simd, both(simd, [OVER[1], B2 * OVER[1]], [w[0], w[2]]), B * OVER[1], w[1]);
        [w[0], p, q, r, s, w[2]]
    }
}

/// Gᵀ: three taps of the products' six sums.
#[derive(Clone, Copy)]
pub struct Taps;

impl Map<SIDE, 3> for Taps {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, m: [S::f32s; SIDE]) -> [S::f32s; 3] {
        let [sums, differences] = unpair(simd, m);
        let [a, b] = OVER;
        [
            simd.add_f32s(m[0], both(simd, [a, b], sums)),
            both(simd, [A * a, B * b], differences),
            simd.add_f32s(m[5], both(simd, [A2 * a, B2 * b], sums)),
        ]
    }
}

/// A map of whole rows, alike in length.
pub struct Rows<'a, M, const I: usize, const O: usize> {
    pub map: M,
    pub x: [&'a [f32]; I],
    pub y: [&'a mut [f32]; O],
}

impl<M: Map<I, O>, const I: usize, const O: usize> WithSimd for Rows<'_, M, I, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let x = self.x.map(|x| S::as_simd_f32s(x).0);
        let y = self.y.map(|y| S::as_mut_simd_f32s(y).0);
        for at in 0..x[0].len() {
            let mut own = [simd.splat_f32s(0.0); I];
            for n in 0..I {
                own[n] = x[n][at];
            }
            let made = self.map.of(simd, own);
            for n in 0..O {
                y[n][at] = made[n];
            }
        }
    }
}

/// Where the numbers of maps lie: from one map to the next along two axes, and from one number of a map to the next.
#[derive(Clone, Copy)]
pub struct Steps {
    pub maps: [usize; 2],
    pub numbers: usize,
}

/// Maps of vectors of channels, many along two axes.
pub struct Grid<'a, M> {
    pub map: M,
    pub counts: [usize; 2],
    pub channels: usize,
    pub x: &'a [f32],
    pub from: Steps,
    pub y: &'a mut [f32],
    pub to: Steps,
}

impl<M> Grid<'_, M> {
    #[inline(always)]
    fn all<S: Simd, const I: usize, const O: usize>(self, simd: S)
    where
        M: Map<I, O>,
    {
        let Grid { map, counts, channels, x, from, y, to } = self;
        for i in 0..counts[0] {
            for j in 0..counts[1] {
                let x = &x[i * from.maps[0] + j * from.maps[1]..][..(I - 1) * from.numbers + channels];
                let y = &mut y[i * to.maps[0] + j * to.maps[1]..][..(O - 1) * to.numbers + channels];
                for c in (0..channels).step_by(S::F32_LANES) {
                    let mut own = [simd.splat_f32s(0.0); I];
                    for n in 0..I {
                        own[n] = load::<S, 1>(&x[n * from.numbers + c..])[0];
                    }
                    let made = map.of(simd, own);
                    for n in 0..O {
                        store::<S>(&mut y[n * to.numbers + c..], made[n]);
                    }
                }
            }
        }
    }
}

macro_rules! grids {
    ($($map:ident: $from:literal to $to:literal),+) => {
        $(impl WithSimd for Grid<'_, $map> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                self.all::<S, $from, $to>(simd);
            }
        })+
    };
}

grids!(Image: 6 to 6, Results: 6 to 4, Cotangent: 4 to 6);

/// For every component `m = Σ v u` over terms of `v [tiles, ci]` and `u [ci, co]`.
pub struct Products<'a> {
    pub terms: &'a [[&'a [f32]; 2]],
    pub tiles: usize,
    pub channels: [usize; 2],
    pub m: &'a mut [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match vectors(S::F32_LANES, self.channels[1]) {
            2 => self.all::<S, 2>(simd),
            _ if S::F32_LANES >= 16 && self.channels[0] == FEW => self.few(simd),
            _ => self.all::<S, 1>(simd),
        }
    }
}

/// Channels of which sums are so short that their loop is written out, for as many tiles as hide what a sum waits for.
const FEW: usize = 16;

impl Products<'_> {
    /// Products with few channels, one vector of results at a time.
    #[inline(always)]
    fn few<S: Simd>(&mut self, simd: S) {
        for part in 0..PARTS {
            for c in (0..self.channels[1]).step_by(S::F32_LANES) {
                let whole = self.tiles / FEW * FEW;
                for p in (0..whole).step_by(FEW) {
                    self.written_out::<S, FEW>(simd, part, p, c);
                }
                for p in whole..self.tiles {
                    self.written_out::<S, 1>(simd, part, p, c);
                }
            }
        }
    }

    /// `R` tiles from `p` on, a vector of channels from `c` on.
    #[inline(always)]
    fn written_out<S: Simd, const R: usize>(&mut self, simd: S, part: usize, p: usize, c: usize) {
        let co = self.channels[1];
        let mut sums = [simd.splat_f32s(0.0); R];
        for [v, u] in self.terms {
            let v = v[part * component(self.tiles, FEW) + p * FEW..].as_chunks::<FEW>().0;
            let v: &[[f32; FEW]; R] = v.first_chunk().expect("as many tiles as were asked for");
            let u = &u[part * FEW * co..][..FEW * co];
            for k in 0..FEW {
                let [u] = load::<S, 1>(&u[k * co + c..]);
                for r in 0..R {
                    sums[r] = simd.mul_add_e_f32s(simd.splat_f32s(v[r][k]), u, sums[r]);
                }
            }
        }
        let m = &mut self.m[part * component(self.tiles, co) + p * co + c..];
        for (r, sum) in sums.into_iter().enumerate() {
            store::<S>(&mut m[r * co..], sum);
        }
    }

    #[inline(always)]
    fn all<S: Simd, const V: usize>(&mut self, simd: S) {
        for part in 0..PARTS {
            for c in (0..self.channels[1]).step_by(V * S::F32_LANES) {
                let mut p = 0;
                while p < self.tiles {
                    p += match self.tiles - p {
                        8.. => self.tile::<S, 8, V>(simd, part, p, c),
                        4.. => self.tile::<S, 4, V>(simd, part, p, c),
                        2.. => self.tile::<S, 2, V>(simd, part, p, c),
                        _ => self.tile::<S, 1, V>(simd, part, p, c),
                    };
                }
            }
        }
    }

    /// `R` tiles from `p` on, `V` vectors of channels from `c` on; returns `R`.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, part: usize, p: usize, c: usize) -> usize {
        let [ci, co] = self.channels;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for [v, u] in self.terms {
            let v = &v[part * component(self.tiles, ci) + p * ci..][..R * ci];
            let v: [&[f32]; R] = from_fn(|r| &v[r * ci..][..ci]);
            let u = &u[part * ci * co..][..ci * co];
            for (k, u) in u.chunks_exact(co).enumerate() {
                let u: [S::f32s; V] = from_fn(|i| load::<S, 1>(&u[c + i * S::F32_LANES..])[0]);
                for r in 0..R {
                    let v = simd.splat_f32s(v[r][k]);
                    sums[r] = from_fn(|i| simd.mul_add_e_f32s(v, u[i], sums[r][i]));
                }
            }
        }
        let m = &mut self.m[part * component(self.tiles, co) + p * co + c..];
        for (r, sums) in sums.iter().enumerate() {
            for i in 0..V {
                store::<S>(&mut m[r * co + i * S::F32_LANES..], sums[i]);
            }
        }
        R
    }
}

/// For every component `s += Σ vᵀ t` over terms of `v [tiles, ci]` and `t [tiles, co]`.
pub struct Outer<'a> {
    pub terms: &'a [[&'a [f32]; 2]],
    pub tiles: usize,
    pub channels: [usize; 2],
    pub s: &'a mut [f32],
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match vectors(S::F32_LANES, self.channels[1]) {
            2 => self.all::<S, 8, 2>(simd),
            // With registers for more sums than one vector of eight, which would wait for one another.
            _ if S::F32_LANES >= 16 && self.channels[0].is_multiple_of(16) => self.all::<S, 16, 1>(simd),
            _ => self.all::<S, 8, 1>(simd),
        }
    }
}

impl Outer<'_> {
    #[inline(always)]
    fn all<S: Simd, const R: usize, const V: usize>(&mut self, simd: S) {
        for part in 0..PARTS {
            for c in (0..self.channels[1]).step_by(V * S::F32_LANES) {
                for k in (0..self.channels[0]).step_by(R) {
                    self.tile::<S, R, V>(simd, part, k, c);
                }
            }
        }
    }

    /// `R` input channels from `k` on, `V` vectors of output channels from `c` on.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, part: usize, k: usize, c: usize) {
        let [ci, co] = self.channels;
        let s = &mut self.s[(part * ci + k) * co + c..];
        let mut sums: [[S::f32s; V]; R] = from_fn(|r| from_fn(|i| load::<S, 1>(&s[r * co + i * S::F32_LANES..])[0]));
        for [v, t] in self.terms {
            let v = &v[part * component(self.tiles, ci)..][..self.tiles * ci];
            let t = &t[part * component(self.tiles, co)..][..self.tiles * co];
            for (v, t) in v.chunks_exact(ci).zip(t.chunks_exact(co)) {
                let t: [S::f32s; V] = from_fn(|i| load::<S, 1>(&t[c + i * S::F32_LANES..])[0]);
                let v = &v[k..][..R];
                for r in 0..R {
                    let v = simd.splat_f32s(v[r]);
                    sums[r] = from_fn(|i| simd.mul_add_e_f32s(v, t[i], sums[r][i]));
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for i in 0..V {
                store::<S>(&mut s[r * co + i * S::F32_LANES..], sums[i]);
            }
        }
    }
}

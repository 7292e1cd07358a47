//! Loops over arrays whose last axis is channels, on the CPU. Per-channel numbers are repeated up to the SIMD width, so that
//! few channels are as fast as many. Arrays may be stacks; their items share what is one for all while it is in the cache.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::cpu::{
    float::{Real, SERIAL},
    stack::{self, Stack},
};

/// What a loop makes of elements `x` of arrays and of their channels' numbers `c`.
pub(crate) trait Formula<const X: usize, const C: usize, const Y: usize>: Sync {
    fn f<F: Real>(&self, x: [F; X], c: [F; C]) -> [F; Y];
}

/// Elements of a block, whose loops compilers unroll into vectors.
const WIDTH: usize = 64;

/// Channels beyond which they are not repeated.
const MANY: usize = 256;

/// Numbers that are added up as floats; sums of sums are in f64.
const STRETCH: usize = 256;

/// Elements of a stack's items that are worked on together, so that what is read twice stays in the cache.
const TOGETHER: usize = 1 << 18;

/// The items of a stack, of `len` elements each, in groups that are worked on together.
pub(crate) fn groups(items: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let group = (TOGETHER / len).max(1);
    (0..items).step_by(group).map(move |first| first..(first + group).min(items))
}

/// How often channels are repeated: until blocks fit, a power of two.
fn repeats(channels: usize) -> usize {
    if channels >= MANY { 1 } else { WIDTH >> channels.trailing_zeros().min(WIDTH.trailing_zeros()) }
}

/// Numbers of channels, repeated.
fn repeated<F: Real, const C: usize>(c: [&[F]; C], channels: usize) -> [Vec<F>; C] {
    c.map(|c| c.repeat(repeats(channels)))
}

/// The ranges of `len` elements that meet channels repeated, `period` of them, in whole blocks; if such are no whole blocks, each
/// range is one period.
fn pieces(len: usize, period: usize) -> impl Iterator<Item = Range<usize>> {
    let piece = if period.is_multiple_of(WIDTH) { len } else { period };
    (0..len).step_by(piece.max(1)).map(move |from| from..(from + piece).min(len))
}

/// The loop that writes. Blocks of one set of channels come one after another, and their numbers stay in registers.
struct Write<'a, M, F, const X: usize, const C: usize> {
    formula: &'a M,
    x: [&'a [F]; X],
    c: [&'a [F]; C],
    period: usize,
    y: &'a mut [F],
}

impl<M: Formula<X, C, 1>, F: Real, const X: usize, const C: usize> WithSimd for Write<'_, M, F, X, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let sets = self.period.div_ceil(WIDTH);
        let whole = self.c.map(|c| c.as_chunks::<WIDTH>().0);
        for piece in pieces(self.y.len(), self.period) {
            let (y, y_rest) = self.y[piece.clone()].as_chunks_mut::<WIDTH>();
            let x = self.x.map(|x| x[piece.clone()].as_chunks::<WIDTH>());
            for set in 0..sets.min(y.len()) {
                let c = whole.map(|c| &c[set]);
                for b in (set..y.len()).step_by(sets) {
                    let (x, y) = (x.map(|x| &x.0[b]), &mut y[b]);
                    for i in 0..WIDTH {
                        [y[i]] = self.formula.f(x.map(|x| x[i]), c.map(|c| c[i]));
                    }
                }
            }
            let c = self.c.map(|c| &c[y.len() % sets * WIDTH..]);
            for (i, y) in y_rest.iter_mut().enumerate() {
                [*y] = self.formula.f(x.map(|x| x.1[i]), c.map(|c| c[i]));
            }
        }
    }
}

/// The loop that adds to `y`, each as long as channels repeated, blocks of one set of channels one after another.
struct Add<'a, M, F, const X: usize, const C: usize, const Y: usize> {
    formula: &'a M,
    x: [&'a [F]; X],
    c: [&'a [F]; C],
    y: [&'a mut [F]; Y],
}

impl<M: Formula<X, C, Y>, F: Real, const X: usize, const C: usize, const Y: usize> WithSimd for Add<'_, M, F, X, C, Y> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (period, y) = (self.y[0].len(), self.y);
        let sets = period.div_ceil(WIDTH);
        let whole = self.c.map(|c| c.as_chunks::<WIDTH>().0);
        for piece in pieces(self.x[0].len(), period) {
            let x = self.x.map(|x| x[piece.clone()].as_chunks::<WIDTH>());
            let blocks = x[0].0.len();
            for set in 0..sets.min(blocks) {
                let c = whole.map(|c| &c[set]);
                let mut sums = [[F::zero(); WIDTH]; Y];
                for b in (set..blocks).step_by(sets) {
                    let x = x.map(|x| &x.0[b]);
                    for i in 0..WIDTH {
                        let terms = self.formula.f(x.map(|x| x[i]), c.map(|c| c[i]));
                        for k in 0..Y {
                            sums[k][i] += terms[k];
                        }
                    }
                }
                for k in 0..Y {
                    let y = &mut y[k][set * WIDTH..][..WIDTH];
                    y.iter_mut().zip(sums[k]).for_each(|(y, sum)| *y += sum);
                }
            }
            let from = blocks % sets * WIDTH;
            let c = self.c.map(|c| &c[from..]);
            for i in 0..x[0].1.len() {
                let terms = self.formula.f(x.map(|x| x.1[i]), c.map(|c| c[i]));
                for k in 0..Y {
                    y[k][from + i] += terms[k];
                }
            }
        }
    }
}

/// `y = f(x, c)` for each item of stacks; `c` are the channels' numbers of each.
pub(crate) fn write<F: Real, M: Formula<X, C, 1>, const X: usize, const C: usize>(
    channels: usize, formula: &M, x: [Stack<F>; X], c: &[[&[F]; C]], y: &mut [F],
) {
    let c: Vec<[Vec<F>; C]> = c.iter().map(|&c| repeated(c, channels)).collect();
    let period = channels * repeats(channels);
    let task = (SERIAL / 2).div_ceil(period) * period;
    let serial = y.len() < SERIAL;
    let tasks = stack::stretches(y, c.len(), task).into_iter().enumerate();
    let make = |(i, items): (usize, Vec<&mut [F]>)| {
        for (m, (c, y)) in c.iter().zip(items).enumerate() {
            let x = x.map(|x| &x.item(m)[i * task..][..y.len()]);
            F::vectorize(Write { formula, x, c: c.each_ref().map(Vec::as_slice), period, y });
        }
    };
    match serial {
        true => tasks.for_each(make),
        false => tasks.collect::<Vec<_>>().into_par_iter().for_each(make),
    }
}

/// What is made of the elements of each stretch of rows, in order. Stretches have a length that depends on the channels alone.
fn stretches<T: Send>(len: usize, channels: usize, make: impl Fn(Range<usize>) -> T + Sync + Send) -> Vec<T> {
    let stretch = STRETCH * channels * repeats(channels);
    let ranges = (0..len.div_ceil(stretch)).map(|i| i * stretch..((i + 1) * stretch).min(len));
    match len {
        ..SERIAL => ranges.map(make).collect(),
        _ => ranges.collect::<Vec<_>>().into_par_iter().map(make).collect(),
    }
}

/// Sums over the rows of one stretch, of channels repeated added up in f64.
fn stretch_sums<F: Real, M: Formula<X, C, Y>, const X: usize, const C: usize, const Y: usize>(
    channels: usize, formula: &M, x: [&[F]; X], c: [&[F]; C],
) -> [Vec<f64>; Y] {
    let mut sums: [Vec<F>; Y] = std::array::from_fn(|_| vec![F::zero(); channels * repeats(channels)]);
    F::vectorize(Add { formula, x, c, y: sums.each_mut().map(|y| &mut y[..]) });
    sums.map(|y| {
        let mut total = vec![0.0; channels];
        for y in y.chunks(channels) {
            total.iter_mut().zip(y).for_each(|(total, y)| *total += y.wide());
        }
        total
    })
}

/// `Σ f(x, c)` over rows, for every channel, of each of so many items of stacks. Rows are added up in stretches, and these in
/// order, in f64.
pub(crate) fn sums<F: Real, M: Formula<X, C, Y>, const X: usize, const C: usize, const Y: usize>(
    channels: usize, formula: &M, x: [Stack<F>; X], c: [&[F]; C], items: usize,
) -> Vec<[Vec<f64>; Y]> {
    let c = repeated(c, channels);
    let c: [&[F]; C] = std::array::from_fn(|i| c[i].as_slice());
    let parts = stretches(x[0].item(0).len(), channels, |range| {
        let of = |m| {
            let x = x.map(|x| &x.item(m)[range.clone()]);
            stretch_sums::<F, M, X, C, Y>(channels, formula, x, c)
        };
        (0..items).map(of).collect::<Vec<_>>()
    });
    let mut total: Vec<[Vec<f64>; Y]> = (0..items).map(|_| std::array::from_fn(|_| vec![0.0; channels])).collect();
    for part in &parts {
        for (total, part) in total.iter_mut().flatten().zip(part.iter().flatten()) {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
    }
    total
}

/// `x`.
pub(crate) struct Same;

impl Formula<1, 0, 1> for Same {
    #[inline(always)]
    fn f<F: Real>(&self, x: [F; 1], _: [F; 0]) -> [F; 1] {
        x
    }
}

/// `(x − c)²` and `x − c`, which is left over because c is rounded.
struct Squares;

impl Formula<1, 1, 2> for Squares {
    #[inline(always)]
    fn f<F: Real>(&self, [x]: [F; 1], [c]: [F; 1]) -> [F; 2] {
        [(x - c) * (x - c), x - c]
    }
}

/// Mean and variance of every channel. A stretch of rows is read twice while it is in the cache, and stretches are merged
/// (Chan, Golub and LeVeque 1979).
pub(crate) fn moments<F: Real>(channels: usize, x: &[F]) -> [Vec<f64>; 2] {
    let parts = stretches(x.len(), channels, |range| {
        let (x, n) = (&x[range.clone()], (range.len() / channels) as f64);
        let [sum] = stretch_sums::<F, _, 1, 0, 1>(channels, &Same, [x], []);
        let mean: Vec<F> = sum.iter().map(|s| F::of(s / n)).collect();
        let [c] = repeated([&mean[..]], channels);
        let [mut squares, rest] = stretch_sums(channels, &Squares, [x], [&c[..]]);
        squares.iter_mut().zip(&rest).for_each(|(s, r)| *s -= r * r / n);
        let mean = mean.iter().zip(rest).map(|(m, r)| m.wide() + r / n).collect::<Vec<f64>>();
        (n, mean, squares)
    });
    let (mut count, mut mean, mut squares) = (0.0, vec![0.0; channels], vec![0.0; channels]);
    for (n, m, s) in parts {
        let both = count + n;
        for c in 0..channels {
            let off = m[c] - mean[c];
            mean[c] += off * n / both;
            squares[c] += s[c] + off * off * count * n / both;
        }
        count = both;
    }
    squares.iter_mut().for_each(|s| *s /= count);
    [mean, squares]
}

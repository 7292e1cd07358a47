//! What the tangents of batch normalization share: stacks of them at one point, and loops over the columns of arrays
//! `[rows, channels]` that keep sums and factors in registers.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use crate::{
    Error, Graph, Op, Real, Result, Stacked, Type, Var,
    batch::rank,
    map::SERIAL,
    norm,
    op::shape_error,
    stack::{stacked, stretches},
};

/// Neighbouring channels that are worked on together; the last ones one by one.
const WIDE: usize = 16;

/// Calls a function of `W` columns from `c` on for all columns.
macro_rules! by_columns {
    ($channels:expr, |$c:ident| $f:ident($($operand:expr),+)) => {{
        let even = $channels - $channels % WIDE;
        for $c in (0..even).step_by(WIDE) {
            $f::<F, WIDE>($($operand),+);
        }
        for $c in even..$channels {
            $f::<F, 1>($($operand),+);
        }
    }};
}

/// Of arrays `[rows, channels]` adds `Σ u` and `Σ u (x − mean)` over some rows to `sums`, which follow one another.
#[inline(always)]
pub(crate) fn add_with_deviation<F: Real>(rows: &Range<usize>, x: &[F], mean: &[F], u: &[F], sums: &mut [F]) {
    let channels = mean.len();
    let (sum, with) = sums.split_at_mut(channels);
    by_columns!(channels, |c| deviations(rows, [channels, c], [x, mean, u], [&mut *sum, &mut *with]));
}

#[inline(always)]
fn deviations<F: Real, const W: usize>(
    rows: &Range<usize>,
    [channels, c]: [usize; 2],
    [x, mean, u]: [&[F]; 3],
    [sum, with]: [&mut [F]; 2],
) {
    let mean = &mean[c..][..W];
    let (mut plain, mut weighed) = ([F::zero(); W], [F::zero(); W]);
    for row in rows.clone() {
        let (x, u) = (&x[row * channels + c..][..W], &u[row * channels + c..][..W]);
        for i in 0..W {
            plain[i] += u[i];
            weighed[i] += u[i] * (x[i] - mean[i]);
        }
    }
    sum[c..].iter_mut().zip(plain).for_each(|(sum, own)| *sum += own);
    with[c..].iter_mut().zip(weighed).for_each(|(sum, own)| *sum += own);
}

/// Of arrays `[rows, channels]` adds `Σ u v` over some rows to `sums`.
#[inline(always)]
pub(crate) fn add_products<F: Real>(rows: &Range<usize>, u: &[F], v: &[F], sums: &mut [F]) {
    let channels = sums.len();
    by_columns!(channels, |c| products(rows, [channels, c], [u, v], &mut *sums));
}

#[inline(always)]
fn products<F: Real, const W: usize>(
    rows: &Range<usize>,
    [channels, c]: [usize; 2],
    [u, v]: [&[F]; 2],
    sums: &mut [F],
) {
    let mut own = [F::zero(); W];
    for row in rows.clone() {
        let (u, v) = (&u[row * channels + c..][..W], &v[row * channels + c..][..W]);
        for i in 0..W {
            own[i] += u[i] * v[i];
        }
    }
    sums[c..].iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
}

/// What a member of a stack of tangents is at a point, channel by channel: a sum of arrays with factors, the first of them
/// less its mean, and a shift.
pub(crate) struct Combination<F> {
    /// Of `x`, of the first array, and of pairs of others.
    pub factors: Vec<Vec<F>>,
    pub mean: Vec<F>,
    pub shift: Vec<F>,
}

impl<F: Real> Combination<F> {
    /// `y = factors₀ (x − mean) + Σ factorsₙ₊₁ arraysₙ + shift`.
    #[inline(always)]
    fn write(&self, x: &[F], arrays: &[&[F]], y: &mut [F]) {
        let channels = self.mean.len();
        let first = [&self.factors[0], &self.mean, &self.factors[1], &self.shift].map(Vec::as_slice);
        by_columns!(channels, |c| begin([channels, c], [x, arrays[0]], first, &mut *y));
        for (factors, arrays) in self.factors[2..].chunks_exact(2).zip(arrays[1..].chunks_exact(2)) {
            let factors = [&factors[0], &factors[1]].map(Vec::as_slice);
            by_columns!(channels, |c| add([channels, c], [arrays[0], arrays[1]], factors, &mut *y));
        }
    }
}

/// `y = slope (x − mean) + scale u + shift`.
#[inline(always)]
fn begin<F: Real, const W: usize>([channels, c]: [usize; 2], [x, u]: [&[F]; 2], own: [&[F]; 4], y: &mut [F]) {
    let [slope, mean, scale, shift] = own.map(|own| &own[c..][..W]);
    for at in (c..y.len()).step_by(channels) {
        let (x, u, mut made) = (&x[at..][..W], &u[at..][..W], [F::zero(); W]);
        for i in 0..W {
            made[i] = scale[i] * u[i] + slope[i] * (x[i] - mean[i]) + shift[i];
        }
        y[at..][..W].copy_from_slice(&made);
    }
}

/// `y += p u + q v`.
#[inline(always)]
fn add<F: Real, const W: usize>([channels, c]: [usize; 2], [u, v]: [&[F]; 2], own: [&[F]; 2], y: &mut [F]) {
    let [p, q] = own.map(|own| &own[c..][..W]);
    for at in (c..y.len()).step_by(channels) {
        let (u, v, y, mut made) = (&u[at..][..W], &v[at..][..W], &mut y[at..][..W], [F::zero(); W]);
        for i in 0..W {
            made[i] = y[i] + p[i] * u[i] + q[i] * v[i];
        }
        y.copy_from_slice(&made);
    }
}

/// Writes the members of a stack, in parallel: combinations of `x` and `arrays`, of which some are stacks.
pub(crate) fn combine<F: Real>(own: &[Combination<F>], x: &[F], arrays: &[&[F]], y: &mut [F]) {
    let (channels, len) = (own[0].mean.len(), x.len());
    let task = (SERIAL / 2 / channels).max(1) * channels;
    let vectors = Arch::new();
    let make = |(i, members): (usize, Vec<&mut [F]>)| {
        for (m, (own, y)) in own.iter().zip(members).enumerate() {
            let from = |array: &&[F]| if array.len() > len { m * len + i * task } else { i * task };
            let (x, n) = (&x[i * task..][..y.len()], y.len());
            let arrays: Vec<&[F]> = arrays.iter().map(|array| &array[from(array)..][..n]).collect();
            vectors.dispatch(|| own.write(x, &arrays, y));
        }
    };
    stretches(y, own.len(), task).into_par_iter().enumerate().for_each(make);
}

/// Height of the stacks that the tangents are, operand `first` and all after it, and the types of single operands.
pub(crate) fn singles(op: &'static str, x: &[&Type], first: usize) -> Result<(Option<usize>, Vec<Type>)> {
    let mut own: Vec<Type> = x.iter().map(|&x| x.clone()).collect();
    let Some(of) = x.get(first).filter(|of| of.shape.len() > x[0].shape.len()) else { return Ok((None, own)) };
    let height = of.shape[0];
    let rule = "tangents are stacks of one height, and an array's elements come in fours";
    for tangent in &mut own[first..] {
        if tangent.shape.is_empty() || tangent.shape.remove(0) != height || !x[0].count().is_multiple_of(4) {
            return Err(shape_error(op, rule, x));
        }
    }
    Ok((Some(height), own))
}

/// The shape rule: results like `x` and two times its channels, or stacks of such; `arrays` are operands like `x`.
pub(crate) fn infer(op: &'static str, x: &[&Type], arrays: &[usize], first: usize) -> Result<Vec<Type>> {
    let (height, own) = singles(op, x, first)?;
    let shape = norm::check(op, &own.iter().collect::<Vec<_>>(), arrays)?;
    let channels = [shape[shape.len() - 1]];
    Ok([&shape[..], &channels, &channels].map(|s| Type::f32(stacked(height, s))).to_vec())
}

/// Members of the stack that a result like `x` is.
pub(crate) fn members(x: &Type, y: &Type) -> usize {
    y.count() / x.count()
}

/// The plain graph of an op on stacks, from that on single operands.
pub(crate) fn plain(
    g: &mut Graph,
    x: &[Var],
    first: usize,
    single: impl Fn(&mut Graph, &[Var]) -> Result<Vec<Var>>,
) -> Result<Vec<Var>> {
    if g.shape(x[first]).len() == g.shape(x[0]).len() {
        return single(g, x);
    }
    let is: Vec<bool> = (0..x.len()).map(|i| i >= first).collect();
    g.one_by_one(Stacked { k: g.shape(x[first])[0], x, is: &is }, single)
}

/// The op on stacks of tangents; `None` where the point is a stack too, or tangents are stacks already.
pub(crate) fn batched(op: &(impl Op + Clone), g: &mut Graph, x: Stacked, first: usize) -> Result<Option<Vec<Var>>> {
    let single = rank(g.ty(x.x[first]), x.is[first]) == g.shape(x.x[0]).len();
    if x.is[..first].contains(&true) || !single || !g.ty(x.x[0]).count().is_multiple_of(4) {
        return Ok(None);
    }
    let all: Result<Vec<Var>, Error> =
        (0..x.x.len()).map(|i| if i < first || x.is[i] { Ok(x.x[i]) } else { g.repeat(x.x[i], x.k) }).collect();
    g.apply_all(op.clone(), &all?).map(Some)
}

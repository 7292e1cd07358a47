//! What normalization over the last axis shares: rows of `[rows, n]`, on the device and on the CPU.

use rayon::prelude::*;

use crate::ops::norm::frame;
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::layer_norm`] and, not centred, of [`Tensor::rms_norm`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance, or to the mean square.
    pub eps: f64,
    /// Whether the mean is taken off, and `beta` added.
    pub centred: bool,
}

/// Elements of a row above which it is long: software adapters end an invocation's loops after 65,535 passes in all, without a
/// word.
const LONG: usize = 1 << 14;

/// A row's mean and rstd, and for a tangent `x'` the means of `x'` and of `x̂ x'`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments<F> {
    pub mean: F,
    pub rstd: F,
    pub dmean: F,
    pub along: F,
}

impl LayerNorm {
    /// The mean of a row, 0 where nothing is centred.
    pub(crate) fn centre<F: Real>(&self, x: &[F]) -> F {
        if self.centred { F::of(total(x) / x.len() as f64) } else { F::zero() }
    }

    /// Writes a row's x̂. What the mean lost in rounding, which may be more than numbers far from zero differ by, is taken
    /// off the differences: so those of a constant row are 0.
    pub(crate) fn normalize<F: Real>(&self, x: &[F], normed: &mut [F]) -> Moments<F> {
        let (mean, n) = (self.centre(x), x.len() as f64);
        normed.iter_mut().zip(x).for_each(|(y, &x)| *y = x - mean);
        let [sum, squares] = total_and_squares(normed);
        let rest = if self.centred { sum / n } else { 0.0 };
        let variance = (squares / n - rest * rest).most(0.0);
        let rstd = F::of((variance + self.eps).sqrt().recip());
        let lost = F::of(rest);
        normed.iter_mut().for_each(|y| *y = (*y - lost) * rstd);
        Moments { mean: F::of(mean.wide() + rest), rstd, dmean: F::zero(), along: F::zero() }
    }

    /// Writes a row's x̂ and its tangent `rstd (x' − mean(x') − x̂ mean(x̂ x'))`.
    pub(crate) fn push<F: Real>(&self, x: &[F], dx: &[F], normed: &mut [F], dnormed: &mut [F]) -> Moments<F> {
        let m = self.normalize(x, normed);
        let (dmean, along) = (self.centre(dx), mean_of(normed, dx));
        for ((y, &dx), &normed) in dnormed.iter_mut().zip(dx).zip(&*normed) {
            *y = m.rstd * (dx - dmean - normed * along);
        }
        Moments { dmean, along, ..m }
    }

    /// The launch of a kernel that imports `rows`.
    pub(crate) fn launch_rows(&self, class: Class, kernel: &'static str, size: [usize; 2], bind: &[Bind]) -> Launch {
        let (lanes, width) = match class {
            Class::Software { .. } if size[1] <= LONG => (8, 8),
            _ => (256, size[1].div_ceil(4).next_power_of_two().clamp(8, 256)),
        };
        Launch::new(kernel, size[0].div_ceil(lanes / width))
            .constant("LANES", lanes as f64)
            .constant("WIDTH", width as f64)
            .constant("CENTRED", self.centred)
            .constant("EACH", if size[1] <= LONG { 1.0 } else { 8.0 })
            .params([word(size[0]), word(size[1]), (self.eps as f32).to_bits()])
            .bind(bind.iter().copied())
    }

    /// The launches of a backward: those of `dx` and of each row's moments, `width` numbers in scratch 0; the sums over
    /// chunks of rows; and of these.
    pub(crate) fn launch_sums(
        &self, class: Class, size @ [rows, n]: [usize; 2], first: Launch, width: usize,
        (kernel, bind): (&'static str, &[Bind]),
    ) -> Launches {
        let [_, chunks] = frame::chunks(class, size);
        let partial = Bind::Scratch(1);
        let second = frame::over_rows(class, kernel, size, 1, &[bind, &[partial]].concat());
        let mut list = vec![first, second, frame::sum_chunks(class, size, [partial, Bind::Out(1)], 1, 1)];
        if self.centred {
            list.push(frame::sum_chunks(class, size, [partial, Bind::Out(2)], 0, 1));
        }
        Launches { scratch: vec![width * rows, 2 * chunks * n], list }
    }

    /// Where results 1 and 2, mean and rstd, are written, and what scratch that takes: a mean of 0 is no result.
    pub(crate) fn moments_out(&self, rows: usize) -> ([Bind; 2], Vec<usize>) {
        match self.centred {
            true => ([Bind::Out(1), Bind::Out(2)], Vec::new()),
            false => ([Bind::Scratch(0), Bind::Out(1)], vec![rows]),
        }
    }

    /// The types of `y`, mean and rstd; without the mean where nothing is centred.
    pub(crate) fn row_types(&self, op: &'static str, x: &[&Type], arrays: &[usize]) -> Result<Vec<Type>> {
        let shape = frame::check(op, x, arrays)?;
        let each = Type::f32(&shape[..shape.len() - 1]);
        let all = [Type::f32(shape), each.clone(), each];
        Ok(all[..2 + usize::from(self.centred)].to_vec())
    }

    /// The types of the cotangents of `x`, `gamma` and, where it is centred, `beta`.
    pub(crate) fn operand_types(&self, op: &'static str, x: &[&Type], arrays: &[usize]) -> Result<Vec<Type>> {
        let mut all = frame::types(op, x, arrays)?;
        all.truncate(2 + usize::from(self.centred));
        Ok(all)
    }

    /// `y`, mean (where it is centred) and rstd as a plain graph.
    pub(crate) fn definition<'g>(&self, x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        let last = x[0].shape()?.len() - 1;
        let centred = self.centred.then(|| x[0].centred(&[last]));
        let (mean, deviation) = (centred.map(|[mean, _]| mean.sum(&[last])), centred.map_or(x[0], |[_, x]| x));
        let rstd = ((deviation * deviation).mean(&[last]) + self.eps).rsqrt();
        let scaled = deviation * rstd.unsqueeze(&[last]) * x[1];
        let y = if self.centred { scaled + x[2] } else { scaled };
        Ok([Some(y), mean, Some(rstd)].into_iter().flatten().collect())
    }

    /// The cotangents of x, gamma and, where it is centred, beta, from x, gamma and that of y.
    pub(crate) fn grads<'g>(&self, x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        let [operands, y] = self.without_beta(x[0], x[1])?;
        x[0].graph().vjp(&y[..1], &x[2..], &operands)
    }

    /// Operands, with zeros as `beta` where there is one, since no derivative depends on it; and the plain graph of them.
    pub(crate) fn without_beta<'g>(&self, x: Tensor<'g>, gamma: Tensor<'g>) -> Result<[Vec<Tensor<'g>>; 2]> {
        let mut operands = vec![x, gamma];
        operands.extend(self.centred.then(|| gamma.fill_like(0.0)));
        let y = self.definition(&operands)?;
        Ok([operands, y])
    }
}

/// The mean of a product over a row.
pub(crate) fn mean_of<F: Real>(a: &[F], b: &[F]) -> F {
    F::of(dot(a, b) / a.len() as f64)
}

/// Writes the results behind `y`: two numbers of each row, or the second alone where there is one result for them.
pub(crate) fn write_moments<F: Real>(y: &mut [OutMut<F>], moments: &[Moments<F>], of: fn(&Moments<F>) -> [F; 2]) {
    for (y, which) in y[1..].iter_mut().rev().zip([1, 0]) {
        y.floats_mut().iter_mut().zip(moments).for_each(|(y, m)| *y = of(m)[which]);
    }
}

/// Writes `y` row by row: `f` gets the row's number and place, four rows to work in, and `width` sums over rows to add
/// to. Returns what is known of each row, and the sums: of stretches of rows, added in order, in f64.
pub(crate) fn write_rows<F: Real>(
    y: &mut [F], n: usize, width: usize, f: impl Fn(usize, &mut [F], [&mut [F]; 4], &mut [F]) -> Moments<F> + Sync,
) -> (Vec<Moments<F>>, Vec<F>) {
    const STRETCH: usize = 32;
    let stretch = |(t, y): (usize, &mut [F])| {
        let (mut work, mut sums) = (vec![F::zero(); 4 * n], vec![F::zero(); width * n]);
        let row = |(row, y): (usize, &mut [F])| {
            let (a, b) = work.split_at_mut(2 * n);
            let ([a, b], [c, d]) = (halves(a), halves(b));
            f(t * STRETCH + row, y, [a, b, c, d], &mut sums)
        };
        let moments: Vec<_> = y.chunks_mut(n).enumerate().map(row).collect();
        (moments, sums)
    };
    let parts: Vec<_> = match y.len() {
        ..SERIAL => y.chunks_mut(STRETCH * n).enumerate().map(stretch).collect(),
        _ => y.par_chunks_mut(STRETCH * n).enumerate().map(stretch).collect(),
    };
    let mut sums = vec![0.0; width * n];
    for (_, part) in &parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part.wide());
    }
    (parts.into_iter().flat_map(|(moments, _)| moments).collect(), sums.into_iter().map(F::of).collect())
}

fn halves<F>(x: &mut [F]) -> [&mut [F]; 2] {
    let (a, b) = x.split_at_mut(x.len() / 2);
    [a, b]
}

/// Shapes on which the family is tried.
const ROWS: &[&[usize]] = &[&[3, 2], &[7], &[67, 5], &[3, 5, 33], &[2, 9, 64], &[131, 9], &[3, 1031]];

/// Cases of one of the family's ops, centred and not. Behind x and gamma it has these operands: `a` like x, `c` like
/// gamma, `b` like beta.
pub(crate) fn on_rows<O: Op + Clone>(
    name: &'static str, op: fn(LayerNorm) -> O, operands: &'static str, tolerance: f64,
) -> Vec<TestCase> {
    let all = ROWS.iter().flat_map(|shape| [(shape, true), (shape, false)]);
    all.map(|(&shape, centred)| {
        // Of two numbers little is left once mean and variance are taken out.
        let tolerance = if shape[shape.len() - 1] < 3 { 2e-4 } else { tolerance };
        let what = format!("{name} {shape:?} centred {centred}");
        on_shape(what, op(LayerNorm { eps: 1e-2, centred }), shape, operands, centred).tolerance(tolerance)
    })
    .collect()
}

fn on_shape<O: Op + Clone>(what: String, op: O, shape: &[usize], operands: &'static str, centred: bool) -> TestCase {
    let c = [shape[shape.len() - 1]];
    let mut x = vec![range(shape, -2.0, 3.0), range(&c, 0.5, 1.5)];
    x.extend(operands.chars().filter(|&o| centred || o != 'b').map(|o| unit(if o == 'a' { shape } else { &c })));
    TestCase::new(what, x, move |x| x[0].graph().apply_all(op.clone(), x))
}

/// The timed cases of one of the family's ops: rows of a small transformer, and some off every tile.
pub(crate) fn timed_rows<O: Op + Clone>(
    op: fn(LayerNorm) -> O, operands: &'static str, tolerance: f64,
) -> Vec<TestCase> {
    let case = |shape: &[usize; 2]| {
        let op = op(LayerNorm { eps: 1e-5, centred: true });
        on_shape(format!("{shape:?}"), op, shape, operands, true).tolerance(tolerance)
    };
    [[2048, 256], [1031, 515]].iter().map(case).collect()
}

//! The pointwise part of a cell of long short-term memory: from the gates' sums and the state to the next state.

use rayon::prelude::*;

use crate::ops::{
    lstm::{lstm_cell_grad::LstmCellGrad, lstm_cell_tangent::LstmCellTangent},
    norm::frame::all_or_zeros,
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::lstm_cell`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LstmCell;

impl LstmCell {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let n = width(&x[1]);
        let [sums, c] = [0, 1].map(|i| x[i].floats());
        each_row(y, x[1].ty.count() / n, |row, [h, cell, gates]| {
            let (sums, c) = (&sums[row * 4 * n..][..4 * n], &c[row * n..][..n]);
            for (which, (gates, sums)) in gates.chunks_mut(n).zip(sums.chunks(n)).enumerate() {
                gates.copy_from_slice(sums);
                if which == 2 {
                    hyperbolic_tangents(gates);
                } else {
                    exponentials(gates, -F::one(), F::zero());
                    gates.iter_mut().for_each(|gate| *gate = (F::one() + *gate).recip());
                }
            }
            let [i, f, k, o] = four(gates, n);
            for e in 0..n {
                cell[e] = f[e] * c[e] + i[e] * k[e];
            }
            h.copy_from_slice(cell);
            hyperbolic_tangents(h);
            h.iter_mut().zip(o).for_each(|(h, &o)| *h *= o);
        });
    }
}

/// Features of a cell, by its state.
pub(crate) fn width<F>(c: &Operand<F>) -> usize {
    c.ty.shape.last().copied().unwrap_or(1)
}

/// The four gates' parts of a row.
pub(crate) fn four<F>(gates: &[F], n: usize) -> [&[F]; 4] {
    std::array::from_fn(|g| &gates[g * n..][..n])
}

/// The four gates' parts of a row, to write.
pub(crate) fn four_mut<F>(gates: &mut [F], n: usize) -> [&mut [F]; 4] {
    let mut parts = gates.chunks_mut(n);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Writes `tanh(f c + i k)` of a row.
pub(crate) fn bent<F: Real>([i, f, k, _]: [&[F]; 4], c: &[F], t: &mut [F]) {
    for (e, t) in t.iter_mut().enumerate() {
        *t = f[e] * c[e] + i[e] * k[e];
    }
    hyperbolic_tangents(t);
}

/// Calls `f` with the number of each row and the results' parts of it.
pub(crate) fn each_row<F: Real, const N: usize>(
    y: &mut [OutMut<F>], rows: usize, f: impl Fn(usize, [&mut [F]; N]) + Sync,
) {
    // Five of a feature's numbers are functions that take long.
    let large = y.iter_mut().any(|y| y.floats_mut().len() >= SERIAL);
    let mut parts = y.iter_mut().map(|y| {
        let y = y.floats_mut();
        let n = y.len() / rows;
        y.chunks_mut(n)
    });
    let mut parts: [_; N] = std::array::from_fn(|_| parts.next());
    let row = |_| parts.each_mut().map(|part| part.as_mut().and_then(Iterator::next).unwrap_or_default());
    let all: Vec<[&mut [F]; N]> = (0..rows).map(row).collect();
    match large {
        false => all.into_iter().enumerate().for_each(|(row, y)| f(row, y)),
        true => all.into_par_iter().enumerate().for_each(|(row, y)| f(row, y)),
    }
}

/// Operands of the family: the gates or something like them, and the state or something like it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Like {
    Gates,
    State,
}

/// The types of results from those of operands, which are the gates, the state, and others.
pub(crate) fn types(op: &'static str, x: &[&Type], operands: &[Like], results: &[Like]) -> Result<Vec<Type>> {
    expect_dtypes(op, x, &vec![DType::F32; operands.len()])?;
    let state = x[1];
    let mut gates = state.clone();
    gates.shape.iter_mut().rev().take(1).for_each(|n| *n *= 4);
    let ty = |like: &Like| if *like == Like::Gates { &gates } else { state };
    if state.shape.is_empty() || operands.iter().zip(x).any(|(like, x)| ty(like) != *x) {
        return Err(shape_error(op, "the state is [.., n], the gates are [.., 4 n]", x));
    }
    Ok(results.iter().map(|like| ty(like).clone()).collect())
}

/// The launch of a kernel that imports `lstm`.
pub(crate) fn launch(kernel: &'static str, state: &Type, bind: impl IntoIterator<Item = Bind>) -> Launch {
    let n = state.shape.last().copied().unwrap_or(1);
    Launch::new(kernel, state.count().div_ceil(64)).params([word(state.count()), word(n)]).bind(bind)
}

/// The gates `[i, f, k, o]` as values of their own.
fn slices(gates: Tensor) -> Result<[Tensor; 4]> {
    let shape = gates.shape()?;
    let last = shape.len() - 1;
    let n = shape[last] / 4;
    Ok([0, 1, 2, 3].map(|i| gates.slice(last, i * n, n)))
}

/// The inverse of [`slices`].
fn joined(gates: [Tensor; 4]) -> Result<Tensor> {
    Ok(gates[0].graph().concat(&gates, gates[0].shape()?.len() - 1))
}

/// `h` and the next state from the gates and the state.
pub(crate) fn mixed<'g>(gates: Tensor<'g>, c: Tensor<'g>) -> Result<[Tensor<'g>; 2]> {
    let [i, f, k, o] = slices(gates)?;
    let cell = f * c + i * k;
    Ok([o * cell.tanh(), cell])
}

/// The slopes of the gates' functions where they have these values: `σ' = σ (1 − σ)`, `tanh' = 1 − tanh²`.
pub(crate) fn slopes(gates: Tensor) -> Result<Tensor> {
    let [i, f, k, o] = slices(gates)?;
    joined([i - i * i, f - f * f, 1.0 - k * k, o - o * o])
}

impl Op for LstmCell {
    cpu!();

    fn name(&self) -> &'static str {
        "lstm_cell"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        types("lstm_cell", x, &[Like::Gates, Like::State], &[Like::State, Like::State, Like::Gates])
    }

    fn launch(&self, _: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let bind = [Bind::In(0), Bind::In(1), Bind::Out(0), Bind::Out(1), Bind::Out(2)];
        launch("lstm_cell", x[1], bind).into()
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        9 * x[1].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let [i, f, k, o] = slices(x[0])?;
        let gates = joined([i.sigmoid(), f.sigmoid(), k.tanh(), o.sigmoid()])?;
        let [h, cell] = mixed(gates, x[1])?;
        Ok(Some(vec![h, cell, gates]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        if ct[2].is_some() {
            return Ok(None);
        }
        let x = [&[at.y[2], at.x[1]], &all_or_zeros(&ct[..2], at.y)[..]].concat();
        let d = x[0].graph().apply_all(LstmCellGrad, &x)?;
        Ok(Some(d.into_iter().map(Some).collect()))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let x = [&[at.y[2], at.x[1]], &all_or_zeros(dx, at.x)[..]].concat();
        let dy = x[0].graph().apply_all(LstmCellTangent, &x)?;
        Ok(Some(dy.into_iter().map(Some).collect()))
    }
}

impl<'g> Tensor<'g> {
    /// `c' = f c + i k`, `h = o tanh(c')` with gates `i, f, o = σ(x)` and `k = tanh(x)` (Hochreiter and Schmidhuber 1997,
    /// with the forget gate of Gers et al. 2000); returns `h`, `c'` and the gates.
    ///
    /// | | shape |
    /// |---|---|
    /// | x, gates | `[…, 4 n]`: i, f, k, o, as PyTorch orders them |
    /// | c, h, c' | `[…, n]` |
    ///
    /// Gradient, tangent and the gradient's tangent are fused ops too, functions of the gates; where the gates themselves
    /// have a cotangent, and in higher derivatives, the plain graph stands in.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn lstm_cell(self, c: Tensor<'g>) -> [Tensor<'g>; 3] {
        self.graph().apply(LstmCell, &[self, c])
    }
}

/// Cases of one of the family's ops on these operands: gates are between 0 and 1 where `given`, sums otherwise.
pub(crate) fn on_states(op: impl Op + Copy, operands: &[Like], given: bool, tolerance: f64) -> Vec<TestCase> {
    let shapes: [&[usize]; 6] = [&[1], &[1, 3], &[67, 5], &[3, 33], &[2, 3, 64], &[2, 131]];
    let case = |shape: &[usize]| {
        let wide = [&shape[..shape.len() - 1], &[4 * shape[shape.len() - 1]]].concat();
        let sample = |(at, like): (usize, &Like)| match (at, like) {
            (0, _) if given => range(&wide, 0.1, 0.9),
            (0, _) => range(&wide, -3.0, 3.0),
            (1, _) => range(shape, -1.5, 1.5),
            (_, Like::Gates) => unit(&wide),
            (_, Like::State) => unit(shape),
        };
        let x = operands.iter().enumerate().map(sample).collect();
        let what = format!("{} {shape:?}", op.name());
        TestCase::new(what, x, move |x| x[0].graph().apply_all(op, x)).tolerance(tolerance)
    };
    shapes.into_iter().map(case).collect()
}

fn without_gates<'g>(x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
    Ok(x[0].lstm_cell(x[1])[..2].to_vec())
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = on_states(LstmCell, &[Like::Gates, Like::State], false, 2e-6);
    for shape in [[5, 7], [2, 257]] {
        let x = vec![range(&[shape[0], 4 * shape[1]], -3.0, 3.0), range(&shape, -1.5, 1.5)];
        all.push(TestCase::new(format!("lstm_cell {shape:?} without its gates"), x, without_gates).tolerance(2e-6));
    }
    let far = vec![range(&[3, 20], -90.0, 90.0), range(&[3, 5], -20.0, 20.0)];
    all.push(TestCase::new("lstm_cell saturated", far, without_gates).order(0));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let x = vec![range(&[515, 4 * 257], -3.0, 3.0), range(&[515, 257], -1.5, 1.5)];
    vec![TestCase::new("[515, 257]", x, |x| x[0].graph().apply_all(LstmCell, x)).tolerance(2e-6)]
}

//! What the LSTM ops share: rows of gates and states, their types and launches, the cell as a graph.

use rayon::prelude::*;

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

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
pub(crate) fn slices(gates: Tensor) -> Result<[Tensor; 4]> {
    let shape = gates.shape()?;
    let last = shape.len() - 1;
    let n = shape[last] / 4;
    Ok([0, 1, 2, 3].map(|i| gates.slice(last, i * n, n)))
}

/// The inverse of [`slices`].
pub(crate) fn joined(gates: [Tensor; 4]) -> Result<Tensor> {
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

/// What its operands are like.
pub(crate) const OPERANDS: [Like; 4] = [Like::Gates, Like::State, Like::State, Like::State];

/// The cotangents of the sums before the gates and of the state, from the gates, the state and the cotangents of the results.
pub(crate) fn grads<'g>(x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
    let y = mixed(x[0], x[1])?;
    let d = x[0].graph().vjp(&y, &x[2..], &x[..2])?;
    Ok(vec![d[0] * slopes(x[0])?, d[1]])
}

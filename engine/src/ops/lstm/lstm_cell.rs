//! The pointwise part of an LSTM cell: from the sums before its gates and its state to the next state.

use crate::ops::{
    lstm::{
        frame::{Like, each_row, four, joined, launch, mixed, on_states, slices, types, width},
        lstm_cell_grad::LstmCellGrad,
        lstm_cell_tangent::LstmCellTangent,
    },
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
                    exponentials(gates, -F::one(), [F::zero(); 2]);
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

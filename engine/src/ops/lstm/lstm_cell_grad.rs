//! The backward of an LSTM cell.

use crate::ops::{
    lstm::{
        frame::{Like, OPERANDS, bent, each_row, four, four_mut, grads, launch, on_states, types, width},
        lstm_cell_grad_tangent::LstmCellGradTangent,
    },
    norm::frame::all_or_zeros,
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The cotangents of `x` and `c` in [`Tensor::lstm_cell`]; operands the gates, c, and the cotangents of `h` and `c'`.
///
/// With `t = tanh(f c + i k)` and `d = ct_c + ct_h o (1 − t²)`: `dx = (d k i (1 − i), d c f (1 − f), d i (1 − k²),
/// ct_h t o (1 − o))`, `dc = d f`. A function of the gates as they are; derivatives go on through them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LstmCellGrad;

impl LstmCellGrad {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let n = width(&x[1]);
        let [gates, c, ct_h, ct_c] = [0, 1, 2, 3].map(|i| x[i].floats());
        each_row(y, c.len() / n, |row, [y, dc]| {
            let gates @ [i, f, k, o] = four(&gates[row * 4 * n..], n);
            let [c, ct_h, ct_c] = [c, ct_h, ct_c].map(|x| &x[row * n..][..n]);
            let [di, df, dk, d_o] = four_mut(y, n).map(|y| &mut y[..n]);
            bent(gates, c, dc);
            let (one, dc) = (F::one(), &mut dc[..n]);
            for e in 0..n {
                let t = dc[e];
                let d = ct_c[e] + ct_h[e] * o[e] * (one - t * t);
                di[e] = d * k[e] * i[e] * (one - i[e]);
                df[e] = d * c[e] * f[e] * (one - f[e]);
                dk[e] = d * i[e] * (one - k[e] * k[e]);
                d_o[e] = ct_h[e] * t * o[e] * (one - o[e]);
                dc[e] = d * f[e];
            }
        });
    }
}

impl Op for LstmCellGrad {
    cpu!();

    fn name(&self) -> &'static str {
        "lstm_cell_grad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        types("lstm_cell_grad", x, &OPERANDS, &[Like::Gates, Like::State])
    }

    fn launch(&self, _: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let bind = (0..4).map(Bind::In).chain([Bind::Out(0), Bind::Out(1)]);
        launch("lstm_cell_grad", x[1], bind).into()
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        26 * x[1].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        grads(x).map(Some)
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let x = [at.x, &all_or_zeros(dx, at.x)].concat();
        let dy = x[0].graph().apply_all(LstmCellGradTangent, &x)?;
        Ok(Some(dy.into_iter().map(Some).collect()))
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    on_states(LstmCellGrad, &OPERANDS, true, 2e-6)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let state = range(&[515, 257], -1.5, 1.5);
    let x = vec![range(&[515, 4 * 257], 0.1, 0.9), state.clone(), state.clone(), state];
    vec![TestCase::new("[515, 257]", x, |x| x[0].graph().apply_all(LstmCellGrad, x)).tolerance(2e-6)]
}

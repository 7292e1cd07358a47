//! The tangent of the backward of an LSTM cell.

use crate::ops::lstm::frame::{Like, OPERANDS, bent, each_row, four, grads, launch, on_states, types, width};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The tangents of the results of [`LstmCellGrad`](crate::ops::LstmCellGrad); operands its own and their tangents.
///
/// With `r = 1 − t²`, `t˙ = r (f˙ c + f c˙ + i˙ k + i k˙)` and `d˙ = ct_c˙ + (ct_h˙ o + ct_h o˙) r − 2 ct_h o t t˙`, every
/// result's tangent is a sum over its factors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LstmCellGradTangent;

impl LstmCellGradTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let n = width(&x[1]);
        let [gates, dgates] = [0, 4].map(|i| x[i].floats());
        let [c, ct_h, ct_c, dc, dct_h, dct_c] = [1, 2, 3, 5, 6, 7].map(|i| x[i].floats());
        let (one, two) = (F::one(), F::of(2.0));
        each_row(y, c.len() / n, |row, [y, y_c]| {
            let [[i, f, k, o], [di, df, dk, d_o]] = [gates, dgates].map(|x| four(&x[row * 4 * n..], n));
            let [c, ct_h, ct_c, dc, dct_h, dct_c] = [c, ct_h, ct_c, dc, dct_h, dct_c].map(|x| &x[row * n..][..n]);
            bent([i, f, k, o], c, y_c);
            for e in 0..n {
                let t = y_c[e];
                let r = one - t * t;
                let dt = r * (df[e] * c[e] + f[e] * dc[e] + di[e] * k[e] + i[e] * dk[e]);
                let d = ct_c[e] + ct_h[e] * o[e] * r;
                let dd = dct_c[e] + (dct_h[e] * o[e] + ct_h[e] * d_o[e]) * r - two * ct_h[e] * o[e] * t * dt;
                let slope = |gate: F| gate * (one - gate);
                let dslope = |gate: F, dgate: F| dgate * (one - two * gate);
                y[e] = (dd * k[e] + d * dk[e]) * slope(i[e]) + d * k[e] * dslope(i[e], di[e]);
                y[n + e] = (dd * c[e] + d * dc[e]) * slope(f[e]) + d * c[e] * dslope(f[e], df[e]);
                y[2 * n + e] = (dd * i[e] + d * di[e]) * (one - k[e] * k[e]) - two * d * i[e] * k[e] * dk[e];
                let bent = (dct_h[e] * t + ct_h[e] * dt) * slope(o[e]);
                y[3 * n + e] = bent + ct_h[e] * t * dslope(o[e], d_o[e]);
                y_c[e] = dd * f[e] + d * df[e];
            }
        });
    }
}

impl Op for LstmCellGradTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "lstm_cell_grad_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        types("lstm_cell_grad_tangent", x, [OPERANDS; 2].as_flattened(), &[Like::Gates, Like::State])
    }

    fn launch(&self, _: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let mut launches = Launches::default();
        let cts = launches.pack(x, &[2, 3, 6, 7]);
        let bind = [Bind::In(0), Bind::In(1), Bind::In(4), Bind::In(5), cts, Bind::Out(0), Bind::Out(1)];
        launches.list.push(launch("lstm_cell_grad_tangent", x[1], bind));
        launches
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        87 * x[1].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        x[0].graph().jvp(&grads(&x[..4])?, &x[..4], &x[4..]).map(Some)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    on_states(LstmCellGradTangent, [OPERANDS; 2].as_flattened(), true, 3e-6)
}

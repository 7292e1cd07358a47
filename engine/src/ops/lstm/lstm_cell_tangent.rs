//! The tangent of an LSTM cell.

use crate::ops::lstm::frame::{Like, bent, each_row, four, launch, mixed, on_states, slopes, types, width};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The tangents of `h`, `c'` and the gates in [`Tensor::lstm_cell`]; operands the gates, c, and the tangents of `x` and `c`.
///
/// With `t = tanh(f c + i k)` and the gates' tangents `i˙ = i (1 − i) x˙`, …, `k˙ = (1 − k²) x˙`:
/// `c'˙ = f˙ c + f c˙ + i˙ k + i k˙`, `h˙ = o˙ t + o (1 − t²) c'˙`. A function of the gates as they are; derivatives go on
/// through them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LstmCellTangent;

const OPERANDS: [Like; 4] = [Like::Gates, Like::State, Like::Gates, Like::State];

impl LstmCellTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let n = width(&x[1]);
        let [gates, c, dx, dc] = [0, 1, 2, 3].map(|i| x[i].floats());
        each_row(y, c.len() / n, |row, [dh, dcell, dgates]| {
            let [gates, dx] = [gates, dx].map(|x| &x[row * 4 * n..][..4 * n]);
            let [c, dc] = [c, dc].map(|x| &x[row * n..][..n]);
            for (e, (dgate, &dx)) in dgates.iter_mut().zip(dx).enumerate() {
                let gate = gates[e];
                *dgate = dx * if e / n == 2 { F::one() - gate * gate } else { gate * (F::one() - gate) };
            }
            let ([i, f, k, o], [di, df, dk, d_o]) = (four(gates, n), four(dgates, n));
            bent([i, f, k, o], c, dh);
            for e in 0..n {
                let t = dh[e];
                dcell[e] = df[e] * c[e] + f[e] * dc[e] + di[e] * k[e] + i[e] * dk[e];
                dh[e] = d_o[e] * t + o[e] * (F::one() - t * t) * dcell[e];
            }
        });
    }
}

impl Op for LstmCellTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "lstm_cell_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        types("lstm_cell_tangent", x, &OPERANDS, &[Like::State, Like::State, Like::Gates])
    }

    fn launch(&self, _: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let bind = (0..4).map(Bind::In).chain((0..3).map(Bind::Out));
        launch("lstm_cell_tangent", x[1], bind).into()
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        29 * x[1].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let dgates = x[2] * slopes(x[0])?;
        let y = mixed(x[0], x[1])?;
        let mut dy = x[0].graph().jvp(&y, &x[..2], &[dgates, x[3]])?;
        dy.push(dgates);
        Ok(Some(dy))
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    on_states(LstmCellTangent, &OPERANDS, true, 2e-6)
}

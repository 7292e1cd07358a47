//! The tangent of layer normalization.

use crate::ops::norm::{
    frame,
    rows::{self, LayerNorm, on_rows, timed_rows},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The tangents of `y`, mean (where it is centred) and rstd in a [`LayerNorm`]; operands x, gamma and the tangents of
/// its operands. `x̂' = rstd (x' − mean(x') − x̂ mean(x̂ x'))`, `y' = γ x̂' + γ' x̂ + β'`, `rstd' = −rstd² mean(x̂ x')`.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormTangent(pub LayerNorm);

impl LayerNormTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [_, n] = frame::rows(x[0].shape());
        let [data, gamma, dx, dgamma] = [0, 1, 2, 3].map(|i| x[i].floats());
        let (moments, _) = rows::write_rows(y[0].floats_mut(), n, 0, |row, y, [normed, dnormed, ..], _| {
            let [x_row, dx] = [data, dx].map(|x| &x[row * n..][..n]);
            let m = self.0.push(x_row, dx, normed, dnormed);
            for (c, y) in y.iter_mut().enumerate() {
                *y = gamma[c] * dnormed[c] + dgamma[c] * normed[c];
            }
            if self.0.centred {
                y.iter_mut().zip(x[4].floats()).for_each(|(y, &dbeta)| *y += dbeta);
            }
            m
        });
        rows::write_moments(y, &moments, |m| [m.dmean, -m.rstd * m.rstd * m.along]);
    }
}

impl Op for LayerNormTangent {
    cpu!();

    fn name(&self) -> &'static str {
        if self.0.centred { "layer_norm_tangent" } else { "rms_norm_tangent" }
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        self.0.row_types(self.name(), x, &[0, 2])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size @ [rows, _] = frame::rows(&x[0].shape);
        let ([dmean, drstd], scratch) = self.0.moments_out(rows);
        let [dgamma, dbeta] = [Bind::In(3), Bind::In(x.len() - 1)];
        let bind = [Bind::In(0), Bind::In(1), Bind::In(2), dgamma, dbeta, Bind::Out(0), dmean, drstd];
        Launches { scratch, list: vec![self.0.launch_rows(class, "layer_norm_tangent", size, &bind)] }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        16 * x[0].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let [operands, y] = self.0.without_beta(x[0], x[1])?;
        x[0].graph().jvp(&y, &operands, &x[2..]).map(Some)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    on_rows("layer_norm_tangent", LayerNormTangent, "acb", 5e-6)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_rows(LayerNormTangent, "acb", 5e-6)
}

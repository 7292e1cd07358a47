//! The tangent of layer normalization's backward.

use crate::ops::norm::{
    frame,
    rows::{self, LayerNorm, mean_of, on_rows, timed_rows},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The tangents of the results of a [`LayerNormGrad`](crate::ops::LayerNormGrad); operands x, gamma, ct and their tangents.
///
/// With `u = γ ct`, `m₁ = mean(u)`, `m₂ = mean(u x̂)`, `a = mean(x̂ x')` and x̂' as in the tangent of `y`:
/// `dx' = rstd (u' − m₁' − x̂' m₂ − x̂ m₂') − a rstd dx`, `dγ' = Σ (ct' x̂ + ct x̂')`, `dβ' = Σ ct'`.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormGradTangent(pub LayerNorm);

impl LayerNormGradTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [_, n] = frame::rows(x[0].shape());
        let [data, gamma, ct, dx, dgamma, dct] = [0, 1, 2, 3, 4, 5].map(|i| x[i].floats());
        let (_, sums) = rows::write_rows(y[0].floats_mut(), n, 2, |row, y, [normed, dnormed, u, du], sums| {
            let [x, ct, dx, dct] = [data, ct, dx, dct].map(|x| &x[row * n..][..n]);
            let m = self.0.push(x, dx, normed, dnormed);
            for c in 0..n {
                u[c] = gamma[c] * ct[c];
                du[c] = dgamma[c] * ct[c] + gamma[c] * dct[c];
            }
            let (m1, m2, dm1) = (self.0.centre(u), mean_of(u, normed), self.0.centre(du));
            let dm2 = mean_of(du, normed) + mean_of(u, dnormed);
            for (c, y) in y.iter_mut().enumerate() {
                let projected = u[c] - m1 - normed[c] * m2;
                *y = m.rstd * (du[c] - dm1 - dnormed[c] * m2 - normed[c] * dm2 - m.rstd * m.along * projected);
            }
            let (ddgamma, ddbeta) = sums.split_at_mut(n);
            for c in 0..n {
                ddgamma[c] += dct[c] * normed[c] + ct[c] * dnormed[c];
                ddbeta[c] += dct[c];
            }
            m
        });
        y[1..].iter_mut().zip(sums.chunks(n)).for_each(|(y, sums)| y.floats_mut().copy_from_slice(sums));
    }
}

impl Op for LayerNormGradTangent {
    cpu!();

    fn name(&self) -> &'static str {
        if self.0.centred { "layer_norm_grad_tangent" } else { "rms_norm_grad_tangent" }
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        self.0.operand_types(self.name(), x, &[0, 2, 3, 5])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size = frame::rows(&x[0].shape);
        let [x, gamma, ct, dx, dgamma, dct] = [0, 1, 2, 3, 4, 5].map(Bind::In);
        let (moments, y) = (Bind::Scratch(0), Bind::Out(0));
        let bind = [x, gamma, ct, dx, dgamma, dct, moments, y];
        let first = self.0.launch_rows(class, "layer_norm_grad_tangent", size, &bind);
        self.0.launch_sums(class, size, first, 4, ("layer_norm_grad_tangent_sums", &[x, moments, ct, dx, dct]))
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        38 * x[0].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        x[0].graph().jvp(&self.0.grads(&x[..3])?, &x[..3], &x[3..]).map(Some)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    on_rows("layer_norm_grad_tangent", LayerNormGradTangent, "aaca", 1e-5)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_rows(LayerNormGradTangent, "aaca", 1e-5)
}

//! The backward of layer normalization.

use crate::ops::norm::{
    frame::{self, all_or_zeros},
    layer_norm_grad_tangent::LayerNormGradTangent,
    rows::{self, LayerNorm, mean_of, on_rows, timed_rows},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The cotangents of `x`, `gamma` and, where it is centred, `beta` in a [`LayerNorm`] from that of `y`; operands x, gamma,
/// ct. With `u = γ ct`: `dx = rstd (u − mean(u) − x̂ mean(u x̂))`, `dγ = Σ ct x̂`, `dβ = Σ ct`.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormGrad(pub LayerNorm);

impl LayerNormGrad {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [_, n] = frame::rows(x[0].shape());
        let [data, gamma, ct] = [0, 1, 2].map(|i| x[i].floats());
        let (_, sums) = rows::write_rows(y[0].floats_mut(), n, 2, |row, y, [normed, u, ..], sums| {
            let ct = &ct[row * n..][..n];
            let m = self.0.normalize(&data[row * n..][..n], normed);
            u.iter_mut().zip(gamma).zip(ct).for_each(|((u, &gamma), &ct)| *u = gamma * ct);
            let (m1, m2) = (self.0.centre(u), mean_of(u, normed));
            for ((y, &u), &normed) in y.iter_mut().zip(&*u).zip(&*normed) {
                *y = m.rstd * (u - m1 - normed * m2);
            }
            let (dgamma, dbeta) = sums.split_at_mut(n);
            dgamma.iter_mut().zip(ct).zip(&*normed).for_each(|((d, &ct), &normed)| *d += ct * normed);
            dbeta.iter_mut().zip(ct).for_each(|(d, &ct)| *d += ct);
            m
        });
        y[1..].iter_mut().zip(sums.chunks(n)).for_each(|(y, sums)| y.floats_mut().copy_from_slice(sums));
    }
}

impl Op for LayerNormGrad {
    cpu!();

    fn name(&self) -> &'static str {
        if self.0.centred { "layer_norm_grad" } else { "rms_norm_grad" }
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        self.0.operand_types(self.name(), x, &[0, 2])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size = frame::rows(&x[0].shape);
        let (x, gamma, ct, moments) = (Bind::In(0), Bind::In(1), Bind::In(2), Bind::Scratch(0));
        let first = self.0.launch_rows(class, "layer_norm_grad", size, &[x, gamma, ct, moments, Bind::Out(0)]);
        self.0.launch_sums(class, size, first, 2, ("layer_norm_sums", &[x, moments, ct]))
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        16 * x[0].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        self.0.grads(x).map(Some)
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let x = [at.x, &all_or_zeros(dx, at.x)].concat();
        let dy = x[0].graph().apply_all(LayerNormGradTangent(self.0), &x)?;
        Ok(Some(dy.into_iter().map(Some).collect()))
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    on_rows("layer_norm_grad", LayerNormGrad, "a", 5e-6)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_rows(LayerNormGrad, "a", 5e-6)
}

//! The backward of batch normalization.

use crate::ops::norm::{
    batch_norm::{SHAPES, operands, timed_family},
    batch_norm_grad_tangent::BatchNormGradTangent,
    frame::{self, Normed, WithDeviation, all_or_zeros},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::batch_norm_grad`].
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormGrad {
    eps: f64,
}

impl BatchNormGrad {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [rows, channels] = frame::rows(x[0].shape());
        let [data, gamma, mean, rstd, ct] = [0, 1, 2, 3, 4].map(|i| x[i].floats());
        let arrays = [ct, data].map(Stack::one);
        let [sum, with] = &channels::sums(channels, &WithDeviation, arrays, [mean], 1)[0];
        let n = rows as f64;
        let dbeta: Vec<F> = sum.iter().map(|&s| F::of(s)).collect();
        let dgamma: Vec<F> = with.iter().zip(rstd).map(|(&s, &r)| F::of(s * r.wide())).collect();
        let scale: Vec<F> = gamma.iter().zip(rstd).map(|(&g, &r)| g * r).collect();
        let m1: Vec<F> = sum.iter().map(|&s| F::of(s / n)).collect();
        let m2: Vec<F> = dgamma.iter().zip(rstd).map(|(&d, &r)| F::of(d.wide() / n) * r).collect();
        channels::write(channels, self, arrays, &[[mean, &scale, &m1, &m2]], y[0].floats_mut());
        y[1].floats_mut().copy_from_slice(&dgamma);
        y[2].floats_mut().copy_from_slice(&dbeta);
    }
}

/// Of ct and x with mean, scale and the two means that are taken out.
impl Formula<2, 4, 1> for BatchNormGrad {
    #[inline(always)]
    fn f<F: Real>(&self, [ct, x]: [F; 2], [mean, scale, m1, m2]: [F; 4]) -> [F; 1] {
        [scale * (ct - m1 - (x - mean) * m2)]
    }
}

impl Op for BatchNormGrad {
    cpu!();

    fn name(&self) -> &'static str {
        "batch_norm_grad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        frame::types("batch_norm_grad", x, &[0, 4])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size @ [_, channels] = frame::rows(&x[0].shape);
        let [_, chunks] = frame::chunks(class, size);
        let [x, gamma, mean, rstd, ct] = [0, 1, 2, 3, 4].map(Bind::In);
        let (partial, dgamma, dbeta) = (Bind::Scratch(0), Bind::Out(1), Bind::Out(2));
        let bind = [x, gamma, mean, rstd, ct, dgamma, dbeta, Bind::Out(0)];
        Launches {
            scratch: vec![2 * chunks * channels],
            list: vec![
                frame::over_rows(class, "batch_norm_sums", size, 1, &[x, mean, rstd, ct, partial]),
                frame::sum_chunks(class, size, [partial, dbeta], 0, 1),
                frame::sum_chunks(class, size, [partial, dgamma], 1, 1),
                frame::each_element(class, "batch_norm_grad", size, 1, &bind),
            ],
        }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        11 * x[0].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let (n, gamma, ct) = (Normed::new(x[0], self.eps)?, x[1], x[4]);
        let (m1, m2) = (n.mean(ct), n.mean(ct * n.normed));
        let dx = (ct - m1 - n.normed * m2) * (gamma * n.rstd);
        Ok(Some(vec![dx, (ct * n.normed).sum(&n.axes), ct.sum(&n.axes)]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        // The statistics' tangents come with that of x; without them the plain graph serves.
        if [0, 2, 3].iter().any(|&i| dx[i].is_none()) {
            return Ok(None);
        }
        let x = [at.x, &all_or_zeros(dx, at.x)].concat();
        let y = x[0].graph().apply_all(BatchNormGradTangent { eps: self.eps }, &x)?;
        Ok(Some(y.into_iter().map(Some).collect()))
    }
}

impl<'g> Tensor<'g> {
    /// The cotangents of `x`, `gamma` and `beta` in [`Tensor::batch_norm`] from that of `y`:
    /// `dx = γ rstd (ct − mean(ct) − x̂ mean(ct x̂))`, `dγ = Σ ct x̂`, `dβ = Σ ct`.
    ///
    /// `statistics` are the mean and rstd of this very `x`: a saved part of the computation, not operands. Derivatives
    /// differentiate through them by way of `x`.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn batch_norm_grad(
        self, gamma: Tensor<'g>, [mean, rstd]: [Tensor<'g>; 2], ct: Tensor<'g>, eps: f64,
    ) -> [Tensor<'g>; 3] {
        self.graph().apply(BatchNormGrad { eps }, &[self, gamma, mean, rstd, ct])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |&shape: &&[usize]| {
        let x = [operands(shape), vec![unit(shape)]].concat();
        TestCase::new(format!("batch_norm_grad {shape:?}"), x, |x| {
            let [_, mean, rstd] = x[0].batch_norm(x[1], x[2], 1e-2);
            Ok(x[0].batch_norm_grad(x[1], [mean, rstd], x[3], 1e-2).into())
        })
        .tolerance(frame::tolerance(shape, 5e-6))
    };
    SHAPES.iter().map(case).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_family(BatchNormGrad { eps: 1e-5 }, "accca", 5e-6)
}

//! The backward of batch normalization.

use crate::ops::norm::batch_norm::SHAPES;
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        channels::{self, Formula},
        float::Real,
        stack::Stack,
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{
        launch::{Bind, Launches},
        target::Class,
    },
    ops::norm::frame::{self, Normed, or_zeros},
    tensor::dtype::Type,
    testing::cases::{Case, range, unit},
};

/// The op of [`Graph::batch_norm_grad`].
#[derive(Debug, Clone)]
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

/// `u` and `u (x − mean)`.
pub(crate) struct WithDeviation;

impl Formula<2, 1, 2> for WithDeviation {
    #[inline(always)]
    fn f<F: Real>(&self, [u, x]: [F; 2], [mean]: [F; 1]) -> [F; 2] {
        [u, u * (x - mean)]
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
        let shape = frame::check("batch_norm_grad", x, &[0, 4])?;
        let channels = shape[shape.len() - 1];
        Ok(vec![Type::f32(shape), Type::f32([channels]), Type::f32([channels])])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size @ [_, channels] = frame::rows(&x[0].shape);
        let [_, chunks] = frame::chunks(class, size);
        let (x, gamma, mean, rstd, ct) = (Bind::In(0), Bind::In(1), Bind::In(2), Bind::In(3), Bind::In(4));
        let (partial, dgamma, dbeta) = (Bind::Scratch(0), Bind::Out(1), Bind::Out(2));
        Launches {
            scratch: vec![2 * chunks * channels],
            list: vec![
                frame::over_rows(class, "batch_norm_sums", size, &[x, mean, rstd, ct, partial]),
                frame::sum_chunks(class, size, [partial, dbeta], 0, 1),
                frame::sum_chunks(class, size, [partial, dgamma], 1, 1),
                frame::each_element(
                    class,
                    "batch_norm_grad",
                    size,
                    &[x, gamma, mean, rstd, ct, dgamma, dbeta, Bind::Out(0)],
                ),
            ],
        }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        11 * x[0].count() as u64
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let n = Normed::new(g, x[0], self.eps)?;
        let ct = x[4];
        let m1 = g.mean(ct, &n.axes)?;
        let m2 = n.mean_of(g, ct, n.normed)?;
        let along = g.mul(n.normed, m2)?;
        let centred = g.sub(ct, m1)?;
        let projected = g.sub(centred, along)?;
        let scale = g.mul(x[1], n.rstd)?;
        let dx = g.mul(projected, scale)?;
        let product = g.mul(ct, n.normed)?;
        let dgamma = g.sum(product, &n.axes)?;
        let dbeta = g.sum(ct, &n.axes)?;
        Ok(Some(vec![dx, dgamma, dbeta]))
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        // The statistics' tangents come with that of x; without them the plain graph serves.
        let (Some(dmean), Some(drstd), Some(d)) = (dx[2], dx[3], dx[0]) else {
            let plain = self.plain(g, at.x)?.unwrap_or_default();
            return crate::diff::grad::push(g, &plain, at.x, dx);
        };
        let dgamma = or_zeros(g, dx[1], at.x[1])?;
        let dct = or_zeros(g, dx[4], at.x[4])?;
        let y = g.batch_norm_grad_tangent(at.x, [d, dgamma, dmean, drstd, dct], self.eps)?;
        Ok(y.into_iter().map(Some).collect())
    }
}

impl Graph {
    /// The cotangents of `x`, `gamma` and `beta` in [`Graph::batch_norm`] from that of `y`:
    /// `dx = γ rstd (ct − mean(ct) − x̂ mean(ct x̂))`, `dγ = Σ ct x̂`, `dβ = Σ ct`.
    ///
    /// `statistics` are the mean and rstd of this very `x`: a saved part of the computation, not operands. Derivatives
    /// differentiate through them by way of `x`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn batch_norm_grad(&mut self, x: Var, gamma: Var, statistics: [Var; 2], ct: Var, eps: f64) -> Result<[Var; 3]> {
        let y = self.apply_all(BatchNormGrad { eps }, &[x, gamma, statistics[0], statistics[1], ct])?;
        Ok([y[0], y[1], y[2]])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    SHAPES
        .iter()
        .map(|&shape| {
            let c = [shape[shape.len() - 1]];
            let x = vec![range(shape, -2.0, 3.0), range(&c, 0.5, 1.5), unit(&c), unit(shape)];
            Case::new(format!("batch_norm_grad {shape:?}"), x, |g, x| {
                let [_, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-2)?;
                Ok(g.batch_norm_grad(x[0], x[1], [mean, rstd], x[3], 1e-2)?.to_vec())
            })
            .tolerance(frame::tolerance(shape, 5e-6))
        })
        .collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    super::batch_norm::timed_family(BatchNormGrad { eps: 1e-5 }, "accca", 5e-6)
}

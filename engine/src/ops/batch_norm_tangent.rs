//! The tangent of batch normalization.

use super::batch_norm::SHAPES;
use crate::{
    Bind, OutMut, Case, Class, Graph, Launch, Launches, Op, Operand, Real, Result, Type, Var,
    case::{range, unit},
    norm::{self, Normed},
    op::{cpu, word},
};

/// The op of [`Graph::batch_norm_tangent`].
#[derive(Debug, Clone)]
pub struct BatchNormTangent {
    eps: f64,
}

impl BatchNormTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let size @ [rows, channels] = norm::rows(x[0].shape());
        let [data, gamma, mean, rstd, dx, dgamma, dbeta] = [0, 1, 2, 3, 4, 5, 6].map(|i| x[i].floats());
        let sums = norm::sums_with_deviation(size, data, mean, dx);
        let n = rows as f64;
        let column = |f: &dyn Fn(usize) -> f64| (0..channels).map(|c| F::of(f(c))).collect::<Vec<F>>();
        let r = |c: usize| rstd[c].wide();
        let a = |c: usize| sums[channels + c] * r(c) / n;
        let dmean = column(&|c| sums[c] / n);
        let drstd = column(&|c| -r(c) * r(c) * a(c));
        let scale = column(&|c| gamma[c].wide() * r(c));
        let slope = column(&|c| (dgamma[c].wide() - gamma[c].wide() * r(c) * a(c)) * r(c));
        let shift = column(&|c| dbeta[c].wide() - gamma[c].wide() * r(c) * sums[c] / n);
        norm::each_row(y[0].floats_mut(), channels, |at, y| {
            let (x, dx) = (&data[at..at + channels], &dx[at..at + channels]);
            for (c, y) in y.iter_mut().enumerate() {
                *y = scale[c] * dx[c] + slope[c] * (x[c] - mean[c]) + shift[c];
            }
        });
        y[1].floats_mut().copy_from_slice(&dmean);
        y[2].floats_mut().copy_from_slice(&drstd);
    }
}

impl Op for BatchNormTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "batch_norm_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let shape = norm::check("batch_norm_tangent", x, &[0, 4])?;
        let channels = shape[shape.len() - 1];
        Ok(vec![Type::f32(shape), Type::f32([channels]), Type::f32([channels])])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size @ [rows, channels] = norm::rows(&x[0].shape);
        let [_, chunks] = norm::chunks(class, size);
        let (x, mean, rstd, dx) = (Bind::In(0), Bind::In(2), Bind::In(3), Bind::In(4));
        let (partial, sums, scales) = (Bind::Scratch(0), Bind::Scratch(1), Bind::Scratch(2));
        let scaled = [sums, Bind::In(1), rstd, Bind::In(5), Bind::In(6), scales, Bind::Out(1), Bind::Out(2)];
        Launches {
            scratch: vec![2 * chunks * channels, 2 * channels, 3 * channels],
            list: vec![
                norm::over_rows(class, "batch_norm_sums", size, &[x, mean, rstd, dx, partial]),
                norm::sum_chunks(class, size, [partial, sums], 0, 2),
                Launch::new("batch_norm_tangent_scales", channels.div_ceil(64))
                    .params([word(channels), (rows as f32).to_bits()])
                    .bind(scaled),
                norm::each_element(class, "batch_norm_tangent", size, &[x, mean, rstd, dx, scales, Bind::Out(0)]),
            ],
        }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        10 * x[0].count() as u64
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let n = Normed::new(g, x[0], self.eps)?;
        let [gamma, dx, dgamma, dbeta] = [x[1], x[4], x[5], x[6]];
        let dmean = g.mean(dx, &n.axes)?;
        let a = n.mean_of(g, n.normed, dx)?;
        let along = g.mul(n.normed, a)?;
        let centred = g.sub(dx, dmean)?;
        let projected = g.sub(centred, along)?;
        let dnormed = g.mul(projected, n.rstd)?;
        let first = g.mul(dnormed, gamma)?;
        let second = g.mul(n.normed, dgamma)?;
        let both = g.add(first, second)?;
        let dy = g.add(both, dbeta)?;
        let square = g.mul(n.rstd, n.rstd)?;
        let product = g.mul(square, a)?;
        let drstd = g.neg(product)?;
        Ok(Some(vec![dy, dmean, drstd]))
    }
}

impl Graph {
    /// The tangents of `y`, mean and rstd in [`Graph::batch_norm`] from those of `x`, `gamma` and `beta`:
    /// `x̂' = rstd (x' − mean(x') − x̂ mean(x̂ x'))`, `y' = γ x̂' + γ' x̂ + β'`.
    ///
    /// `statistics` are the mean and rstd of this very `x`, as in [`Graph::batch_norm_grad`].
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn batch_norm_tangent(
        &mut self,
        x: Var,
        gamma: Var,
        statistics: [Var; 2],
        [dx, dgamma, dbeta]: [Var; 3],
        eps: f64,
    ) -> Result<[Var; 3]> {
        let operands = [x, gamma, statistics[0], statistics[1], dx, dgamma, dbeta];
        let y = self.apply_all(BatchNormTangent { eps }, &operands)?;
        Ok([y[0], y[1], y[2]])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    SHAPES
        .iter()
        .map(|&shape| {
            let c = [shape[shape.len() - 1]];
            let x = vec![range(shape, -2.0, 3.0), range(&c, 0.5, 1.5), unit(&c), unit(shape), unit(&c), unit(&c)];
            Case::new(format!("batch_norm_tangent {shape:?}"), x, |g, x| {
                let [_, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-2)?;
                Ok(g.batch_norm_tangent(x[0], x[1], [mean, rstd], [x[3], x[4], x[5]], 1e-2)?.to_vec())
            })
            .tolerance(norm::tolerance(shape, 5e-6))
        })
        .collect()
}

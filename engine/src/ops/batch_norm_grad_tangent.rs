//! The tangent of batch normalization's backward: what makes its Hessian-vector products cheap.

use super::batch_norm::SHAPES;
use crate::{
    Bind, OutMut, Case, Class, Graph, Launch, Launches, Op, Operand, Real, Result, Type, Var,
    case::{range, unit},
    norm::{self, Normed},
    op::{cpu, word},
};

/// The op of [`Graph::batch_norm_grad_tangent`].
#[derive(Debug, Clone)]
pub struct BatchNormGradTangent {
    eps: f64,
}

impl BatchNormGradTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let size @ [rows, channels] = norm::rows(x[0].shape());
        let [data, gamma, mean, rstd, ct] = [0, 1, 2, 3, 4].map(|i| x[i].floats());
        let [dx, dgamma, dmean, drstd, dct] = [5, 6, 7, 8, 9].map(|i| x[i].floats());
        let sums = norm::row_sums(size, 5, |rows, acc: &mut [F]| {
            let mut parts = acc.chunks_mut(channels);
            let [g, gx, gdx, dg, dgx]: [&mut [F]; 5] =
                std::array::from_fn(|_| parts.next().expect("five sums for each channel"));
            for row in rows {
                let at = row * channels;
                let [x, ct, dx, dct] = [data, ct, dx, dct].map(|v| &v[at..at + channels]);
                for c in 0..channels {
                    let deviation = x[c] - mean[c];
                    g[c] += ct[c];
                    gx[c] += ct[c] * deviation;
                    gdx[c] += ct[c] * dx[c];
                    dg[c] += dct[c];
                    dgx[c] += dct[c] * deviation;
                }
            }
        });
        let n = rows as f64;
        let mean_of = |k: usize, c: usize| sums[k * channels + c] / n;
        // Weights of ct, dct, dx, the deviation and 1, for each channel; and the tangent of dγ.
        let mut scales = vec![[F::zero(); 5]; channels];
        for (c, scale) in scales.iter_mut().enumerate() {
            let r = rstd[c].wide();
            let a = -drstd[c].wide() / (r * r);
            let (m1, m2, dm1) = (mean_of(0, c), mean_of(1, c) * r, mean_of(3, c));
            let dmean = dmean[c].wide();
            let dm2 = mean_of(4, c) * r + r * (mean_of(2, c) - dmean * m1 - a * m2);
            let s = gamma[c].wide() * r;
            let t = dgamma[c].wide() * r - s * r * a;
            let slope = r * (-t * m2 + s * (r * a * m2 - dm2));
            *scale = [t, s, -s * r * m2, slope, -t * m1 + s * (r * dmean * m2 - dm1)].map(F::of);
            y[1].floats_mut()[c] = F::of(n * dm2);
            y[2].floats_mut()[c] = F::of(n * dm1);
        }
        norm::each_row(y[0].floats_mut(), channels, |at, y| {
            let [x, ct, dx, dct] = [data, ct, dx, dct].map(|v| &v[at..at + channels]);
            for (c, y) in y.iter_mut().enumerate() {
                let s = scales[c];
                *y = s[0] * ct[c] + s[1] * dct[c] + s[2] * dx[c] + s[3] * (x[c] - mean[c]) + s[4];
            }
        });
    }
}

impl Op for BatchNormGradTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "batch_norm_grad_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let shape = norm::check("batch_norm_grad_tangent", x, &[0, 4, 5, 9])?;
        let channels = shape[shape.len() - 1];
        Ok(vec![Type::f32(shape), Type::f32([channels]), Type::f32([channels])])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size @ [rows, channels] = norm::rows(&x[0].shape);
        let [_, chunks] = norm::chunks(class, size);
        let (x, mean, rstd, ct, dx, dct) = (Bind::In(0), Bind::In(2), Bind::In(3), Bind::In(4), Bind::In(5), Bind::In(9));
        let (partial, sums, scales) = (Bind::Scratch(0), Bind::Scratch(1), Bind::Scratch(2));
        let scaled = [sums, Bind::In(1), rstd, Bind::In(6), Bind::In(7), Bind::In(8), scales, Bind::Out(1)];
        Launches {
            scratch: vec![5 * chunks * channels, 5 * channels, 5 * channels],
            list: vec![
                norm::over_rows(class, "batch_norm_grad_tangent_sums", size, &[x, mean, rstd, ct, dx, dct, partial]),
                norm::sum_chunks(class, size, [partial, sums], 0, 5),
                norm::sum_chunks(class, size, [partial, Bind::Out(2)], 3, 1),
                Launch::new("batch_norm_grad_tangent_scales", channels.div_ceil(64))
                    .params([word(channels), (rows as f32).to_bits()])
                    .bind(scaled),
                norm::each_element(
                    class,
                    "batch_norm_grad_tangent",
                    size,
                    &[x, mean, rstd, ct, dx, dct, scales, Bind::Out(0)],
                ),
            ],
        }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        22 * x[0].count() as u64
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let n = Normed::new(g, x[0], self.eps)?;
        let [gamma, ct, dx, dgamma, dct] = [x[1], x[4], x[5], x[6], x[9]];
        let dmean = g.mean(dx, &n.axes)?;
        let a = n.mean_of(g, n.normed, dx)?;
        let along = g.mul(n.normed, a)?;
        let centred = g.sub(dx, dmean)?;
        let projected = g.sub(centred, along)?;
        let dnormed = g.mul(projected, n.rstd)?;
        let m1 = g.mean(ct, &n.axes)?;
        let m2 = n.mean_of(g, ct, n.normed)?;
        let dm1 = g.mean(dct, &n.axes)?;
        let (left, right) = (n.mean_of(g, dct, n.normed)?, n.mean_of(g, ct, dnormed)?);
        let dm2 = g.add(left, right)?;
        let q = {
            let along = g.mul(n.normed, m2)?;
            let centred = g.sub(ct, m1)?;
            g.sub(centred, along)?
        };
        let dq = {
            let (first, second) = (g.mul(dnormed, m2)?, g.mul(n.normed, dm2)?);
            let centred = g.sub(dct, dm1)?;
            let rest = g.sub(centred, first)?;
            g.sub(rest, second)?
        };
        let scale = g.mul(gamma, n.rstd)?;
        let dscale = {
            let (product, first) = (g.mul(scale, n.rstd)?, g.mul(dgamma, n.rstd)?);
            let second = g.mul(product, a)?;
            g.sub(first, second)?
        };
        let (first, second) = (g.mul(q, dscale)?, g.mul(dq, scale)?);
        let ddx = g.add(first, second)?;
        let rows = norm::rows(g.shape(x[0]))[0] as f64;
        Ok(Some(vec![ddx, g.affine(dm2, rows, 0.0)?, g.affine(dm1, rows, 0.0)?]))
    }
}

impl Graph {
    /// The tangents of the three results of [`Graph::batch_norm_grad`]. `at` are its operands (x, gamma, mean, rstd, ct);
    /// `d` the tangents of x, gamma, mean, rstd, ct, those of mean and rstd being results of
    /// [`Graph::batch_norm_tangent`] for this very tangent of `x`.
    ///
    /// With `q = ct − m₁ − x̂ m₂`: `dx' = (γ' rstd − γ rstd² a) q + γ rstd q'`, `a = mean(x̂ x')`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn batch_norm_grad_tangent(&mut self, at: &[Var], d: [Var; 5], eps: f64) -> Result<[Var; 3]> {
        let y = self.apply_all(BatchNormGradTangent { eps }, &[at, &d].concat())?;
        Ok([y[0], y[1], y[2]])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    SHAPES
        .iter()
        .map(|&shape| {
            let c = [shape[shape.len() - 1]];
            let mut x = vec![range(shape, -2.0, 3.0), range(&c, 0.5, 1.5), unit(&c), unit(shape)];
            x.extend([unit(shape), unit(&c), unit(&c), unit(shape)]);
            Case::new(format!("batch_norm_grad_tangent {shape:?}"), x, |g, x| {
                let [_, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-2)?;
                let [_, dmean, drstd] = g.batch_norm_tangent(x[0], x[1], [mean, rstd], [x[4], x[5], x[6]], 1e-2)?;
                let at = [x[0], x[1], mean, rstd, x[3]];
                Ok(g.batch_norm_grad_tangent(&at, [x[4], x[5], dmean, drstd, x[7]], 1e-2)?.to_vec())
            })
            .tolerance(norm::tolerance(shape, 1e-5))
        })
        .collect()
}

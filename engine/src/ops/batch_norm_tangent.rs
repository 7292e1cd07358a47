//! The tangent of batch normalization.

use super::batch_norm::SHAPES;
use crate::{
    Bind, Case, Class, Graph, Launch, Launches, Op, Operand, OutMut, Real, Result, Type, Var,
    case::{range, unit},
    norm::{self, Normed},
    op::{cpu, word},
    stack::stacked,
    tangent::{self, Combination, add_with_deviation, combine, members},
};

/// The first operand that is a tangent.
const FIRST: usize = 4;

/// The op of [`Graph::batch_norm_tangent`].
#[derive(Debug, Clone)]
pub struct BatchNormTangent {
    eps: f64,
}

impl BatchNormTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let size @ [rows, channels] = norm::rows(x[0].shape());
        let [data, gamma, mean, rstd, dx, dgamma, dbeta] = [0, 1, 2, 3, 4, 5, 6].map(|i| x[i].floats());
        let len = rows * channels;
        let sums = norm::row_sums(size, 2 * dx.len() / len, |rows, acc: &mut [F]| {
            for (dx, acc) in dx.chunks(len).zip(acc.chunks_mut(2 * channels)) {
                add_with_deviation(&rows, data, mean, dx, acc);
            }
        });
        let n = rows as f64;
        let own = |m: usize| {
            let (sums, dgamma, dbeta) = (&sums[2 * m * channels..], &dgamma[m * channels..], &dbeta[m * channels..]);
            let column = |f: &dyn Fn(usize) -> f64| (0..channels).map(|c| F::of(f(c))).collect::<Vec<F>>();
            let r = |c: usize| rstd[c].wide();
            let a = |c: usize| sums[channels + c] * r(c) / n;
            y[1].floats_mut()[m * channels..][..channels].copy_from_slice(&column(&|c| sums[c] / n));
            y[2].floats_mut()[m * channels..][..channels].copy_from_slice(&column(&|c| -r(c) * r(c) * a(c)));
            let scale = column(&|c| gamma[c].wide() * r(c));
            let slope = column(&|c| (dgamma[c].wide() - gamma[c].wide() * r(c) * a(c)) * r(c));
            let shift = column(&|c| dbeta[c].wide() - gamma[c].wide() * r(c) * sums[c] / n);
            Combination { factors: vec![slope, scale], mean: mean.to_vec(), shift }
        };
        let own: Vec<_> = (0..dx.len() / len).map(own).collect();
        combine(&own, data, &[dx], y[0].floats_mut());
    }
}

impl Op for BatchNormTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "batch_norm_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        tangent::infer("batch_norm_tangent", x, &[0, 4], FIRST)
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let (size @ [rows, channels], members) = (norm::rows(&x[0].shape), members(x[0], y[0]));
        let all = members * channels;
        let [_, chunks] = norm::chunks(class, size);
        let (x, mean, rstd, dx) = (Bind::In(0), Bind::In(2), Bind::In(3), Bind::In(4));
        let (partial, sums, scales) = (Bind::Scratch(0), Bind::Scratch(1), Bind::Scratch(2));
        let scaled = [sums, Bind::In(1), rstd, Bind::In(5), Bind::In(6), scales, Bind::Out(1), Bind::Out(2)];
        Launches {
            scratch: vec![2 * chunks * all, 2 * all, 3 * all],
            list: vec![
                norm::over_stacks(class, "batch_norm_sums", size, members, &[x, mean, rstd, dx, partial]),
                norm::sum_chunks(class, size, [partial, sums], 0, 2 * members),
                Launch::new("batch_norm_tangent_scales", all.div_ceil(64))
                    .params([word(all), (rows as f32).to_bits(), word(channels)])
                    .bind(scaled),
                norm::each_of_stacks(
                    class,
                    "batch_norm_tangent",
                    size,
                    members,
                    &[x, mean, rstd, dx, scales, Bind::Out(0)],
                ),
            ],
        }
    }

    fn flops(&self, _: &[&Type], y: &[&Type]) -> u64 {
        10 * y[0].count() as u64
    }

    fn batched(&self, g: &mut Graph, x: crate::Stacked) -> Result<Option<Vec<Var>>> {
        tangent::batched(self, g, x, FIRST)
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        tangent::plain(g, x, FIRST, |g, x| self.single(g, x)).map(Some)
    }
}

impl BatchNormTangent {
    fn single(&self, g: &mut Graph, x: &[Var]) -> Result<Vec<Var>> {
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
        Ok(vec![dy, dmean, drstd])
    }
}

impl Graph {
    /// The tangents of `y`, mean and rstd in [`Graph::batch_norm`] from those of `x`, `gamma` and `beta`:
    /// `x̂' = rstd (x' − mean(x') − x̂ mean(x̂ x'))`, `y' = γ x̂' + γ' x̂ + β'`.
    ///
    /// `statistics` are the mean and rstd of this very `x`, as in [`Graph::batch_norm_grad`]. The three tangents may be
    /// stacks of one height, along an axis before the others, and so are the results then.
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
    let single = SHAPES.iter().map(|&shape| (shape, None));
    single
        .chain([(SHAPES[3], Some(3)), (&[4, 2, 17], Some(2)), (&[37, 20], Some(2))])
        .map(|(shape, height)| {
            let c = [shape[shape.len() - 1]];
            let mut x = vec![range(shape, -2.0, 3.0), range(&c, 0.5, 1.5), unit(&c)];
            x.extend([shape, &c, &c].map(|s| unit(&stacked(height, s))));
            Case::new(format!("batch_norm_tangent {shape:?} {height:?}"), x, |g, x| {
                let [_, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-2)?;
                Ok(g.batch_norm_tangent(x[0], x[1], [mean, rstd], [x[3], x[4], x[5]], 1e-2)?.to_vec())
            })
            .tolerance(norm::tolerance(shape, 5e-6))
        })
        .collect()
}

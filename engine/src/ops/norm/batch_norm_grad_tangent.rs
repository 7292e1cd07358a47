//! The tangent of batch normalization's backward: what makes its Hessian-vector products cheap.

use crate::ops::norm::{batch_norm::SHAPES, batch_norm_grad::WithDeviation};
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
        op::{Op, cpu},
    },
    launch::{
        launch::{Bind, Launch, Launches, word},
        target::Class,
    },
    ops::norm::{
        frame::{self, Normed},
        tangent::{self, members},
    },
    tensor::{dtype::Type, stack::stacked},
    testing::cases::{Case, range, unit},
};

/// The first operand that is a tangent.
const FIRST: usize = 5;

/// The op of [`Graph::batch_norm_grad_tangent`].
#[derive(Debug, Clone)]
pub struct BatchNormGradTangent {
    eps: f64,
}

impl BatchNormGradTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [rows, channels] = frame::rows(x[0].shape());
        let [data, gamma, mean, rstd, ct] = [0, 1, 2, 3, 4].map(|i| x[i].floats());
        let [dx, dgamma, dmean, drstd, dct] = [5, 6, 7, 8, 9].map(|i| x[i].floats());
        let (n, len) = (rows as f64, rows * channels);
        let at_point = [ct, data].map(Stack::one);
        let [sum, with] = &channels::sums(channels, &WithDeviation, at_point, [mean], 1)[0];
        for group in channels::groups(dx.len() / len, len) {
            let [dct, dx] = [dct, dx].map(|stack| Stack::of(stack, len).part(&group));
            let arrays = [dct, dx, at_point[0], at_point[1]];
            let sums = channels::sums(channels, &Sums, arrays, [mean], group.len());
            let mut own = Vec::with_capacity(sums.len());
            for (m, [dsum, dwith, along]) in group.clone().zip(&sums) {
                let mut c: [Vec<F>; 5] = std::array::from_fn(|_| Vec::with_capacity(channels));
                for i in 0..channels {
                    let (at, r) = (m * channels + i, rstd[i].wide());
                    let a = -drstd[at].wide() / (r * r);
                    let (m1, m2, dm1, dmean) = (sum[i] / n, with[i] / n * r, dsum[i] / n, dmean[at].wide());
                    let dm2 = dwith[i] / n * r + r * (along[i] / n - dmean * m1 - a * m2);
                    let s = gamma[i].wide() * r;
                    let t = dgamma[at].wide() * r - s * r * a;
                    y[1].floats_mut()[at] = F::of(n * dm2);
                    y[2].floats_mut()[at] = F::of(n * dm1);
                    let slope = r * (-t * m2 + s * (r * a * m2 - dm2));
                    let shift = -t * m1 + s * (r * dmean * m2 - dm1);
                    c.iter_mut().zip([s, -s * r * m2, t, slope, shift]).for_each(|(c, own)| c.push(F::of(own)));
                }
                own.push(c);
            }
            let own: Vec<_> = own.iter().map(|[s, p, t, slope, shift]| [mean, s, p, t, slope, shift]).collect();
            let y = &mut y[0].floats_mut()[group.start * len..group.end * len];
            channels::write(channels, self, arrays, &own, y);
        }
    }
}

/// `ct'`, `ct' (x − mean)` and `ct x'`.
struct Sums;

impl Formula<4, 1, 3> for Sums {
    #[inline(always)]
    fn f<F: Real>(&self, [dct, dx, ct, x]: [F; 4], [mean]: [F; 1]) -> [F; 3] {
        [dct, dct * (x - mean), ct * dx]
    }
}

/// Of ct', x', ct and x with mean, their four factors and the shift.
impl Formula<4, 6, 1> for BatchNormGradTangent {
    #[inline(always)]
    fn f<F: Real>(&self, [dct, dx, ct, x]: [F; 4], [mean, s, p, t, slope, shift]: [F; 6]) -> [F; 1] {
        [s * dct + p * dx + t * ct + slope * (x - mean) + shift]
    }
}

impl Op for BatchNormGradTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "batch_norm_grad_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        tangent::infer("batch_norm_grad_tangent", x, &[0, 4, 5, 9], FIRST)
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let (size @ [rows, channels], members) = (frame::rows(&x[0].shape), members(x[0], y[0]));
        let all = members * channels;
        let [_, chunks] = frame::chunks(class, size);
        let (x, mean, rstd, ct, dx, dct) =
            (Bind::In(0), Bind::In(2), Bind::In(3), Bind::In(4), Bind::In(5), Bind::In(9));
        let (partial, sums, scales) = (Bind::Scratch(0), Bind::Scratch(1), Bind::Scratch(2));
        let scaled = [sums, Bind::In(1), rstd, Bind::In(6), Bind::In(7), Bind::In(8), scales, Bind::Out(1)];
        Launches {
            scratch: vec![5 * chunks * all, 5 * all, 5 * all],
            list: vec![
                frame::over_stacks(
                    class,
                    "batch_norm_grad_tangent_sums",
                    size,
                    members,
                    &[x, mean, rstd, ct, dx, dct, partial],
                ),
                frame::sum_chunks(class, size, [partial, sums], 0, 5 * members),
                frame::sum_chunks(class, size, [partial, Bind::Out(2)], 3 * members, members),
                Launch::new("batch_norm_grad_tangent_scales", all.div_ceil(64))
                    .params([word(all), (rows as f32).to_bits(), word(channels)])
                    .bind(scaled),
                frame::each_of_stacks(
                    class,
                    "batch_norm_grad_tangent",
                    size,
                    members,
                    &[x, mean, rstd, ct, dx, dct, scales, Bind::Out(0)],
                ),
            ],
        }
    }

    fn flops(&self, _: &[&Type], y: &[&Type]) -> u64 {
        22 * y[0].count() as u64
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        tangent::batched(self, g, x, FIRST)
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        tangent::plain(g, x, FIRST, |g, x| self.single(g, x)).map(Some)
    }
}

impl BatchNormGradTangent {
    fn single(&self, g: &mut Graph, x: &[Var]) -> Result<Vec<Var>> {
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
        let rows = frame::rows(g.shape(x[0]))[0] as f64;
        Ok(vec![ddx, g.affine(dm2, rows, 0.0)?, g.affine(dm1, rows, 0.0)?])
    }
}

impl Graph {
    /// The tangents of the three results of [`Graph::batch_norm_grad`]. `at` are its operands (x, gamma, mean, rstd, ct);
    /// `d` the tangents of x, gamma, mean, rstd, ct, those of mean and rstd being results of
    /// [`Graph::batch_norm_tangent`] for this very tangent of `x`. The tangents may be stacks, as there.
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
    let single = SHAPES.iter().map(|&shape| (shape, None));
    single
        .chain([(SHAPES[3], Some(3)), (&[4, 2, 17], Some(2)), (&[37, 20], Some(4))])
        .map(|(shape, height)| {
            let c = [shape[shape.len() - 1]];
            let mut x = vec![range(shape, -2.0, 3.0), range(&c, 0.5, 1.5), unit(&c), unit(shape)];
            x.extend([shape, &c, &c, shape].map(|s| unit(&stacked(height, s))));
            Case::new(format!("batch_norm_grad_tangent {shape:?} {height:?}"), x, |g, x| {
                let [_, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-2)?;
                let [_, dmean, drstd] = g.batch_norm_tangent(x[0], x[1], [mean, rstd], [x[4], x[5], x[6]], 1e-2)?;
                let at = [x[0], x[1], mean, rstd, x[3]];
                Ok(g.batch_norm_grad_tangent(&at, [x[4], x[5], dmean, drstd, x[7]], 1e-2)?.to_vec())
            })
            .tolerance(frame::tolerance(shape, 1e-5))
        })
        .collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    super::batch_norm::timed_family(BatchNormGradTangent { eps: 1e-5 }, "acccaaccca", 1e-5)
}

//! The tangent of batch normalization's backward: what makes its Hessian-vector products cheap.

use crate::ops::norm::{
    batch_norm::{operands, timed_family},
    frame::{self, Normed, WithDeviation},
    tangent::{self, items},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The first operand that is a tangent.
const FIRST: usize = 5;

/// The op of [`Tensor::batch_norm_grad_tangent`].
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormGradTangent {
    pub(crate) eps: f64,
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
        let (size @ [rows, channels], items) = (frame::rows(&x[0].shape), items(x[0], y[0]));
        let all = items * channels;
        let [_, chunks] = frame::chunks(class, size);
        let [x, gamma, mean, rstd, ct, dx, dgamma, dmean, drstd, dct] = std::array::from_fn(Bind::In);
        let [partial, sums, scales] = std::array::from_fn(Bind::Scratch);
        let summed = [x, mean, rstd, ct, dx, dct, partial];
        let scaled = [sums, gamma, rstd, dgamma, dmean, drstd, scales, Bind::Out(1)];
        let each = [x, mean, rstd, ct, dx, dct, scales, Bind::Out(0)];
        Launches {
            scratch: vec![5 * chunks * all, 5 * all, 5 * all],
            list: vec![
                frame::over_rows(class, "batch_norm_grad_tangent_sums", size, items, &summed),
                frame::sum_chunks(class, size, [partial, sums], 0, 5 * items),
                frame::sum_chunks(class, size, [partial, Bind::Out(2)], 3 * items, items),
                Launch::new("batch_norm_grad_tangent_scales", all.div_ceil(64))
                    .params([word(all), (rows as f32).to_bits(), word(channels)])
                    .bind(scaled),
                frame::each_element(class, "batch_norm_grad_tangent", size, items, &each),
            ],
        }
    }

    fn flops(&self, _: &[&Type], y: &[&Type]) -> u64 {
        22 * y[0].count() as u64
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        tangent::batched(self, x, FIRST)
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        tangent::plain(x, FIRST, |x| self.single(x)).map(Some)
    }
}

impl BatchNormGradTangent {
    fn single<'g>(&self, x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        let [gamma, ct, dx, dgamma, dct] = [1, 4, 5, 6, 9].map(|i| x[i]);
        let n = Normed::new(x[0], self.eps)?;
        let [_, a, dnormed] = n.push(dx);
        let (m1, m2) = (n.mean(ct), n.mean(ct * n.normed));
        let (dm1, dm2) = (n.mean(dct), n.mean(dct * n.normed) + n.mean(ct * dnormed));
        let q = ct - m1 - n.normed * m2;
        let dq = dct - dm1 - dnormed * m2 - n.normed * dm2;
        let scale = gamma * n.rstd;
        let dscale = dgamma * n.rstd - scale * n.rstd * a;
        let rows = frame::rows(x[0].shape()?)[0] as f64;
        Ok(vec![q * dscale + dq * scale, dm2 * rows, dm1 * rows])
    }
}

impl<'g> Tensor<'g> {
    /// The tangents of the three results of [`Tensor::batch_norm_grad`], after its operands; `d` are the tangents of x,
    /// gamma, mean, rstd, ct, those of mean and rstd being results of [`Tensor::batch_norm_tangent`] for this very tangent
    /// of `x`. The tangents may be stacks, as there.
    ///
    /// With `q = ct − m₁ − x̂ m₂`: `dx' = (γ' rstd − γ rstd² a) q + γ rstd q'`, `a = mean(x̂ x')`.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn batch_norm_grad_tangent(
        self, gamma: Tensor<'g>, [mean, rstd]: [Tensor<'g>; 2], ct: Tensor<'g>, d: [Tensor<'g>; 5], eps: f64,
    ) -> [Tensor<'g>; 3] {
        let at = [self, gamma, mean, rstd, ct];
        self.graph().apply(BatchNormGradTangent { eps }, [at, d].as_flattened())
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |(shape, batch): (&[usize], Option<usize>)| {
        let mut x = [operands(shape), vec![unit(shape)]].concat();
        let c = &shape[shape.len() - 1..];
        x.extend([shape, c, c, shape].map(|s| unit(&stacked(batch, s))));
        TestCase::new(format!("batch_norm_grad_tangent {shape:?} {batch:?}"), x, |x| {
            let [_, mean, rstd] = x[0].batch_norm(x[1], x[2], 1e-2);
            let [_, dmean, drstd] = x[0].batch_norm_tangent(x[1], [mean, rstd], [x[4], x[5], x[6]], 1e-2);
            let d = [x[4], x[5], dmean, drstd, x[7]];
            Ok(x[0].batch_norm_grad_tangent(x[1], [mean, rstd], x[3], d, 1e-2).into())
        })
        .tolerance(frame::tolerance(shape, 1e-5))
    };
    tangent::shapes().map(case).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_family(BatchNormGradTangent { eps: 1e-5 }, "acccaaccca", 1e-5)
}

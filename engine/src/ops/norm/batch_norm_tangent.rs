//! The tangent of batch normalization.

use crate::ops::norm::{
    batch_norm::{operands, timed_family},
    frame::{self, Normed, WithDeviation},
    tangent::{self, items},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The first operand that is a tangent.
const FIRST: usize = 4;

/// The op of [`Tensor::batch_norm_tangent`]; the compiler makes those with a residual and a ReLU mask.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormTangent {
    /// Added to the variance.
    pub eps: f64,
    /// Whether an operand like `x'` is added to `y'`.
    pub residual: bool,
    /// Whether a last operand like `x` makes `y'` zero where it is zero or less.
    pub mask: bool,
}

/// The number of operands of [`Tensor::batch_norm_tangent`].
const PLAIN: usize = 7;

impl BatchNormTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [rows, channels] = frame::rows(x[0].shape());
        let [data, gamma, mean, rstd, dx, dgamma, dbeta] = [0, 1, 2, 3, 4, 5, 6].map(|i| x[i].floats());
        let (n, len) = (rows as f64, rows * channels);
        for group in channels::groups(dx.len() / len, len) {
            let arrays = [Stack::of(dx, len).part(&group), Stack::one(data)];
            let sums = channels::sums(channels, &WithDeviation, arrays, [mean], group.len());
            let mut own = Vec::with_capacity(sums.len());
            for (m, [sum, with]) in group.clone().zip(&sums) {
                let mut c: [Vec<F>; 3] = std::array::from_fn(|_| Vec::with_capacity(channels));
                for i in 0..channels {
                    let (at, r, g) = (m * channels + i, rstd[i].wide(), gamma[i].wide());
                    let (a, dmean) = (with[i] * r / n, sum[i] / n);
                    y[1].floats_mut()[at] = F::of(dmean);
                    y[2].floats_mut()[at] = F::of(-r * r * a);
                    let slope = (dgamma[at].wide() - g * r * a) * r;
                    let all = [g * r, slope, dbeta[at].wide() - g * r * dmean];
                    c.iter_mut().zip(all).for_each(|(c, own)| c.push(F::of(own)));
                }
                own.push(c);
            }
            let own: Vec<_> = own.iter().map(|[scale, slope, shift]| [mean, scale, slope, shift]).collect();
            let y = &mut y[0].floats_mut()[group.start * len..group.end * len];
            let [dx, data] = arrays;
            let residual = || Stack::of(x[PLAIN].floats(), len).part(&group);
            let mask = || Stack::one(x[x.len() - 1].floats());
            match (self.residual, self.mask) {
                (false, false) => channels::write(channels, &Line::<false, false>, arrays, &own, y),
                (true, false) => channels::write(channels, &Line::<true, false>, [dx, data, residual()], &own, y),
                (false, true) => channels::write(channels, &Line::<false, true>, [dx, data, mask()], &own, y),
                (true, true) => channels::write(channels, &Line::<true, true>, [dx, data, residual(), mask()], &own, y),
            }
        }
    }
}

/// The results' elements, with a residual and a ReLU mask or without.
struct Line<const RESIDUAL: bool, const MASK: bool>;

/// Of x' and x, a residual and a ReLU mask where there are such, with mean, scale, slope and shift.
impl<const RESIDUAL: bool, const MASK: bool, const X: usize> Formula<X, 4, 1> for Line<RESIDUAL, MASK> {
    #[inline(always)]
    fn f<F: Real>(&self, x: [F; X], [mean, scale, slope, shift]: [F; 4]) -> [F; 1] {
        let mut y = scale * x[0] + slope * (x[1] - mean) + shift;
        if RESIDUAL {
            y += x[2];
        }
        [if MASK && x[X - 1] <= F::zero() { F::zero() } else { y }]
    }
}

impl Op for BatchNormTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "batch_norm_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let (x, mask) = x.split_at(x.len() - usize::from(self.mask));
        if mask.iter().any(|mask| mask.shape != x[0].shape) {
            return Err(shape_error("batch_norm_tangent", "the ReLU mask is an array like x", mask));
        }
        let arrays = if self.residual { &[0, 4, 7][..] } else { &[0, 4] };
        tangent::infer("batch_norm_tangent", x, arrays, FIRST)
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let (size @ [rows, channels], items) = (frame::rows(&x[0].shape), items(x[0], y[0]));
        let all = items * channels;
        let [_, chunks] = frame::chunks(class, size);
        let [x, gamma, mean, rstd, dx, dgamma, dbeta] = std::array::from_fn(Bind::In);
        let [partial, sums, scales] = std::array::from_fn(Bind::Scratch);
        let residual = if self.residual { Bind::In(PLAIN) } else { dx };
        let mask = if self.mask { Bind::In(PLAIN + usize::from(self.residual)) } else { x };
        let scaled = [sums, gamma, rstd, dgamma, dbeta, scales, Bind::Out(1), Bind::Out(2)];
        let each = [x, mean, rstd, dx, scales, residual, mask, Bind::Out(0)];
        Launches {
            scratch: vec![2 * chunks * all, 2 * all, 3 * all],
            list: vec![
                frame::over_rows(class, "batch_norm_sums", size, items, &[x, mean, rstd, dx, partial]),
                frame::sum_chunks(class, size, [partial, sums], 0, 2 * items),
                Launch::new("batch_norm_tangent_scales", all.div_ceil(64))
                    .params([word(all), (rows as f32).to_bits(), word(channels)])
                    .bind(scaled),
                frame::each_element(class, "batch_norm_tangent", size, items, &each)
                    .constant("RESIDUAL", self.residual)
                    .constant("MASK", self.mask),
            ],
        }
    }

    fn flops(&self, _: &[&Type], y: &[&Type]) -> u64 {
        10 * y[0].count() as u64
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        // Graphs have those without; a ReLU mask would be the same for all items.
        if self.mask { Ok(None) } else { tangent::batched(self, x, FIRST) }
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let (x, more) = x.split_at(PLAIN);
        let mut y = tangent::plain(x, FIRST, |x| self.single(x))?;
        if self.residual {
            y[0] = y[0] + more[0];
        }
        if self.mask {
            y[0] = more[more.len() - 1].relu_mask(y[0]);
        }
        Ok(Some(y))
    }
}

impl BatchNormTangent {
    fn single<'g>(&self, x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        let [gamma, dx, dgamma, dbeta] = [1, 4, 5, 6].map(|i| x[i]);
        let n = Normed::new(x[0], self.eps)?;
        let [dmean, a, dnormed] = n.push(dx);
        Ok(vec![dnormed * gamma + n.normed * dgamma + dbeta, dmean, -(n.rstd * n.rstd * a)])
    }
}

impl<'g> Tensor<'g> {
    /// The tangents of `y`, mean and rstd in [`Tensor::batch_norm`] from those of `x`, `gamma` and `beta`:
    /// `x̂' = rstd (x' − mean(x') − x̂ mean(x̂ x'))`, `y' = γ x̂' + γ' x̂ + β'`.
    ///
    /// `statistics` are the mean and rstd of this very `x`, as in [`Tensor::batch_norm_grad`]. The three tangents may be
    /// stacks of one batch size, along an axis before the others, and so are the results then.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn batch_norm_tangent(
        self, gamma: Tensor<'g>, [mean, rstd]: [Tensor<'g>; 2], [dx, dgamma, dbeta]: [Tensor<'g>; 3], eps: f64,
    ) -> [Tensor<'g>; 3] {
        let op = BatchNormTangent { eps, residual: false, mask: false };
        self.graph().apply(op, &[self, gamma, mean, rstd, dx, dgamma, dbeta])
    }
}

/// Operands of a test case: x, gamma, beta, and the tangents.
fn with_tangents(shape: &[usize], batch: Option<usize>) -> Vec<Generator> {
    let c = &shape[shape.len() - 1..];
    let tangents = [shape, c, c].map(|s| unit(&stacked(batch, s)));
    operands(shape).into_iter().chain(tangents).collect()
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let plain = tangent::shapes().map(|(shape, batch)| {
        TestCase::new(format!("batch_norm_tangent {shape:?} {batch:?}"), with_tangents(shape, batch), |x| {
            let [_, mean, rstd] = x[0].batch_norm(x[1], x[2], 1e-2);
            Ok(x[0].batch_norm_tangent(x[1], [mean, rstd], [x[3], x[4], x[5]], 1e-2).into())
        })
        .tolerance(frame::tolerance(shape, 5e-6))
    });
    let fused = tangent::shapes().flat_map(|(shape, batch)| {
        [(true, false), (false, true), (true, true)].map(|(residual, mask)| {
            let mut x = with_tangents(shape, batch);
            x.extend(residual.then(|| unit(&stacked(batch, shape))));
            x.extend(mask.then(|| unit(shape)));
            let op = BatchNormTangent { eps: 1e-2, residual, mask };
            TestCase::new(format!("batch_norm_tangent {shape:?} {batch:?} {residual} {mask}"), x, move |x| {
                let [_, mean, rstd] = x[0].batch_norm(x[1], x[2], 1e-2);
                x[0].graph().apply_all(op.clone(), &[&[x[0], x[1], mean, rstd], &x[3..]].concat())
            })
            .tolerance(frame::tolerance(shape, 5e-6))
            .order(0)
        })
    });
    plain.chain(fused).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_family(BatchNormTangent { eps: 1e-5, residual: false, mask: false }, "acccacc", 5e-6)
}

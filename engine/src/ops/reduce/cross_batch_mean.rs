//! The cross-batch mean: over all micro-batches, each weighted by its share of the samples.

use crate::ops::reduce::frame;
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::cross_batch_mean`].
#[derive(Debug, PartialEq)]
pub struct CrossBatchMean;

impl CrossBatchMean {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        y[0].copy_from(x[0].data);
    }
}

impl Op for CrossBatchMean {
    cpu!();

    fn name(&self) -> &'static str {
        "cross_batch_mean"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("cross_batch_mean", x, &[DType::F32])?;
        Ok(vec![x[0].clone()])
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        let len = y[0].count();
        Launch::new("affine", len.div_ceil(4 * 64))
            .params([word(len), 1f32.to_bits(), 0f32.to_bits(), 1])
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    fn flops(&self, _: &[&Type], _: &[&Type]) -> u64 {
        0
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(Some(vec![x.x[0].cross_batch_mean()]))
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![ct[0].map(Tensor::cross_batch_mean)]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        self.vjp(at, dx)
    }
}

impl<'g> Tensor<'g> {
    /// `y = Σ wₚ xₚ` over the parts `p` of a batch that go through the graph one after the other, `wₚ` their shares of
    /// the samples: the cross-batch mean. A run of the graph knows its own part alone: there `y = x`, the mean of a batch
    /// in one part. Who has several puts the mean in its place, as the values `y` for all parts.
    ///
    /// It is its own tangent, and its own transpose: where the loss is `Σ wₚ lₚ` and cotangents are those of `lₚ`, that
    /// of `xₚ` is `Σ wₚ ctₚ`.
    ///
    /// Broken by indices ([`Error::DType`](crate::Error::DType)).
    #[track_caller]
    pub fn cross_batch_mean(self) -> Tensor<'g> {
        self.apply(CrossBatchMean)
    }

    /// [`Tensor::batch_norm`] of a batch of which the graph has a part, with the statistics of all parts.
    ///
    /// The variance is `E (x − s)² − (E (x − s))²` for the mean `s`, held constant. The second term is zero but for
    /// rounding; with it mean and variance have derivatives that need none of each other, so that in every derivative the
    /// parts wait for one another once.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn batch_norm_cross_batch(self, [gamma, beta]: [Tensor<'g>; 2], eps: f64) -> Tensor<'g> {
        let mut axes = frame::axes(self);
        axes.pop();
        let center = self.mean(&axes).cross_batch_mean().stop_gradient();
        let deviation = self - center;
        let rest = deviation.mean(&axes).cross_batch_mean();
        let variance = (deviation * deviation).mean(&axes).cross_batch_mean() - rest * rest;
        (self - (center + rest)) * ((variance + eps).rsqrt() * gamma) + beta
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |shape: &[usize]| {
        TestCase::one(format!("cross_batch_mean {shape:?}"), vec![unit(shape)], |x| x[0].cross_batch_mean())
    };
    let x = vec![unit(&[5, 3, 7]), unit(&[7]), unit(&[7])];
    vec![
        case(&[7]),
        case(&[3, 5, 67]),
        TestCase::one("batch_norm_cross_batch", x, |x| x[0].batch_norm_cross_batch([x[1], x[2]], 1e-2)).tolerance(1e-5),
    ]
}

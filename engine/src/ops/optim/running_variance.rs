//! Running variances of batch normalization, in place.

use crate::ops::optim::update::{LENS, Rule, Update};
use crate::{cpu::*, graph::*, launch::*};

/// The rule of [`Tensor::running_variance`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunningVariance {
    /// `n/(n − 1)` of a batch with `n` numbers for each channel.
    pub unbiased: f64,
    /// What was added to the variance.
    pub eps: f64,
}

impl Rule for RunningVariance {
    const NAME: &'static str = "running_variance";
    const FLOPS: u64 = 7;
    const RATES: usize = 1;

    fn kept(&self) -> usize {
        0
    }

    fn kernels(&self) -> [&'static str; 2] {
        ["running_variance", "running_variance_multi"]
    }

    fn constants(&self, launch: Launch) -> Launch {
        launch.params([self.unbiased, self.eps].map(|c| (c as f32).to_bits()))
    }

    #[inline(always)]
    fn step<F: Real>(&self, share: &[F], [y, ..]: [&mut [F]; 3], rstd: &[F]) {
        let (share, unbiased, eps) = (share[0], F::of(self.unbiased), F::of(self.eps));
        y.iter_mut().zip(rstd).for_each(|(y, &rstd)| {
            // Where there is none, ε and the reciprocal differ by their rounding.
            let variance = ((rstd * rstd).recip() - eps).most(F::zero()) * unbiased;
            *y += (variance - *y) * share;
        });
    }

    fn plain<'g>(&self, y: &[Tensor<'g>], rstd: Tensor<'g>, share: Tensor<'g>) -> Vec<Tensor<'g>> {
        let variance = ((rstd * rstd).recip() - self.eps).relu() * self.unbiased;
        vec![y[0] + (variance - y[0]) * share]
    }
}

impl<'g> Tensor<'g> {
    /// The running variance `y` after a batch: `y + share (n/(n − 1) max(1/rstd² − ε, 0) − y)`, where
    /// `rstd = 1/√(variance + ε)`.
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | y, rstd | alike | `rstd > 0` |
    /// | share | `[1]` | from 0 to 1 |
    ///
    /// Where the result is [assigned](crate::Graph::assign) to the state that `y` is, nothing is copied.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn running_variance(self, rule: RunningVariance, rstd: Tensor<'g>, share: Tensor<'g>) -> Tensor<'g> {
        let [y] = self.graph().apply(Update::new(rule), &[self, rstd, share]);
        y
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |lens: &[usize]| {
        let mut x: Vec<_> = lens.iter().flat_map(|&len| [range(&[len], 0.5, 2.0), range(&[len], 0.5, 1.4)]).collect();
        x.push(range(&[1], 0.1, 0.2));
        let case = TestCase::new(format!("running_variance {lens:?}"), x, |x| {
            let (arrays, share) = x.split_at(x.len() - 1);
            let rule = RunningVariance { unbiased: 1.125, eps: 1e-3 };
            Ok(arrays.chunks(2).map(|x| x[0].running_variance(rule, x[1], share[0])).collect())
        });
        case.order(0)
    };
    LENS.into_iter().map(case).collect()
}

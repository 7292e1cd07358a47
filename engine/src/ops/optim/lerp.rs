//! Moving averages, in place.

use crate::ops::optim::update::{LENS, Rule, Update};
use crate::{cpu::*, graph::*, launch::*};

/// The rule of [`Tensor::lerp`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lerp;

impl Rule for Lerp {
    const NAME: &'static str = "lerp";
    const FLOPS: u64 = 3;
    const RATES: usize = 1;

    fn kept(&self) -> usize {
        0
    }

    fn kernels(&self) -> [&'static str; 2] {
        ["lerp", "lerp_multi"]
    }

    fn constants(&self, launch: Launch) -> Launch {
        launch
    }

    #[inline(always)]
    fn step<F: Real>(&self, share: &[F], [y, ..]: [&mut [F]; 3], x: &[F]) {
        let share = share[0];
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += (x - *y) * share);
    }

    fn plain<'g>(&self, y: &[Tensor<'g>], x: Tensor<'g>, share: Tensor<'g>) -> Vec<Tensor<'g>> {
        vec![y[0] + (x - y[0]) * share]
    }
}

impl<'g> Tensor<'g> {
    /// `y + share (x − y)`: the moving average `y` after another `x`, exponential where the share is always the same.
    ///
    /// | | shape |
    /// |---|---|
    /// | y, x | alike |
    /// | share | `[1]`, from 0 to 1 |
    ///
    /// Where the result is [assigned](crate::Graph::assign) to the state that `y` is, nothing is copied.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn lerp(self, x: Tensor<'g>, share: Tensor<'g>) -> Tensor<'g> {
        let [y] = self.graph().apply(Update::new(Lerp), &[self, x, share]);
        y
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |lens: &[usize]| {
        let mut x: Vec<_> = lens.iter().flat_map(|&len| vec![unit(&[len]); 2]).collect();
        x.push(range(&[1], 0.1, 0.2));
        let case = TestCase::new(format!("lerp {lens:?}"), x, |x| {
            let (arrays, share) = x.split_at(x.len() - 1);
            Ok(arrays.chunks(2).map(|x| x[0].lerp(x[1], share[0])).collect())
        });
        case.order(0)
    };
    LENS.into_iter().map(case).collect()
}

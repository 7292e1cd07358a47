//! Random zeros and ones.

use crate::ops::random::draw::{self, Distribution, unit};
use crate::{cpu::*, graph::*};

/// The distribution of [`Tensor::bernoulli`].
#[derive(Debug, PartialEq)]
pub struct Bernoulli(f32);

impl Distribution for Bernoulli {
    const NAME: &'static str = "bernoulli";

    fn p(&self) -> f32 {
        self.0
    }

    fn numbers<F: Real>(&self, words: [u32; 4]) -> [F; 4] {
        let p = F::of(self.0.into());
        words.map(|w| if unit::<F>(w) < p { F::one() } else { F::zero() })
    }
}

impl<'g> Tensor<'g> {
    /// 1 with probability `p`, else 0, by Philox4x32-10; the same on every executor.
    ///
    /// The seed, this tensor, is u32 `[3]`: its low and high word, and the step; draws of another `stream` or step are
    /// independent.
    ///
    /// Broken by a seed of another shape ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn bernoulli(self, stream: u32, shape: &[usize], p: f32) -> Tensor<'g> {
        self.draw(Bernoulli(p), stream, shape)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let all = draw::cases(Bernoulli::NAME, |seed, stream, shape| seed.bernoulli(stream, shape, 0.3));
    all.into_iter().map(|case| case.tolerance(0.0)).collect()
}

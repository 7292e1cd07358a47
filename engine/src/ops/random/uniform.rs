//! Uniform random numbers.

use crate::ops::random::draw::{self, Distribution, unit};
use crate::{cpu::*, graph::*};

/// The distribution of [`Tensor::uniform`].
#[derive(Debug, PartialEq)]
pub struct Uniform;

impl Distribution for Uniform {
    const NAME: &'static str = "uniform";

    fn numbers<F: Real>(&self, words: [u32; 4]) -> [F; 4] {
        words.map(unit)
    }
}

impl<'g> Tensor<'g> {
    /// Uniform in `[0, 1)`, multiples of 2⁻²⁴, by Philox4x32-10; the same bits on every executor.
    ///
    /// The seed, this tensor, is u32 `[3]`: its low and high word, and the step; draws of another `stream` or step are
    /// independent.
    ///
    /// Broken by a seed of another shape ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn uniform(self, stream: u32, shape: &[usize]) -> Tensor<'g> {
        self.draw(Uniform, stream, shape)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let all = draw::cases(Uniform::NAME, |seed, stream, shape| seed.uniform(stream, shape));
    all.into_iter().map(|case| case.tolerance(0.0)).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    vec![draw::timed(|seed, stream, shape| seed.uniform(stream, shape)).tolerance(0.0)]
}

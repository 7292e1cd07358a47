//! Normal random numbers.

use crate::ops::random::draw::{self, Distribution};
use crate::{cpu::*, graph::*};

/// The distribution of [`Tensor::normal`].
#[derive(Debug, PartialEq)]
pub struct Normal;

impl Distribution for Normal {
    const NAME: &'static str = "normal";

    fn numbers<F: Real>(&self, [a, b, c, d]: [u32; 4]) -> [F; 4] {
        let pair = |a: u32, b: u32| {
            let radius = (F::of(-2.0) * F::of((f64::from(a >> 8) + 1.0) / 16_777_216.0).ln()).sqrt();
            let angle = F::of(f64::from(b >> 8) / 16_777_216.0 * std::f64::consts::TAU);
            [radius * angle.cos(), radius * angle.sin()]
        };
        let ([p, q], [r, s]) = (pair(a, b), pair(c, d));
        [p, q, r, s]
    }
}

impl<'g> Tensor<'g> {
    /// Standard normal, by Philox4x32-10 and Box and Muller (1958); equal to 1e-6 on every executor.
    ///
    /// The seed, this tensor, is u32 `[3]`: its low and high word, and the step; draws of another `stream` or step are
    /// independent.
    ///
    /// Broken by a seed of another shape ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn normal(self, stream: u32, shape: &[usize]) -> Tensor<'g> {
        self.draw(Normal, stream, shape)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    draw::cases(Normal::NAME, |seed, stream, shape| seed.normal(stream, shape))
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    vec![draw::timed(|seed, stream, shape| seed.normal(stream, shape)).tolerance(3e-6)]
}

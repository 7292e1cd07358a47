//! Random zeros and ones.

use crate::ops::random::draw::{Draw, cases as draws, unit};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{launch::Launches, target::Class},
    tensor::dtype::Type,
    testing::cases::Case,
};

/// The op of [`Graph::bernoulli`].
#[derive(Debug)]
pub struct Bernoulli(Draw);

impl Bernoulli {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let p = F::of(self.0.p.into());
        self.0.eval(x, y, |words| words.map(|w| if unit::<F>(w) < p { F::one() } else { F::zero() }))
    }
}

impl Op for Bernoulli {
    cpu!();

    fn name(&self) -> &'static str {
        "bernoulli"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        self.0.infer("bernoulli", x)
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        self.0.launch("bernoulli", y)
    }

    fn vjp(&self, _: &mut Graph, _: At, _: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }
}

impl Graph {
    /// 1 with probability `p`, else 0, by Philox4x32-10; the same on every executor.
    ///
    /// `seed` is u32 `[3]`: the seed's low and high word, and the step; draws of another `stream` or step are independent.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the seed has another shape.
    pub fn bernoulli(&mut self, seed: Var, stream: u32, shape: &[usize], p: f32) -> Result<Var> {
        self.apply(Bernoulli(Draw { shape: shape.to_vec(), stream, p }), &[seed])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    draws("bernoulli", |g, seed, stream, shape| g.bernoulli(seed, stream, shape, 0.3))
        .into_iter()
        .map(|c| c.tolerance(0.0))
        .collect()
}

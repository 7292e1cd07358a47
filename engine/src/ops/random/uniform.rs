//! Uniform random numbers.

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
    testing::cases::{Case, Sample},
};

/// The op of [`Graph::uniform`].
#[derive(Debug)]
pub struct Uniform(Draw);

impl Uniform {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        self.0.eval(x, y, |words| words.map(unit))
    }
}

impl Op for Uniform {
    cpu!();

    fn name(&self) -> &'static str {
        "uniform"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        self.0.infer("uniform", x)
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        self.0.launch("uniform", y)
    }

    fn vjp(&self, _: &mut Graph, _: At, _: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }
}

impl Graph {
    /// Uniform in `[0, 1)`, multiples of 2⁻²⁴, by Philox4x32-10; the same bits on every executor.
    ///
    /// `seed` is u32 `[3]`: the seed's low and high word, and the step; draws of another `stream` or step are independent.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the seed has another shape.
    pub fn uniform(&mut self, seed: Var, stream: u32, shape: &[usize]) -> Result<Var> {
        self.apply(Uniform(Draw { shape: shape.to_vec(), stream, p: 0.0 }), &[seed])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    draws("uniform", Graph::uniform).into_iter().map(|c| c.tolerance(0.0)).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let seed = Sample::Words(vec![0x1234_5678, 0x9abc_def0, 3]);
    vec![Case::new("[1048579]", vec![seed], |g, x| Ok(vec![g.uniform(x[0], 5, &[1_048_579])?])).tolerance(0.0)]
}

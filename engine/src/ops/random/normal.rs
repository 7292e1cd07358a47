//! Normal random numbers.

use crate::ops::random::draw::{Draw, cases as draws};
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

/// The op of [`Graph::normal`].
#[derive(Debug)]
pub struct Normal(Draw);

impl Normal {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let pair = |a: u32, b: u32| {
            let radius = (F::of(-2.0) * F::of((f64::from(a >> 8) + 1.0) / 16_777_216.0).ln()).sqrt();
            let angle = F::of(f64::from(b >> 8) / 16_777_216.0 * std::f64::consts::TAU);
            [radius * angle.cos(), radius * angle.sin()]
        };
        self.0.eval(x, y, |[a, b, c, d]| {
            let ([p, q], [r, s]) = (pair(a, b), pair(c, d));
            [p, q, r, s]
        })
    }
}

impl Op for Normal {
    cpu!();

    fn name(&self) -> &'static str {
        "normal"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        self.0.infer("normal", x)
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        self.0.launch("normal", y)
    }

    fn vjp(&self, _: &mut Graph, _: At, _: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }
}

impl Graph {
    /// Standard normal, by Philox4x32-10 and Box and Muller (1958); equal to 1e-6 on every executor.
    ///
    /// `seed` is u32 `[3]`: the seed's low and high word, and the step; draws of another `stream` or step are independent.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the seed has another shape.
    pub fn normal(&mut self, seed: Var, stream: u32, shape: &[usize]) -> Result<Var> {
        self.apply(Normal(Draw { shape: shape.to_vec(), stream, p: 0.0 }), &[seed])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    draws("normal", Graph::normal)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let seed = Sample::Words(vec![0x1234_5678, 0x9abc_def0, 3]);
    vec![Case::new("[1048579]", vec![seed], |g, x| Ok(vec![g.normal(x[0], 5, &[1_048_579])?])).tolerance(3e-6)]
}

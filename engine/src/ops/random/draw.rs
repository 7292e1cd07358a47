//! The frame of random ops: draws from Philox by seed, stream and index, the same on every executor.

use std::fmt::Debug;

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// What random numbers are made of random words.
pub trait Distribution: Debug + PartialEq + Send + Sync + 'static {
    /// The name of the op and of its kernel.
    const NAME: &'static str;

    /// The parameter, for the kernel.
    fn p(&self) -> f32 {
        0.0
    }

    /// Four numbers from a block of four words.
    fn numbers<F: Real>(&self, words: [u32; 4]) -> [F; 4];
}

/// The op of a [`Distribution`].
#[derive(Debug, PartialEq)]
pub struct Draw<D> {
    distribution: D,
    stream: u32,
    shape: Shape,
}

impl<D: Distribution> Draw<D> {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let seed = x[0].indices();
        for (i, y) in y[0].floats_mut().chunks_mut(4).enumerate() {
            let words = philox([i as u32, self.stream, seed[2], 0], [seed[0], seed[1]]);
            y.copy_from_slice(&self.distribution.numbers(words)[..y.len()]);
        }
    }
}

impl<D: Distribution> Op for Draw<D> {
    cpu!();

    fn name(&self) -> &'static str {
        D::NAME
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes(D::NAME, x, &[DType::U32])?;
        if x[0].shape != [3] {
            return Err(shape_error(D::NAME, "the seed is [3]: its low and high word and the step", x));
        }
        Ok(vec![Type::f32(self.shape.clone())])
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        let len = y[0].count();
        Launch::new(D::NAME, len.div_ceil(256))
            .params([word(len), self.stream, self.distribution.p().to_bits()])
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, _: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![None]))
    }
}

impl<'g> Tensor<'g> {
    /// Numbers of a distribution, by this seed.
    #[track_caller]
    pub(crate) fn draw(self, distribution: impl Distribution, stream: u32, shape: &[usize]) -> Tensor<'g> {
        self.apply(Draw { distribution, stream, shape: shape.to_vec() })
    }
}

/// Uniform in `[0, 1)`, a multiple of 2⁻²⁴.
pub(crate) fn unit<F: Real>(word: u32) -> F {
    F::of(f64::from(word >> 8) / 16_777_216.0)
}

/// The seed on which random ops are tried.
fn seed() -> Vec<Generator> {
    vec![Generator::Words(vec![0x1234_5678, 0x9abc_def0, 3])]
}

type Method = for<'g> fn(Tensor<'g>, u32, &[usize]) -> Tensor<'g>;

/// The test cases of a random op.
pub(crate) fn cases(op: &str, draw: Method) -> Vec<TestCase> {
    let case = |shape: Shape| TestCase::one(format!("{op} {shape:?}"), seed(), move |x| draw(x[0], 5, &shape)).order(0);
    [vec![1], vec![67, 5], vec![1027]].map(case).into()
}

/// The timed case of a random op.
pub(crate) fn timed(draw: Method) -> TestCase {
    TestCase::one("[1048579]", seed(), move |x| draw(x[0], 5, &[1_048_579]))
}

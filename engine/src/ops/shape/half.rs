//! 16-bit floats, two to a word.

use half::f16;
use rayon::prelude::*;

use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::{Real, SERIAL},
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{
        launch::{Bind, Launch, Launches, word},
        target::Class,
    },
    tensor::dtype::{DType, Type, expect_dtypes},
    testing::cases::{Case, Sample, range},
};

/// The op of [`Graph::half`].
#[derive(Debug)]
pub struct Half;

/// Elements that are turned at once.
pub(crate) const BLOCK: usize = SERIAL / 2;

impl Half {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let block = |(x, y): (&[F], &mut [u32])| {
            let mut halves = [f16::ZERO; BLOCK];
            F::to_halves(x, &mut halves[..x.len()]);
            for (word, pair) in y.iter_mut().zip(halves.chunks_exact(2)) {
                *word = u32::from(pair[0].to_bits()) | u32::from(pair[1].to_bits()) << 16;
            }
        };
        x[0].floats().par_chunks(BLOCK).zip(y[0].indices_mut().par_chunks_mut(BLOCK / 2)).for_each(block);
    }
}

impl Op for Half {
    cpu!();

    fn name(&self) -> &'static str {
        "half"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("half", x, &[DType::F32])?;
        Ok(vec![Type::u32([x[0].count().div_ceil(2)])])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        Launch::new("half", y[0].count().div_ceil(64))
            .params([y[0].count(), x[0].count()].map(word))
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    // The derivatives of the words are those of the floats that they stand for.
    fn vjp(&self, _: &mut Graph, _: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(ct.to_vec())
    }

    fn jvp(&self, _: &mut Graph, _: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(dx.to_vec())
    }
}

impl Graph {
    /// The floats of `x` as 16-bit floats (IEEE 754 binary16), two to a word, the first in the low half; a last half without
    /// a float is 0. [`Graph::float`] takes them back.
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | x | any | any; from 65,520 on an infinity, below 2⁻²⁵ zero |
    /// | y | `[⌈count/2⌉]`, u32 | |
    ///
    /// Rounded to nearest, ties to even, to multiples of 2⁻²⁴ below 2⁻¹⁴: the same bits on every device. A derivative sees
    /// the identity in `float(half(x))` (straight through, Bengio et al. 2013), which errs by 2⁻¹¹ of `x` where that is
    /// normal.
    ///
    /// # Errors
    ///
    /// [`Error::DType`](crate::Error::DType) when `x` is not f32.
    pub fn half(&mut self, x: Var) -> Result<Var> {
        self.apply(Half, &[x])
    }
}

/// Floats of all sizes, with some on and beside the ties.
pub(crate) fn floats(len: usize) -> Vec<f32> {
    let float = |i: usize| {
        let bits = (i as u32).wrapping_mul(0x9e37_79b9);
        let scale = 2f32.powi((bits >> 27) as i32 - 20);
        let (sign, fraction) =
            (if i.is_multiple_of(2) { 1.0 } else { -1.0 }, 1.0 + (bits >> 12 & 0x7fff) as f32 / 32768.0);
        sign * scale * fraction
    };
    (0..len).map(float).collect()
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = [1, 2, 127, 128, 129, 20_003]
        .into_iter()
        .map(|len| {
            Case::new(format!("half {len}"), vec![Sample::Exact(vec![len], floats(len))], |g, x| {
                Ok(vec![g.half(x[0])?])
            })
        })
        .collect();
    all.push(Case::new("half of [3, 5, 7]", vec![range(&[3, 5, 7], -2.0, 2.0)], |g, x| Ok(vec![g.half(x[0])?])));
    all.into_iter().map(|case| case.tolerance(0.0).order(0)).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let x = vec![range(&[1_048_579], -2.0, 2.0)];
    vec![Case::new("[1048579]", x, |g, x| Ok(vec![g.half(x[0])?])).tolerance(0.0)]
}

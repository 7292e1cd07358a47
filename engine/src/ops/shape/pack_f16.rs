//! Floats packed as 16-bit floats, two to a word.

use half::f16;
use rayon::prelude::*;

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::pack_f16`].
#[derive(Debug, PartialEq)]
pub struct PackF16;

/// Elements that are turned at once.
pub(crate) const BLOCK: usize = SERIAL / 2;

impl PackF16 {
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

impl Op for PackF16 {
    cpu!();

    fn name(&self) -> &'static str {
        "pack_f16"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("pack_f16", x, &[DType::F32])?;
        Ok(vec![Type { shape: vec![x[0].count().div_ceil(2)], dtype: DType::F16x2 }])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        Launch::new("pack_f16", y[0].count().div_ceil(64))
            .params([y[0].count(), x[0].count()].map(word))
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    // The derivatives of the words are those of the floats that they stand for.
    fn vjp<'g>(&self, _: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(ct.to_vec()))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(dx.to_vec()))
    }
}

impl<'g> Tensor<'g> {
    /// The floats of `x` as 16-bit floats (IEEE 754 binary16), two to a word, the first in the low half; a last half without
    /// a float is 0. [`Tensor::unpack_f16`] takes them back.
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | x | any | any; from 65,520 on an infinity, below 2⁻²⁵ zero |
    /// | y | `[⌈count/2⌉]`, f16x2 | |
    ///
    /// Rounded to nearest, ties to even, to multiples of 2⁻²⁴ below 2⁻¹⁴: the same bits on every device. A derivative sees
    /// the identity in `unpack_f16(pack_f16(x))` (straight through, Bengio et al. 2013), which errs by 2⁻¹¹ of `x` where that is
    /// normal.
    ///
    /// Broken by indices ([`Error::DType`](crate::Error::DType)).
    #[track_caller]
    pub fn pack_f16(self) -> Tensor<'g> {
        self.apply(PackF16)
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
pub(crate) fn cases() -> Vec<TestCase> {
    let exact = |len: usize| {
        TestCase::one(format!("pack_f16 {len}"), vec![Generator::Exact(vec![len], floats(len))], |x| x[0].pack_f16())
    };
    let mut all: Vec<TestCase> = [1, 2, 127, 128, 129, 20_003].map(exact).into();
    all.push(TestCase::one("pack_f16 of [3, 5, 7]", vec![range(&[3, 5, 7], -2.0, 2.0)], |x| x[0].pack_f16()));
    all.into_iter().map(|case| case.tolerance(0.0).order(0)).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    vec![TestCase::one("[1048579]", vec![range(&[1_048_579], -2.0, 2.0)], |x| x[0].pack_f16()).tolerance(0.0)]
}

//! Floats unpacked from 16-bit floats.

use half::f16;
use rayon::prelude::*;

use crate::ops::shape::pack_f16::{BLOCK, floats};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::unpack_f16`].
#[derive(Debug, PartialEq)]
pub struct UnpackF16 {
    /// Extents of the result.
    pub shape: Shape,
}

impl UnpackF16 {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let block = |(x, y): (&[u32], &mut [F])| {
            let mut halves = [f16::ZERO; BLOCK];
            for (pair, &word) in halves.chunks_exact_mut(2).zip(x) {
                pair.copy_from_slice(&[f16::from_bits(word as u16), f16::from_bits((word >> 16) as u16)]);
            }
            F::from_halves(&halves[..y.len()], y);
        };
        x[0].indices().par_chunks(BLOCK / 2).zip(y[0].floats_mut().par_chunks_mut(BLOCK)).for_each(block);
    }
}

impl Op for UnpackF16 {
    cpu!();

    fn name(&self) -> &'static str {
        "unpack_f16"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let dtype = x.first().map_or(DType::F16x2, |x| x.dtype);
        expect_dtypes("unpack_f16", x, &[if dtype == DType::U32 { dtype } else { DType::F16x2 }])?;
        let words = shape::count(&self.shape).div_ceil(2);
        if x[0].shape != [words] {
            return Err(shape_error("unpack_f16", format!("[{words}] words for {:?}", self.shape), x));
        }
        Ok(vec![Type::f32(self.shape.clone())])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        Launch::new("unpack_f16", x[0].count().div_ceil(64))
            .params([x[0].count(), y[0].count()].map(word))
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(ct.to_vec()))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(dx.to_vec()))
    }
}

impl<'g> Tensor<'g> {
    /// The floats that words of [`Tensor::pack_f16`] stand for, in this shape; exact.
    ///
    /// Broken by a shape that has neither twice as many elements as there are words nor one fewer
    /// ([`Error::Shape`](crate::Error::Shape)), and by words that are neither f16x2 nor u32 with the same bits ([`Error::DType`](crate::Error::DType)).
    #[track_caller]
    pub fn unpack_f16(self, shape: &[usize]) -> Tensor<'g> {
        self.apply(UnpackF16 { shape: shape.to_vec() })
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |shape: &[usize]| {
        let len = shape::count(shape);
        let halves: Vec<u16> = floats(len + 1).into_iter().map(|v| f16::from_f32(v).to_bits()).collect();
        let words = halves.chunks_exact(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 16);
        let shape = shape.to_vec();
        let x = vec![Generator::Words(words.collect())];
        TestCase::one(format!("unpack_f16 {shape:?}"), x, move |x| x[0].unpack_f16(&shape)).tolerance(0.0).order(0)
    };
    vec![case(&[1]), case(&[2]), case(&[127]), case(&[4, 32]), case(&[3, 43]), case(&[20_003])]
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let one = u32::from(f16::ONE.to_bits());
    let x = vec![Generator::Words(vec![one | one << 16; 524_290])];
    vec![TestCase::one("[1048579]", x, |x| x[0].unpack_f16(&[1_048_579])).tolerance(0.0)]
}

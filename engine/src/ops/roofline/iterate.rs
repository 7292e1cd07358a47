//! Chains of multiply-adds, which measure an executor's peak rate.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::iterate`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Iterate {
    /// What a number is multiplied by.
    pub scale: f64,
    /// What is added then.
    pub shift: f64,
    /// How often.
    pub times: u32,
}

impl Iterate {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let (x, y) = (x[0].floats(), y[0].floats_mut());
        let blocks = y.par_chunks_mut(SERIAL / 2).zip(x.par_chunks(SERIAL / 2));
        blocks.for_each(|(y, x)| F::vectorize(Iterates { map: self, x, y }));
    }
}

/// The loop, a type of its own so that vectors come of it.
struct Iterates<'a, F> {
    map: &'a Iterate,
    x: &'a [F],
    y: &'a mut [F],
}

impl<F: Real> Iterates<'_, F> {
    /// `N` numbers at a time, which stay in registers.
    #[inline(always)]
    fn by<const N: usize>(self) {
        let (scale, shift) = (F::of(self.map.scale), F::of(self.map.shift));
        for (y, x) in self.y.chunks_mut(N).zip(self.x.chunks(N)) {
            let mut t = [F::zero(); N];
            t[..x.len()].copy_from_slice(x);
            for _ in 0..self.map.times {
                for t in &mut t {
                    *t = scale.mul_add(*t, shift);
                }
            }
            y.copy_from_slice(&t[..y.len()]);
        }
    }
}

impl<F: Real> WithSimd for Iterates<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Eight vectors: as many chains as hide the latency of a multiply-add.
        match S::F32_LANES {
            16 => self.by::<128>(),
            8 => self.by::<64>(),
            _ => self.by::<32>(),
        }
    }
}

impl Op for Iterate {
    cpu!();

    fn name(&self) -> &'static str {
        "iterate"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("iterate", x, &[DType::F32])?;
        Ok(vec![x[0].clone()])
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        Launch::new("iterate", y[0].count().div_ceil(8 * 64))
            .params([word(y[0].count()), self.times])
            .params([self.scale, self.shift].map(|v| (v as f32).to_bits()))
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    fn flops(&self, _: &[&Type], y: &[&Type]) -> u64 {
        2 * u64::from(self.times) * y[0].count() as u64
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(Some(vec![x.x[0].apply(*self)]))
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![ct[0].map(|ct| ct * self.scale.powf(self.times.into()))]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        self.vjp(at, dx)
    }
}

impl<'g> Tensor<'g> {
    /// `y = f(f(… f(x)))`, `times` times, of `f(t) = scale t + shift`, elementwise: a fused multiply-add each time
    /// where the executor has it. It computes much and moves little, so [`Ceilings`](crate::Ceilings) measures with it
    /// what an executor computes at best.
    ///
    /// Broken by indices ([`Error::DType`](crate::Error::DType)).
    #[track_caller]
    pub fn iterate(self, scale: f64, shift: f64, times: u32) -> Tensor<'g> {
        self.apply(Iterate { scale, shift, times })
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let sizes = [(1, 1), (5, 7), (513, 8), (1031, 35), (20_003, 3)];
    let case = |(len, times): (usize, u32)| {
        TestCase::one(format!("iterate {len} {times}"), vec![unit(&[len])], move |x| x[0].iterate(-0.75, 0.3125, times))
    };
    let mut all: Vec<TestCase> = sizes.into_iter().map(case).collect();
    all.push(TestCase::one("iterate no times", vec![unit(&[7])], |x| x[0].iterate(2.0, 1.0, 0)));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    vec![TestCase::one("[1048579], 35 times", vec![unit(&[1_048_579])], |x| x[0].iterate(0.5, 0.75, 35))]
}

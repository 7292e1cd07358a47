//! Gather: rows by index.

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::gather`].
#[derive(Debug, PartialEq)]
pub struct Gather;

impl Gather {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let run = shape::count(&x[0].shape()[1..]);
        for (&row, y) in x[1].indices().iter().zip(y[0].floats_mut().chunks_mut(run)) {
            match x[0].floats().get(row as usize * run..(row as usize + 1) * run) {
                Some(x) => y.copy_from_slice(x),
                None => y.fill(F::zero()),
            }
        }
    }
}

impl Op for Gather {
    cpu!();

    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("gather", x, &[DType::F32, DType::U32])?;
        let Some((_, row)) = x[0].shape.split_first() else {
            return Err(shape_error("gather", "x has rows", x));
        };
        Ok(vec![Type::f32([&x[1].shape, row].concat())])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let (len, run) = (y[0].count(), shape::count(&x[0].shape[1..]));
        Launch::new("gather", len.div_ceil(64))
            .params([len, run, x[0].shape[0]].map(word))
            .bind([Bind::In(0), Bind::In(1), Bind::Out(0)])
            .into()
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let rows = at.x[0].shape()?[0];
        Ok(Some(vec![ct[0].map(|ct| ct.scatter_add(at.x[1], rows)), None]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.gather(at.x[1]))]))
    }
}

impl<'g> Tensor<'g> {
    /// `y[i, …] = x[index[i], …]`, zeros where there is no such row. Linear in `x`; its transpose is
    /// [`Tensor::scatter_add`].
    ///
    /// | | shape |
    /// |---|---|
    /// | x | `[rows, …]` |
    /// | index | any, u32 |
    /// | y | that of `index`, then `…` |
    ///
    /// Broken by a scalar ([`Error::Shape`](crate::Error::Shape)), and by floats as index
    /// ([`Error::DType`](crate::Error::DType)).
    #[track_caller]
    pub fn gather(self, index: Tensor<'g>) -> Tensor<'g> {
        self.apply2(Gather, index)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |rows: usize, row: &[usize], index: &[usize]| {
        let x = [&[rows], row].concat();
        let samples = vec![unit(&x), Generator::Below(index.to_vec(), rows as u32 + 1)];
        TestCase::one(format!("gather {x:?} {index:?}"), samples, |x| x[0].gather(x[1]))
    };
    vec![case(5, &[7], &[13]), case(3, &[], &[67]), case(11, &[2, 3], &[5, 4])]
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let x = vec![unit(&[10_007, 129]), Generator::Below(vec![4099], 10_007)];
    vec![TestCase::one("[10007, 129] [4099]", x, |x| x[0].gather(x[1]))]
}

//! One-hot encoding: indices as unit vectors.

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::one_hot`].
#[derive(Debug, PartialEq)]
pub struct OneHot {
    classes: usize,
}

impl OneHot {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        for (&index, y) in x[0].indices().iter().zip(y[0].floats_mut().chunks_mut(self.classes)) {
            y.fill(F::zero());
            if let Some(y) = y.get_mut(index as usize) {
                *y = F::one();
            }
        }
    }
}

impl Op for OneHot {
    cpu!();

    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("one_hot", x, &[DType::U32])?;
        Ok(vec![Type::f32([x[0].shape.as_slice(), &[self.classes]].concat())])
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        let len = y[0].count();
        Launch::new("one_hot", len.div_ceil(64))
            .params([len, self.classes].map(word))
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, _: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![None]))
    }
}

impl<'g> Tensor<'g> {
    /// `y[…, j] = 1` where `index[…] = j`, else 0; all zeros for an index beyond the classes.
    ///
    /// Broken by floats as index ([`Error::DType`](crate::Error::DType)), and by no classes
    /// ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn one_hot(self, classes: usize) -> Tensor<'g> {
        self.apply(OneHot { classes })
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |(n, classes): (usize, usize)| {
        let index = Generator::Below(vec![n], classes as u32 + 1);
        TestCase::one(format!("one_hot {n} {classes}"), vec![index], move |x| x[0].one_hot(classes)).order(0)
    };
    [(67, 10), (5, 1), (1, 131)].map(case).into()
}

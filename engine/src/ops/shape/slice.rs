//! Slicing: a stretch of one axis.

use crate::ops::shape::strided::{Strided, strided};
use crate::{error::*, graph::*, tensor::*};

/// The op of [`Tensor::slice`].
#[derive(Debug, PartialEq)]
pub struct Slice {
    axis: usize,
    start: usize,
    len: usize,
}

impl Slice {
    fn view(&self, x: &[usize]) -> Strided {
        let (mut shape, strides) = (x.to_vec(), shape::strides(x));
        shape[self.axis] = self.len;
        Strided { shape, base: self.start * strides[self.axis], strides: signed(&strides) }
    }
}

impl Op for Slice {
    strided!();

    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let end = self.start + self.len;
        match x[0].shape.get(self.axis) {
            Some(&extent) if self.len > 0 && end <= extent => {
                Ok(vec![Type { shape: self.view(&x[0].shape).shape, dtype: x[0].dtype }])
            }
            _ => Err(shape_error("slice", format!("axis {} holds {}..{end}", self.axis, self.start), x)),
        }
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(Some(vec![x.x[0].slice(self.axis + 1, self.start, self.len)]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let shape = at.x[0].shape()?;
        let mut margins = vec![[0, 0]; shape.len()];
        margins[self.axis] = [self.start, shape[self.axis] - self.start - self.len];
        Ok(Some(vec![ct[0].map(|ct| ct.pad(&margins, 0.0))]))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.slice(self.axis, self.start, self.len))]))
    }
}

impl<'g> Tensor<'g> {
    /// `x` restricted to `start..start + len` along one axis. Linear; its transpose is [`Tensor::pad`].
    ///
    /// Broken by an axis that does not hold the stretch, and by an empty one ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn slice(self, axis: usize, start: usize, len: usize) -> Tensor<'g> {
        match self.shape() {
            Ok(own) if start == 0 && own.get(axis) == Some(&len) => self,
            _ => self.apply(Slice { axis, start, len }),
        }
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |(axis, start, len): (usize, usize, usize)| {
        let what = format!("slice {axis} {start} {len}");
        TestCase::one(what, vec![unit(&[3, 67, 5])], move |x| x[0].slice(axis, start, len))
    };
    [(0, 1, 2), (1, 0, 65), (1, 66, 1), (2, 1, 3)].map(case).into()
}

//! The same elements under another shape.

use crate::ops::shape::strided::view;
use crate::{error::*, graph::*, tensor::*};

/// The op of [`Tensor::reshape`].
#[derive(Debug, PartialEq)]
pub struct Reshape {
    shape: Shape,
}

impl Op for Reshape {
    view!();

    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        if shape::count(&self.shape) != x[0].count() || self.shape.len() > DIMS {
            let rule = format!("{:?} has as many elements, and at most {DIMS} axes", self.shape);
            return Err(shape_error("reshape", rule, x));
        }
        Ok(vec![Type { shape: self.shape.clone(), dtype: x[0].dtype }])
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(Some(vec![x.x[0].reshape(&[&[x.k], &self.shape[..]].concat())]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let shape = at.x[0].shape()?;
        Ok(Some(vec![ct[0].map(|ct| ct.reshape(shape))]))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.reshape(&self.shape))]))
    }
}

impl<'g> Tensor<'g> {
    /// The same elements in the same order under another shape; no dispatch.
    ///
    /// Broken by another number of elements, and by more than eight axes ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn reshape(self, shape: &[usize]) -> Tensor<'g> {
        match self.shape() {
            Ok(own) if own == shape => self,
            _ => self.apply(Reshape { shape: shape.to_vec() }),
        }
    }

    /// The same value by another handle: no dispatch.
    pub(crate) fn view(self) -> Result<Tensor<'g>> {
        Ok(self.apply(Reshape { shape: self.shape()?.to_vec() }))
    }

    /// Inserts axes of extent 1, at these places of the result.
    ///
    /// Broken by a place beyond the result ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn unsqueeze(self, axes: &[usize]) -> Tensor<'g> {
        match self.unsqueezed(axes) {
            Ok(shape) => self.reshape(&shape),
            Err(error) => self.graph().wait(Err(error)),
        }
    }

    fn unsqueezed(self, axes: &[usize]) -> Result<Shape> {
        let mut shape = self.shape()?.to_vec();
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        for axis in axes {
            if axis > shape.len() {
                return Err(shape_error("unsqueeze", format!("axis {axis} exists in the result"), &[self.ty()?]));
            }
            shape.insert(axis, 1);
        }
        Ok(shape)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    vec![TestCase::one("reshape", vec![unit(&[3, 10])], |x| {
        let y = x[0].reshape(&[2, 5, 3]);
        y * y
    })]
}

//! Broadcasting: a value repeated along axes.

use crate::ops::shape::{
    stacks::align,
    strided::{Strided, strided},
};
use crate::{error::*, graph::*, tensor::*};

/// The op of [`Tensor::broadcast`].
#[derive(Debug, PartialEq)]
pub struct Broadcast {
    shape: Shape,
}

impl Broadcast {
    fn view(&self, x: &[usize]) -> Strided {
        let strides = signed(&shape::broadcast_strides(x, &self.shape));
        Strided { shape: self.shape.clone(), base: 0, strides }
    }
}

impl Op for Broadcast {
    strided!();

    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        if !fits(&x[0].shape, &self.shape) {
            return Err(shape_error("broadcast", format!("broadcasts to {:?}", self.shape), x));
        }
        Ok(vec![Type { shape: self.shape.clone(), dtype: x[0].dtype }])
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        let stack = align(x.x[0], self.shape.len())?;
        Ok(Some(vec![stack.broadcast(&[&[x.k], &self.shape[..]].concat())]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let shape = at.x[0].shape()?;
        Ok(Some(vec![ct[0].map(|ct| ct.sum_to(shape))]))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.broadcast(&self.shape))]))
    }
}

fn fits(from: &[usize], to: &[usize]) -> bool {
    shape::broadcast(from, to).as_deref() == Some(to)
}

impl<'g> Tensor<'g> {
    /// `x` repeated to `shape`: aligned at the last axis, extents equal or 1. Linear; its transpose is [`Tensor::sum_to`].
    ///
    /// Broken by a shape to which `x` does not broadcast ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn broadcast(self, shape: &[usize]) -> Tensor<'g> {
        match self.shape() {
            Ok(own) if shape::count(own) == shape::count(shape) && fits(own, shape) => self.reshape(shape),
            _ => self.apply(Broadcast { shape: shape.to_vec() }),
        }
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |(from, to): (Shape, Shape)| {
        TestCase::one(format!("broadcast {from:?} {to:?}"), vec![unit(&from)], move |x| x[0].broadcast(&to))
    };
    [(vec![], vec![257]), (vec![5, 1], vec![3, 5, 7]), (vec![3, 1, 7], vec![3, 5, 7]), (vec![7], vec![2, 7])]
        .map(case)
        .into()
}

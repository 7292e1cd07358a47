//! Reverses axes.

use crate::ops::shape::strided::{Strided, strided};
use crate::{error::*, graph::*, tensor::*};

/// The op of [`Tensor::flip`].
#[derive(Debug, PartialEq)]
pub struct Flip {
    axes: Vec<usize>,
}

impl Flip {
    fn view(&self, x: &[usize]) -> Strided {
        let mut strides = signed(&shape::strides(x));
        let mut base = 0;
        for &axis in &self.axes {
            base += (x[axis] - 1) * strides[axis] as usize;
            strides[axis] = -strides[axis];
        }
        Strided { shape: x.to_vec(), base, strides }
    }
}

impl Op for Flip {
    strided!();

    fn name(&self) -> &'static str {
        "flip"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let twice = (1..self.axes.len()).any(|i| self.axes[..i].contains(&self.axes[i]));
        if twice || self.axes.iter().any(|&a| a >= x[0].shape.len()) {
            return Err(shape_error("flip", format!("{:?} are axes, each once", self.axes), x));
        }
        Ok(vec![x[0].clone()])
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![ct[0].map(|ct| ct.flip(&self.axes))]))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.flip(&self.axes))]))
    }
}

impl<'g> Tensor<'g> {
    /// `x` with these axes reversed. Linear, and its own transpose.
    ///
    /// Broken by an axis that does not exist or is named twice ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn flip(self, axes: &[usize]) -> Tensor<'g> {
        self.apply(Flip { axes: axes.to_vec() })
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case =
        |axes: Vec<usize>| TestCase::one(format!("flip {axes:?}"), vec![unit(&[3, 17, 5])], move |x| x[0].flip(&axes));
    [vec![0], vec![1], vec![2, 0]].map(case).into()
}

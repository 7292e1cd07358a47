//! Permutes axes.

use crate::ops::shape::strided::{Strided, strided};
use crate::{error::*, graph::*, tensor::*};

/// The op of [`Tensor::transpose`].
#[derive(Debug, PartialEq)]
pub struct Transpose {
    axes: Vec<usize>,
}

impl Transpose {
    fn view(&self, x: &[usize]) -> Strided {
        let strides = shape::strides(x);
        Strided {
            shape: self.axes.iter().map(|&a| x[a]).collect(),
            base: 0,
            strides: self.axes.iter().map(|&a| strides[a] as isize).collect(),
        }
    }
}

impl Op for Transpose {
    strided!();

    fn name(&self) -> &'static str {
        "transpose"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x[0].shape.len()) {
            return Err(shape_error("transpose", format!("{:?} is a permutation of the axes", self.axes), x));
        }
        Ok(vec![Type { shape: self.view(&x[0].shape).shape, dtype: x[0].dtype }])
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        let axes: Vec<usize> = [0].into_iter().chain(self.axes.iter().map(|a| a + 1)).collect();
        Ok(Some(vec![x.x[0].transpose(&axes)]))
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let mut inverse = vec![0; self.axes.len()];
        for (i, &axis) in self.axes.iter().enumerate() {
            inverse[axis] = i;
        }
        Ok(Some(vec![ct[0].map(|ct| ct.transpose(&inverse))]))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.transpose(&self.axes))]))
    }
}

impl<'g> Tensor<'g> {
    /// Axis `i` of the result is axis `axes[i]` of `x`. Linear; its transpose is the inverse permutation.
    ///
    /// Broken by axes that are no permutation ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn transpose(self, axes: &[usize]) -> Tensor<'g> {
        match self.shape() {
            Ok(own) if axes.iter().copied().eq(0..own.len()) => self,
            _ => self.apply(Transpose { axes: axes.to_vec() }),
        }
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let all: [(&[usize], &'static [usize]); 4] = [
        (&[3, 67], &[1, 0]),
        (&[2, 3, 5], &[2, 0, 1]),
        (&[2, 3, 5, 7], &[0, 2, 1, 3]),
        (&[2, 1, 3, 2, 5], &[4, 2, 0, 3, 1]),
    ];
    let case = |(shape, axes): (&[usize], &'static [usize])| {
        TestCase::one(format!("transpose {shape:?} {axes:?}"), vec![unit(shape)], |x| x[0].transpose(axes))
    };
    all.map(case).into()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let all: [(&[usize], &'static [usize]); 2] = [(&[1031, 1027], &[1, 0]), (&[16, 129, 8, 64], &[0, 2, 1, 3])];
    let case = |(shape, axes): (&[usize], &'static [usize])| {
        TestCase::one(format!("{shape:?} as {axes:?}"), vec![unit(shape)], |x| x[0].transpose(axes))
    };
    all.map(case).into()
}

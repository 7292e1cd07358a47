//! Operators between tensors and numbers, and sums of terms that may be zero.

use std::ops::{Add, Div, Mul, Sub};

use crate::graph::*;
use crate::ops::pointwise::{affine::Affine, map::Pointwise};

impl<'g> Tensor<'g> {
    /// `x + c`; of a multiple `a x` it is one op, `a x + c`.
    #[track_caller]
    fn shifted(self, shift: f64) -> Tensor<'g> {
        if let Ok(node) = self.node()
            && let Source::Op(op) = &node.source
            && let Some(&Pointwise(Affine { scale, shift: 0.0 })) = op.as_any().downcast_ref::<Pointwise<Affine, 1>>()
        {
            return self.graph().tensor(node.x[0]).affine(scale, shift);
        }
        self.affine(1.0, shift)
    }
}

/// `x + c`.
impl<'g> Add<f64> for Tensor<'g> {
    type Output = Tensor<'g>;

    #[track_caller]
    fn add(self, shift: f64) -> Tensor<'g> {
        self.shifted(shift)
    }
}

/// `c + x`.
impl<'g> Add<Tensor<'g>> for f64 {
    type Output = Tensor<'g>;

    #[track_caller]
    fn add(self, x: Tensor<'g>) -> Tensor<'g> {
        x.shifted(self)
    }
}

/// `x − c`.
impl<'g> Sub<f64> for Tensor<'g> {
    type Output = Tensor<'g>;

    #[track_caller]
    fn sub(self, shift: f64) -> Tensor<'g> {
        self.shifted(-shift)
    }
}

/// `c − x`.
impl<'g> Sub<Tensor<'g>> for f64 {
    type Output = Tensor<'g>;

    #[track_caller]
    fn sub(self, x: Tensor<'g>) -> Tensor<'g> {
        x.affine(-1.0, self)
    }
}

/// `c x`.
impl<'g> Mul<f64> for Tensor<'g> {
    type Output = Tensor<'g>;

    #[track_caller]
    fn mul(self, scale: f64) -> Tensor<'g> {
        self.affine(scale, 0.0)
    }
}

/// `c x`.
impl<'g> Mul<Tensor<'g>> for f64 {
    type Output = Tensor<'g>;

    #[track_caller]
    fn mul(self, x: Tensor<'g>) -> Tensor<'g> {
        x.affine(self, 0.0)
    }
}

/// `x / c`, as `x` times the reciprocal.
impl<'g> Div<f64> for Tensor<'g> {
    type Output = Tensor<'g>;

    #[track_caller]
    fn div(self, divisor: f64) -> Tensor<'g> {
        self.affine(divisor.recip(), 0.0)
    }
}

/// `c / x`, as `c` times the reciprocal.
impl<'g> Div<Tensor<'g>> for f64 {
    type Output = Tensor<'g>;

    #[track_caller]
    fn div(self, x: Tensor<'g>) -> Tensor<'g> {
        x.recip().affine(self, 0.0)
    }
}

/// The sum of the terms that there are.
pub(crate) fn sum_terms<'g>(terms: impl IntoIterator<Item = Option<Tensor<'g>>>) -> Option<Tensor<'g>> {
    terms.into_iter().flatten().reduce(|sum, term| sum + term)
}

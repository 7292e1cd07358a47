//! The epilogue of convolutions, while results are in the cache: a residual, a ReLU mask, a ReLU.

use pulp::{Simd, WithSimd};

use crate::cpu::{float::Real, stack::Stack};

/// A residual, which may be a stack, the mask, one for all items, that makes results zero where it is zero or less, or a
/// ReLU in place of that.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a, F> {
    pub residual: Option<Stack<'a, F>>,
    pub mask: Option<&'a [F]>,
    pub relu: bool,
}

impl<F: Real> Epilogue<'_, F> {
    /// Applies it to an item's results from element `start` on.
    pub(crate) fn apply(&self, item: usize, start: usize, y: &mut [F]) {
        let range = start..start + y.len();
        let residual = self.residual.map(|residual| &residual.item(item)[range.clone()]);
        let mask = self.mask.map(|mask| &mask[range]);
        match (residual, mask, self.relu) {
            (None, None, false) => {}
            (Some(r), None, false) => F::vectorize(Loop::<F, true, NOTHING> { arrays: [r, r], y }),
            (Some(r), None, true) => F::vectorize(Loop::<F, true, RELU> { arrays: [r, r], y }),
            (Some(r), Some(g), _) => F::vectorize(Loop::<F, true, MASK> { arrays: [r, g], y }),
            (None, Some(g), _) => F::vectorize(Loop::<F, false, MASK> { arrays: [g, g], y }),
            (None, None, true) => F::vectorize(Rectified(y)),
        }
    }
}

/// What comes after the residual.
const NOTHING: u8 = 0;
const MASK: u8 = 1;
const RELU: u8 = 2;

/// The loop, over a residual and a mask.
struct Loop<'a, F, const RESIDUAL: bool, const LAST: u8> {
    arrays: [&'a [F]; 2],
    y: &'a mut [F],
}

impl<F: Real, const RESIDUAL: bool, const LAST: u8> WithSimd for Loop<'_, F, RESIDUAL, LAST> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [residual, mask] = self.arrays;
        for ((y, &residual), &mask) in self.y.iter_mut().zip(residual).zip(mask) {
            let sum = if RESIDUAL { *y + residual } else { *y };
            let sum = if LAST == RELU && sum < F::zero() { F::zero() } else { sum };
            *y = if LAST == MASK && mask <= F::zero() { F::zero() } else { sum };
        }
    }
}

/// The loop of a ReLU alone. Not a number stays so.
struct Rectified<'a, F>(&'a mut [F]);

impl<F: Real> WithSimd for Rectified<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for y in self.0 {
            *y = if *y < F::zero() { F::zero() } else { *y };
        }
    }
}

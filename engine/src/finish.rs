//! What convolutions may end with while their results are at hand: an array that is added, and a gate.

use pulp::{Arch, Simd, WithSimd};

use crate::{Bind, Launch, Real, op::word, stack::Stack};

/// A residual, which may be a stack, and what makes results zero where it is not positive, one for all members.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a, F> {
    pub residual: Option<Stack<'a, F>>,
    pub gate: Option<&'a [F]>,
}

impl<F: Real> Finish<'_, F> {
    /// Neither.
    pub(crate) const NONE: Self = Finish { residual: None, gate: None };

    /// Finishes a member's results from element `start` on.
    pub(crate) fn apply(&self, member: usize, start: usize, y: &mut [F]) {
        let range = start..start + y.len();
        let residual = self.residual.map(|residual| &residual.member(member)[range.clone()]);
        let gate = self.gate.map(|gate| &gate[range]);
        match (residual, gate) {
            (None, None) => {}
            (Some(r), None) => Arch::new().dispatch(Ends::<F, true, false> { arrays: [r, r], y }),
            (None, Some(g)) => Arch::new().dispatch(Ends::<F, false, true> { arrays: [g, g], y }),
            (Some(r), Some(g)) => Arch::new().dispatch(Ends::<F, true, true> { arrays: [r, g], y }),
        }
    }
}

/// The loop, over a residual and a gate.
struct Ends<'a, F, const RESIDUAL: bool, const GATE: bool> {
    arrays: [&'a [F]; 2],
    y: &'a mut [F],
}

impl<F: Real, const RESIDUAL: bool, const GATE: bool> WithSimd for Ends<'_, F, RESIDUAL, GATE> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [residual, gate] = self.arrays;
        for ((y, &residual), &gate) in self.y.iter_mut().zip(residual).zip(gate) {
            let sum = if RESIDUAL { *y + residual } else { *y };
            *y = if !GATE || gate > F::zero() { sum } else { F::zero() };
        }
    }
}

/// The launch that does this to results which other launches have written, of members of `len` elements.
pub(crate) fn launch(
    [len, members]: [usize; 2],
    residual: Option<Bind>,
    gate: Option<Bind>,
    y: Bind,
) -> Option<Launch> {
    let any = residual.or(gate)?;
    let launch = Launch::new("residual_gate", (len * members).div_ceil(256))
        .constant("RESIDUAL", residual.is_some())
        .constant("GATE", gate.is_some())
        .params([len * members, len].map(word));
    Some(launch.bind([residual.unwrap_or(any), gate.unwrap_or(any), y]))
}

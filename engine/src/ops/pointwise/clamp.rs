//! `y = min(max(x, lo), hi)`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = min(max(x, lo), hi)`; slope 1 at the bounds.
    clamp(x; lo, hi): Clamp, 1,
    |m, [x]| x.max(F::of(m.lo)).min(F::of(m.hi)),
    |m, g, x, _, _, d| {
        let (lo, hi) = (g.fill(&[], m.lo)?, g.fill(&[], m.hi)?);
        let (above, below) = (g.ge(x[0], lo)?, g.le(x[0], hi)?);
        let inside = g.mul(above, below)?;
        g.gate(inside, d).map(Some)
    },
    order 2,
    [within(-0.7, 0.4).and(&[-3.0, 3.0, -0.75, 0.5])],
}

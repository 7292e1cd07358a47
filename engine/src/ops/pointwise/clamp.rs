//! `y = min(max(x, lo), hi)`, elementwise.

use crate::graph::*;
use crate::ops::pointwise::map::pointwise;

pointwise! {
    /// `y = min(max(x, lo), hi)`; slope 1 at the bounds. Not a number stays so.
    clamp(x; lo, hi): Clamp, 1,
    |m, [x]| x.most(F::of(m.lo)).least(F::of(m.hi)),
    |m, [x], _, _, d| {
        let [lo, hi] = [m.lo, m.hi].map(|bound| x.graph().fill(&[], bound));
        Some((x.ge(lo) * x.le(hi)).relu_mask(d))
    },
    order 2,
    [within(-0.7, 0.4).and(&[-3.0, 3.0, -0.75, 0.5])],
}

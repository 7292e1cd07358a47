//! `y = max(a, b)`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = max(a, b)`; a tie shares the slope evenly.
    max(a, b): Max, 2,
    |_, [a, b]| a.max(b),
    |_, g, x, _, i, d| {
        let wins = g.gt(x[i], x[1 - i])?;
        let ties = g.eq(x[0], x[1]).and_then(|e| g.affine(e, 0.5, 0.0))?;
        let slope = g.add(wins, ties)?;
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(0.1, 3.0), within(-3.0, -0.1).and(&[0.0, 1.0])],
}

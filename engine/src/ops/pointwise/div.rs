//! `y = a/b`, elementwise.

use crate::{
    ops::pointwise::map::pointwise,
    testing::cases::{away, within},
};

pointwise! {
    /// `y = a/b`, for `b ≠ 0`.
    div(a, b): Div, 2,
    |_, [a, b]| a / b,
    |_, g, x, y, i, d| match i {
        0 => g.div(d, x[1]).map(Some),
        _ => {
            let slope = g.div(y, x[1]).and_then(|q| g.neg(q))?;
            g.mul(slope, d).map(Some)
        }
    },
    order 2,
    [within(-3.0, 3.0), away(0.3, 3.0)],
}

//! `y = a b`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = a b`.
    mul(a, b): Mul, 2,
    |_, [a, b]| a * b,
    |_, g, x, _, i, d| g.mul(x[1 - i], d).map(Some),
    order 2,
    [within(-3.0, 3.0), within(-3.0, 3.0)],
}

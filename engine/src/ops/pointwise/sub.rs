//! `y = a − b`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = a − b`.
    sub(a, b): Sub, 2,
    |_, [a, b]| a - b,
    |_, g, _, _, i, d| if i == 0 { Ok(Some(d)) } else { g.neg(d).map(Some) },
    order 2,
    [within(-3.0, 3.0), within(-3.0, 3.0)],
}

//! `y = a + b`, elementwise.

use crate::{case::within, map::pointwise};

pointwise! {
    /// `y = a + b`.
    add(a, b): Add, 2,
    |_, [a, b]| a + b,
    |_, _, _, _, _, d| Ok(Some(d)),
    order 2,
    [within(-3.0, 3.0), within(-3.0, 3.0)],
}

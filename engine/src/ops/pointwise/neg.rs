//! `y = −x`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = −x`.
    neg(x): Neg, 1,
    |_, [x]| -x,
    |_, g, _, _, _, d| g.neg(d).map(Some),
    order 2,
    [within(-3.0, 3.0)],
}

//! `y = log x`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = log x`, the natural logarithm, for `x > 0`.
    log(x): Log, 1,
    |_, [x]| x.ln(),
    |_, g, x, _, _, d| g.div(d, x[0]).map(Some),
    order 2,
    [within(0.2, 5.0).and(&[1.0, 1e-30, 1e30, 0.999999])],
}

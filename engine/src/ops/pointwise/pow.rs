//! `y = aᵇ`, elementwise.

use crate::{ops::pointwise::map::pointwise, testing::cases::within};

pointwise! {
    /// `y = aᵇ`, for `a > 0`.
    pow(a, b): Pow, 2,
    |_, [a, b]| a.powf(b),
    |_, g, x, y, i, d| {
        let slope = match i {
            0 => {
                let less = g.affine(x[1], 1.0, -1.0)?;
                g.pow(x[0], less).and_then(|p| g.mul(x[1], p))?
            }
            _ => g.log(x[0]).and_then(|l| g.mul(l, y))?,
        };
        g.mul(slope, d).map(Some)
    },
    order 2,
    [within(0.3, 3.0), within(-3.0, 3.0)],
}

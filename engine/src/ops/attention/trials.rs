//! Extents on which the attention family is tested and timed.

use crate::graph::*;
use crate::ops::attention::heads::{Attention, Extents, Like};

/// `[n, t, s, heads, kv_heads, d]`, causal, and lengths.
type Size = ([usize; 6], bool, &'static [u32]);

const SIZES: [Size; 5] = [
    ([2, 5, 7, 2, 1, 8], false, &[7, 4]),
    ([2, 33, 17, 4, 2, 8], false, &[17, 0]),
    ([1, 35, 40, 2, 2, 8], true, &[39]),
    ([1, 37, 3, 2, 1, 8], true, &[99]),
    ([1, 9, 70, 1, 1, 130], true, &[67]),
];

/// Those of a small transformer, and off every tile.
const TIMED: [Size; 2] = [([4, 128, 128, 4, 4, 32], true, &[128; 4]), ([3, 197, 197, 6, 6, 24], false, &[197; 3])];

/// The test cases of one of the family's ops, on operands like these.
pub(crate) fn on_sizes<O: Op>(name: &str, op: fn(Attention) -> O, operands: &[Like], tolerance: f64) -> Vec<TestCase> {
    let what = |(size, causal, lengths): Size| format!("{name} {size:?} causal {causal} {lengths:?}");
    SIZES.map(|size| on_size(what(size), op, operands, size).tolerance(tolerance)).into()
}

/// Its timed cases.
pub(crate) fn timed_sizes<O: Op>(op: fn(Attention) -> O, operands: &[Like], tolerance: f64) -> Vec<TestCase> {
    let what = |([n, t, _, heads, _, d], causal, _): Size| {
        format!("[{n}, {t}, {heads}, {d}]{}", if causal { " causal" } else { "" })
    };
    TIMED.map(|size| on_size(what(size), op, operands, size).tolerance(tolerance)).into()
}

fn on_size<O: Op>(
    what: String, op: fn(Attention) -> O, operands: &[Like], ([n, t, s, heads, kv_heads, d], causal, lengths): Size,
) -> TestCase {
    let e = Extents { n, t, s, heads, kv_heads, d };
    let draw = |&like: &Like| match like {
        Like::Lengths => Generator::Words(lengths.to_vec()),
        like => unit(&e.ty(like).shape),
    };
    let how = Attention { causal, scale: 1.5 / (d as f64).sqrt() };
    TestCase::new(what, operands.iter().map(draw).collect(), move |x| x[0].graph().apply_all(op(how), x))
}

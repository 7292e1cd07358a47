//! Convolutions on which the three directions are tested and timed.

use crate::cpu::conv::winograd::Tiling;
use crate::{graph::*, tensor::*};

/// Batch sizes of the stacks that the two factors are, of which one may be a single value.
pub(crate) type Batches = [Option<usize>; 2];

/// From shapes of x and w that fit.
fn geometry((x, w, conv): ([usize; 4], [usize; 4], Conv)) -> Geometry {
    Geometry::new(conv, &x, &w).expect("a list of fitting shapes")
}

/// Convolutions on which the family is tested.
pub(crate) fn geometries() -> Vec<Geometry> {
    let conv = |stride, padding, dilation, groups| Conv { stride, padding, dilation, groups };
    let all = [
        ([1, 1, 1, 1], [1, 1, 1, 1], Conv::default()),
        ([2, 9, 7, 3], [3, 3, 3, 5], Conv::padded(1)),
        ([1, 8, 8, 17], [1, 1, 17, 19], Conv::default()),
        ([2, 8, 9, 4], [3, 3, 4, 6], Conv::padded(1).strided(2)),
        ([2, 7, 8, 4], [1, 1, 4, 6], Conv::default().strided(2)),
        ([1, 11, 9, 2], [3, 2, 2, 3], conv([2, 3], [1, 0], [1, 2], 1)),
        ([2, 6, 7, 6], [3, 3, 2, 9], conv([1, 1], [1, 1], [1, 1], 3)),
        ([2, 7, 6, 5], [3, 3, 1, 5], conv([1, 1], [1, 1], [1, 1], 5)),
        ([1, 9, 9, 3], [2, 3, 1, 6], conv([2, 1], [0, 1], [2, 1], 3)),
        ([3, 33, 31, 2], [5, 5, 2, 3], Conv::padded(2)),
        // Channels in vec4s.
        ([2, 17, 16, 4], [3, 3, 4, 8], Conv::padded(1)),
        ([2, 8, 6, 8], [3, 3, 8, 20], Conv::padded(1).strided(2)),
        ([2, 8, 6, 8], [3, 3, 4, 24], conv([2, 1], [1, 1], [1, 1], 2)),
        // Channels that fill the CPU's vectors, pixels and runs that do not fill its tiles.
        ([2, 9, 7, 3], [3, 2, 3, 16], conv([2, 3], [1, 0], [1, 1], 1)),
        ([2, 7, 11, 16], [3, 3, 16, 32], Conv::padded(1)),
        ([9, 5, 3, 16], [2, 2, 16, 16], Conv::padded(1)),
        ([1, 8, 6, 32], [1, 1, 32, 48], Conv::default()),
        // In a stack, more tiles than Winograd's kernels go through at once.
        ([3, 26, 28, 16], [3, 3, 16, 32], Conv::padded(1)),
        // Depthwise: channels in vec4s or not, and several for each; strips that do not end with rows.
        ([2, 6, 11, 16], [3, 3, 1, 16], conv([1, 1], [1, 1], [1, 1], 16)),
        ([2, 7, 18, 20], [3, 3, 1, 20], conv([2, 2], [1, 1], [1, 1], 20)),
        ([1, 8, 10, 5], [5, 4, 1, 5], conv([2, 3], [2, 3], [1, 1], 5)),
        ([1, 7, 9, 8], [3, 3, 1, 16], conv([1, 1], [2, 2], [2, 2], 8)),
        ([1, 8, 7, 4], [5, 5, 1, 12], conv([1, 2], [6, 5], [1, 3], 4)),
        // Pixels that no window meets, since stride and dilation have a common divisor.
        ([1, 9, 8, 4], [3, 2, 1, 4], conv([2, 2], [2, 1], [2, 4], 4)),
        ([2, 9, 8, 4], [3, 2, 4, 8], conv([2, 2], [2, 1], [2, 4], 1)),
        // Output channels without vec4s, and pixels enough to split the weight gradient's sums.
        ([2, 26, 24, 4], [3, 3, 4, 14], Conv::padded(1).strided(2)),
    ];
    all.map(geometry).into()
}

/// All of them with single factors, some with stacks.
pub(crate) fn trials() -> Vec<(Geometry, Batches)> {
    let all = geometries();
    let dense = [(1, 3), (2, 3), (3, 2), (6, 2), (10, 3), (13, 3), (14, 2), (15, 4), (16, 2), (17, 4)];
    let depthwise = [(19, 2), (21, 3)];
    let mut trials: Vec<_> = all.iter().map(|&g| (g, [None; 2])).collect();
    for (at, batch) in dense.into_iter().chain(depthwise) {
        let batch = Some(batch);
        trials.extend([[batch, None], [None, batch], [batch; 2]].map(|batches| (all[at], batches)));
    }
    trials
}

/// The name of a test case.
pub(crate) fn what(op: &str, g: &Geometry) -> String {
    format!("{op} {:?} {:?} {:?}", g.x(), g.w(), g.conv)
}

/// What it ends with for stacks.
pub(crate) fn of_stacks(batches: Batches) -> String {
    if batches == [None; 2] { String::new() } else { format!(", stacks {batches:?}") }
}

/// The factors of so many terms, of these shapes, or stacks of such, which are others in the second term.
pub(crate) fn factors(shapes: [[usize; 4]; 2], [a, b]: Batches, terms: usize) -> Vec<Generator> {
    let of_term = |batches: Batches| [0, 1].map(|i| unit(&stacked(batches[i], &shapes[i])));
    [[a, b], [b, a]].into_iter().take(terms).flat_map(of_term).collect()
}

/// A test case of an op, which can be differentiated or not.
pub(crate) fn trial(
    what: String, x: Vec<Generator>, op: impl Op + Clone, tolerance: f64, differentiable: bool,
) -> TestCase {
    let case = TestCase::new(what, x, move |x| x[0].graph().apply_all(op.clone(), x));
    case.tolerance(tolerance).order(if differentiable { 2 } else { 0 })
}

/// The bound of a test case: Winograd's transforms round a little more than sums of products do.
pub(crate) fn tolerance(g: &Geometry) -> f64 {
    if Tiling::new(g).is_some() { 3e-6 } else { 1e-6 }
}

/// Convolutions on which the family is timed, with their bound: of Winograd's components, off their tiles, strided, of
/// single pixels, by channels, of images; and two for GPUs.
pub(crate) fn timed_geometries() -> Vec<(String, Geometry, f64)> {
    let by_channels = Conv { groups: 64, ..Conv::padded(1) };
    let shapes = [
        ([32, 16, 16, 32], [3, 3, 32, 32], Conv::padded(1)),
        ([9, 15, 13, 67], [3, 3, 67, 65], Conv::padded(1)),
        ([32, 16, 16, 32], [3, 3, 32, 64], Conv::padded(1).strided(2)),
        ([32, 16, 16, 64], [1, 1, 64, 128], Conv::default()),
        ([32, 16, 16, 64], [3, 3, 1, 64], by_channels),
        ([4, 64, 64, 3], [7, 7, 3, 64], Conv::padded(3).strided(2)),
        ([128, 28, 28, 128], [3, 3, 128, 128], Conv::padded(1)),
        ([64, 14, 14, 256], [3, 3, 256, 256], Conv::padded(1)),
    ];
    let named = |g: Geometry| {
        let stride = if g.conv.stride == [1, 1] { String::new() } else { format!(" stride {}", g.conv.stride[0]) };
        (format!("{:?} {:?}{stride}", g.x(), g.w()), g, tolerance(&g))
    };
    shapes.map(|shapes| named(geometry(shapes))).into()
}

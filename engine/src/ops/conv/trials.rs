//! Convolutions on which the three directions are tried and timed.

use crate::{
    cpu::conv::winograd::Tiling,
    tensor::{
        geometry::{Conv, Geometry},
        stack::stacked,
    },
    testing::cases::unit,
};

/// Shapes of x and w, and the rest of a convolution.
pub(crate) type Shapes = ([usize; 4], [usize; 4], Conv);

/// Convolutions on which the family is tried.
pub(crate) fn geometries() -> Vec<Shapes> {
    let conv = |stride, padding, dilation, groups| Conv { stride, padding, dilation, groups };
    vec![
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
        // Channels in fours.
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
        // Depthwise: channels in fours or not, and several for each; strips that do not end with rows.
        ([2, 6, 11, 16], [3, 3, 1, 16], conv([1, 1], [1, 1], [1, 1], 16)),
        ([2, 7, 18, 20], [3, 3, 1, 20], conv([2, 2], [1, 1], [1, 1], 20)),
        ([1, 8, 10, 5], [5, 4, 1, 5], conv([2, 3], [2, 3], [1, 1], 5)),
        ([1, 7, 9, 8], [3, 3, 1, 16], conv([1, 1], [2, 2], [2, 2], 8)),
        ([1, 8, 7, 4], [5, 5, 1, 12], conv([1, 2], [6, 5], [1, 3], 4)),
        // Pixels that no window meets, since stride and dilation have a common divisor.
        ([1, 9, 8, 4], [3, 2, 1, 4], conv([2, 2], [2, 1], [2, 4], 4)),
        ([2, 9, 8, 4], [3, 2, 4, 8], conv([2, 2], [2, 1], [2, 4], 1)),
        // Output channels without fours, and pixels enough to split the weight gradient's sums.
        ([2, 26, 24, 4], [3, 3, 4, 14], Conv::padded(1).strided(2)),
    ]
}

/// Geometries on which stacks are tried, with the height of each factor's stack.
pub(crate) fn stacks() -> Vec<(Shapes, [Option<usize>; 2])> {
    let all = geometries();
    let heights = |at: usize, height: usize| {
        let height = Some(height);
        [[height, None], [None, height], [height; 2]].map(|heights| (all[at], heights))
    };
    let dense = [(1, 3), (2, 3), (3, 2), (6, 2), (10, 3), (13, 3), (14, 2), (15, 4), (16, 2), (17, 4)];
    let depthwise = [(19, 2), (21, 3)];
    dense.into_iter().chain(depthwise).flat_map(|(at, height)| heights(at, height)).collect()
}

/// Both factors of this shape, or stacks of such.
pub(crate) fn factors(shapes: [&[usize; 4]; 2], heights: [Option<usize>; 2]) -> [crate::testing::cases::Sample; 2] {
    std::array::from_fn(|i| unit(&stacked(heights[i], shapes[i])))
}

/// The bound of a case: Winograd's transforms round a little more than sums of products do.
pub(crate) fn tolerance(g: &Geometry) -> f64 {
    if Tiling::new(g).is_some() { 3e-6 } else { 1e-6 }
}

/// Convolutions on which the family is timed, with their bound: of Winograd's components, off their tiles, strided, of
/// single pixels, by channels, of images; and two for GPUs.
pub(crate) fn timed_geometries() -> Vec<(String, Shapes, f64)> {
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
    let named = |(x, w, conv): Shapes| {
        let stride = if conv.stride == [1, 1] { String::new() } else { format!(" stride {}", conv.stride[0]) };
        let bound = Geometry::new(conv, &x, &w).map_or(1e-6, |g| tolerance(&g));
        (format!("{x:?} {w:?}{stride}"), (x, w, conv), bound)
    };
    shapes.into_iter().map(named).collect()
}

//! Input gradients of strided convolutions, by phases: pixels with equal remainders by the stride are met by the same taps,
//! and are the input gradient of a convolution by these, without a stride. No product has inserted zeros.

use crate::ops::conv::frame::{Direction, Window};
use crate::{launch::*, tensor::*};

/// A phase along an axis.
#[derive(Clone, Copy)]
struct Axis {
    /// The first pixel of x, and how many there are.
    remainder: usize,
    pixels: usize,
    /// The taps that meet them: how many, the first, and from one to the next.
    taps: usize,
    first: usize,
    step: usize,
    /// Where the first pixel is among the results for the first tap, and how far from tap to tap.
    place: isize,
    dilation: usize,
}

impl Axis {
    fn new(g: &Geometry, axis: usize, remainder: usize) -> Self {
        let (stride, dilation, step) = (g.conv.stride[axis], g.conv.dilation[axis], g.tap_step(axis));
        let at = remainder + g.conv.padding[axis];
        let meets = |tap: &usize| (at + tap * dilation * (stride - 1)).is_multiple_of(stride);
        let (first, taps) = match (0..step.min(g.kernel[axis])).find(meets) {
            Some(first) => (first, (g.kernel[axis] - first).div_ceil(step)),
            None => (0, 0),
        };
        let place = (at as isize - (first * dilation) as isize) / stride as isize;
        let pixels = (g.size[axis] - remainder).div_ceil(stride);
        Axis { remainder, pixels, taps, first, step, place, dilation: step * dilation / stride }
    }
}

/// The phases of an input gradient.
fn phases(g: &Geometry) -> Vec<[Axis; 2]> {
    let along = |axis: usize| (0..g.conv.stride[axis].min(g.size[axis])).map(move |r| Axis::new(g, axis, r));
    along(0).flat_map(|y| along(1).map(move |x| [y, x])).collect()
}

/// Pixels of x in the largest phase, and taps where there are most.
pub(crate) fn largest(g: &Geometry) -> [usize; 2] {
    let most = |of: fn(&[Axis; 2]) -> usize| phases(g).iter().map(of).max().unwrap_or(0);
    [g.n * most(|[y, x]| y.pixels * x.pixels), most(|[y, x]| y.taps * x.taps)]
}

/// The launches of an input gradient whose product is as large as the largest phase: those of every phase.
pub(crate) fn launches(class: Class, direction: &Direction) -> Launches {
    let g = direction.g;
    let width = g.kernel[1];
    let part = |[y, x]: &[Axis; 2]| {
        let window = Window {
            size: [y.pixels, x.pixels],
            taps: [y.taps.max(1), x.taps.max(1)],
            stride: [1, 1],
            padding: [y.place, x.place],
            dilation: [y.dilation, x.dilation],
            tap: [y.first * width + x.first, y.step * width, x.step],
            pixel: [y.remainder * g.size[1] + x.remainder, g.conv.stride[0] * g.size[1], g.conv.stride[1]],
            ..Window::new(g)
        };
        direction.part(g.n * y.pixels * x.pixels, y.taps * x.taps * g.co, window)
    };
    direction.launches_of(class, phases(g).iter().map(part).collect())
}

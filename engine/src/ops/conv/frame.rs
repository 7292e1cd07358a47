//! What a convolution and its two gradients share. Their factors may be stacks, along an axis before the other four.

use crate::ops::{
    matmul::{
        gemm::{self, Kernels, Part},
        variants::{Along, Product},
    },
    shape::stacks::rank,
};
use crate::{error::*, graph::*, launch::*, tensor::*};

/// Items of the stack that a result is, of four axes each.
pub(crate) fn items(y: &Type) -> usize {
    if y.shape.len() > 4 { y.shape[0] } else { 1 }
}

/// The four extents of a factor, or of each of its items.
pub(crate) fn extents(x: Tensor) -> Result<[usize; 4]> {
    Ok(item(x.shape()?, 4).try_into().expect("the shape rule held"))
}

/// For the factors of each term how far apart the items of their stacks are.
pub(crate) fn steps(x: &[&Type], terms: usize) -> Vec<Vec<usize>> {
    let step = |x: &&Type| if x.shape.len() > 4 { x.count() / x.shape[0] } else { 0 };
    x.chunks(2).take(terms).map(|factors| factors.iter().map(step).collect()).collect()
}

/// For each term which of its factors are stacks.
pub(crate) fn stacked_factors(x: &[&Type], terms: usize) -> Vec<[bool; 2]> {
    x.chunks_exact(2).take(terms).map(|factors| [0, 1].map(|i| factors[i].shape.len() > 4)).collect()
}

/// A direction as a product.
pub(crate) struct Direction<'a> {
    pub g: &'a Geometry,
    pub x: &'a [&'a Type],
    pub y: &'a Type,
    pub terms: usize,
    /// Whether there is a bias, where the kernels take one.
    pub bias: Option<bool>,
    /// For GPUs, for software adapters, and for those that have subgroups.
    pub kernels: [&'static str; 3],
    pub product: Product,
}

impl Direction<'_> {
    /// Of single pixels it is a matrix product of all of them, unless the terms' stacks differ.
    pub(crate) fn of_pixels(&self, class: Class) -> Option<Launches> {
        let (steps, Product { m, n, k, along, .. }) = (steps(self.x, self.terms), self.product);
        let alike = self.g.is_pointwise() && self.g.conv.groups == 1 && steps[0] == steps[self.terms - 1];
        let a = if along[0] == Along::K { [k, 1] } else { [1, m] };
        let b = if along[1] == Along::K { [1, k] } else { [n, 1] };
        let strides = [[steps[0][0], a[0], a[1]], [steps[0][1], b[0], b[1]]];
        let bias = self.bias == Some(true);
        alike.then(|| gemm::matmul(class, [m, n, k], items(self.y), strides, self.terms, bias))
    }

    /// By its own kernels; batches are groups of the items of a stack, or just groups.
    pub(crate) fn launches(&self, class: Class) -> Launches {
        self.launches_of(class, vec![self.part(self.product.m, self.product.k, Window::new(self.g))])
    }

    /// A part of the results, of so many pixels and summed numbers, through a window.
    pub(crate) fn part(&self, m: usize, k: usize, window: Window) -> Part {
        let stack = [self.g.conv.groups, items(self.y)].map(word);
        Part { m, k, words: window.words().into_iter().chain(stack).collect() }
    }

    /// By its own kernels, for parts of which the product is as large as the largest.
    pub(crate) fn launches_of(&self, class: Class, parts: Vec<Part>) -> Launches {
        let ([name, tiles, lanes], steps) = (self.kernels, steps(self.x, self.terms));
        let mut constants = vec![("STACK", f64::from(u8::from(items(self.y) > 1)))];
        constants.extend((parts.len() > 1).then_some(("PHASES", 1.0)));
        let kernels = Kernels::new([name, tiles], lanes, [0, 0], &[], &steps, self.bias);
        self.product.launches_among(class, Kernels { parts, constants, ..kernels }, self.y.count())
    }
}

/// What the family's kernels know of a convolution's window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Height and width of x and of y, or of a part of x.
    pub size: [usize; 2],
    pub out: [usize; 2],
    /// Taps down and across.
    pub taps: [usize; 2],
    /// Channels of x and of y.
    pub channels: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [isize; 2],
    pub dilation: [usize; 2],
    /// The first tap in the kernel, and from one to the next down and across.
    pub tap: [usize; 3],
    /// The first pixel in an image, and from one to the next down and across.
    pub pixel: [usize; 3],
    /// Pixels of an image, and of all.
    pub pixels: [usize; 2],
}

impl Window {
    /// All taps and pixels, in order.
    pub(crate) fn new(g: &Geometry) -> Self {
        let Geometry { conv, n, size, kernel, out, ci, co } = *g;
        Window {
            size,
            out,
            taps: kernel,
            channels: [ci, co],
            stride: conv.stride,
            padding: conv.padding.map(|p| p as isize),
            dilation: conv.dilation,
            tap: [0, kernel[1], 1],
            pixel: [0, size[1], 1],
            pixels: [size[0] * size[1], n * size[0] * size[1]],
        }
    }

    /// In the order of the kernels' `Params`.
    pub(crate) fn words(&self) -> Vec<u32> {
        let before = [self.size, self.out, self.taps, self.channels, self.stride].into_iter().flatten().map(word);
        let padding = self.padding.map(|p| p as u32);
        let places = [self.tap, self.pixel].into_iter().flatten();
        before.chain(padding).chain(self.dilation.into_iter().chain(places).chain(self.pixels).map(word)).collect()
    }
}

/// Floating-point operations of a direction.
pub(crate) fn flops(g: Option<Geometry>, terms: usize, y: &Type) -> u64 {
    (terms * items(y)) as u64 * g.map_or(0, |g| g.flops())
}

/// vmap of an op of the family, whose operands begin with this many factors: it takes stacks of them.
pub(crate) fn vmap_factors<'g>(
    op: &(impl Op + Clone), x: Stacked<'_, 'g>, factors: usize,
) -> Result<Option<Vec<Tensor<'g>>>> {
    for i in 0..factors {
        if rank(x.x[i], x.is[i])? != 4 {
            return Ok(None);
        }
    }
    x.x[0].graph().apply_all(op.clone(), x.x).map(Some)
}

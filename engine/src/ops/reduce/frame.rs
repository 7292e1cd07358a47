//! The frame of reductions: any axes become the middle one of `[outer, n, inner]`.

use rayon::prelude::*;

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// Numbers of a column that one task adds up before partial results are merged, in a fixed order; at most so many for each of
/// the results that are made side by side that floats add them up without drift.
const BLOCK: usize = 1024;

/// Results that are made of one column side by side: one alone would wait for itself at each step.
const LANES: usize = 16;

/// The most rows that a lane goes through, so that floats do not drift; and software adapters end an invocation's loops after
/// 65,535 passes in all, without a word.
const MOST_ROWS: usize = 1 << 9;

/// The launches of a reduction over the middle axis: one, or two when the axis is long. Partial results are merged by the
/// kernel itself, or else by the kernel `merge`, from them and x.
pub(crate) fn launches(class: Class, kernel: &'static str, x: &Type, merge: Option<&'static str>) -> Launches {
    let [outer, n, inner] = [x.shape[0], x.shape[1], x.shape[2]];
    let across = inner.next_power_of_two().min(32);
    let columns = outer * inner.div_ceil(across);
    let lanes = |chunk: usize| match class {
        Class::Gpu(_) => across * (chunk.next_power_of_two()).clamp(2, 256 / across),
        Class::Software { .. } => lanes(class, across),
    };
    let per_group = 4 * 256 / across;
    let few = match columns < 256 && n > 2 * per_group {
        true => n.div_ceil(per_group).min(1024 / columns),
        false => 1,
    };
    let chunks = few.max(n.div_ceil(MOST_ROWS * lanes(n) / across));
    let chunk = n.div_ceil(chunks);
    let chunks = n.div_ceil(chunk);
    let stage = |n: usize, chunk: usize, chunks: usize, bind: [Bind; 2]| {
        Launch::new(kernel, columns * chunks)
            .constant("LANES", lanes(chunk) as f64)
            .constant("ACROSS", across as f64)
            .params([outer, n, inner, chunk, chunks, 0].map(word))
            .bind(bind)
    };
    if chunks == 1 {
        return stage(n, n, 1, [Bind::In(0), Bind::Out(0)]).into();
    }
    let last = match merge {
        None => stage(chunks, chunks, 1, [Bind::Scratch(0), Bind::Out(0)]),
        Some(kernel) => Launch::new(kernel, (outer * inner).div_ceil(64))
            .params([outer * inner, n, inner, chunks].map(word))
            .bind([Bind::In(0), Bind::Scratch(0), Bind::Out(0)]),
    };
    Launches {
        scratch: vec![outer * chunks * inner],
        list: vec![stage(n, chunk, chunks, [Bind::In(0), Bind::Scratch(0)]), last],
    }
}

/// What a reduction makes of the numbers along an axis. What is joined need not be neighbours.
pub(crate) trait Fold<F: Real> {
    /// What is made of a few numbers.
    type Part: Copy + Send + Sync;
    /// What parts are merged in: sums in f64.
    type Whole: Copy;
    /// The reduction's result.
    type Result: Send;

    /// Of no numbers.
    fn none() -> Self::Part;

    /// With one number more, `x` at index `i`.
    fn with(part: Self::Part, x: F, i: usize) -> Self::Part;

    /// Of the numbers of both.
    fn join(a: Self::Part, b: Self::Part) -> Self::Part;

    /// The part as the beginning of a whole.
    fn whole(part: Self::Part) -> Self::Whole;

    /// Of the numbers of both.
    fn merge(a: Self::Whole, b: Self::Whole) -> Self::Whole;

    /// What comes of it.
    fn result(whole: Self::Whole) -> Self::Result;
}

/// Folds the middle axis on the CPU: blocks of rows in parallel, then their results in order.
pub(crate) fn fold<F: Real, R: Fold<F>>(shape: &[usize], x: &[F], y: &mut [R::Result]) {
    let [outer, n, inner] = [shape[0], shape[1], shape[2]];
    let lanes = inner == 1 && n >= 4 * LANES;
    let block = if lanes { BLOCK } else { (BLOCK / inner).clamp(16, BLOCK / LANES) };
    let blocks = n.div_ceil(block);
    let part = |task: usize, acc: &mut [R::Part]| {
        let (o, b) = (task / blocks, task % blocks);
        if lanes {
            let column = &x[o * n..][b * block..((b + 1) * block).min(n)];
            let mut lanes = [R::none(); LANES];
            for (i, row) in column.chunks(LANES).enumerate() {
                for (lane, (own, &x)) in lanes.iter_mut().zip(row).enumerate() {
                    *own = R::with(*own, x, b * block + i * LANES + lane);
                }
            }
            let mut width = LANES / 2;
            while width > 0 {
                for i in 0..width {
                    lanes[i] = R::join(lanes[i], lanes[i + width]);
                }
                width /= 2;
            }
            acc[0] = lanes[0];
            return;
        }
        acc.fill(R::none());
        for r in b * block..((b + 1) * block).min(n) {
            let row = &x[(o * n + r) * inner..][..inner];
            for (acc, &x) in acc.iter_mut().zip(row) {
                *acc = R::with(*acc, x, r);
            }
        }
    };
    let mut parts = vec![R::none(); outer * blocks * inner];
    match x.len() {
        ..SERIAL => parts.chunks_mut(inner).enumerate().for_each(|(t, acc)| part(t, acc)),
        _ => parts.par_chunks_mut(inner).enumerate().for_each(|(t, acc)| part(t, acc)),
    }
    let mut wholes = Vec::with_capacity(inner);
    for (parts, y) in parts.chunks(blocks * inner).zip(y.chunks_mut(inner)) {
        let (first, others) = parts.split_at(inner);
        wholes.clear();
        wholes.extend(first.iter().map(|&part| R::whole(part)));
        for parts in others.chunks(inner) {
            wholes.iter_mut().zip(parts).for_each(|(whole, &part)| *whole = R::merge(*whole, R::whole(part)));
        }
        y.iter_mut().zip(&wholes).for_each(|(y, &whole)| *y = R::result(whole));
    }
}

impl<'g> Tensor<'g> {
    /// `[outer, n, inner]` with the given axes in the middle, and the shape without them.
    #[track_caller]
    pub(crate) fn middle(self, op: &'static str, axes: &[usize]) -> (Tensor<'g>, Shape) {
        match self.try_middle(op, axes) {
            Ok(found) => found,
            Err(error) => (self.graph().wait(Err(error)), Shape::new()),
        }
    }

    fn try_middle(self, op: &'static str, axes: &[usize]) -> Result<(Tensor<'g>, Shape)> {
        let shape = self.shape()?;
        if axes.iter().any(|&a| a >= shape.len()) {
            return Err(Error::Shape { op, rule: format!("axes {axes:?} exist"), got: format!("{shape:?}") });
        }
        let (axes, kept): (Vec<usize>, Vec<usize>) = (0..shape.len()).partition(|a| axes.contains(a));
        let extents = |axes: &[usize]| -> Shape { axes.iter().map(|&a| shape[a]).collect() };
        let (rest, n) = (extents(&kept), shape::count(&extents(&axes)));
        let (first, last) = (axes.first().copied().unwrap_or(0), axes.last().map_or(0, |a| a + 1));
        let contiguous = (first..last).all(|a| axes.contains(&a) || shape[a] == 1);
        if contiguous {
            let inner = shape::count(&shape[last..]);
            return Ok((self.reshape(&[shape::count(shape) / (n * inner), n, inner]), rest));
        }
        let moved = self.transpose(&[kept, axes].concat());
        Ok((moved.reshape(&[shape::count(&rest), n, 1]), rest))
    }

    /// A reduction's result `[outer, inner]` repeated along its axis, like `[outer, n, inner]`.
    pub(crate) fn along(self, x: Tensor<'g>) -> Result<Tensor<'g>> {
        Ok(self.unsqueeze(&[1]).broadcast(x.shape()?))
    }
}

/// All axes; none of an inert tensor.
pub(crate) fn axes(x: Tensor) -> Vec<usize> {
    (0..x.shape().map_or(0, <[usize]>::len)).collect()
}

/// The cotangent of a reduction's operand whose elements have these weights in it: `weights·ct`.
pub(crate) fn weigh_back<'g>(weights: Tensor<'g>, ct: Option<Tensor<'g>>) -> Result<Derivatives<'g>> {
    Ok(Some(vec![ct.map(|ct| Ok(weights * ct.along(weights)?)).transpose()?]))
}

/// The tangent of such a reduction: `Σ weights·dx`.
pub(crate) fn weigh_forth<'g>(weights: Tensor<'g>, dx: Option<Tensor<'g>>) -> Derivatives<'g> {
    Some(vec![dx.map(|dx| (weights * dx).sum(&[1]))])
}

//! The frame of reductions: any axes become the middle one of `[outer, n, inner]`.

use rayon::prelude::*;

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// Rows of the middle axis that one task adds up before partial results are combined, in a fixed order.
const BLOCK: usize = 1024;

/// Results that are made of one column side by side: one alone would wait for itself at each step.
const LANES: usize = 16;

/// The launches of a reduction over the middle axis: one, or two when the axis is long and the columns are few.
/// `twice` says that the kernel applied to its own partial results gives the result.
pub(crate) fn launches(class: Class, kernel: &'static str, x: &Type, twice: bool) -> Launches {
    let [outer, n, inner] = [x.shape[0], x.shape[1], x.shape[2]];
    let across = inner.next_power_of_two().min(32);
    let columns = outer * inner.div_ceil(across);
    let per_group = 4 * 256 / across;
    let chunks = match twice && columns < 256 && n > 2 * per_group {
        true => n.div_ceil(per_group).min(1024 / columns),
        false => 1,
    };
    let chunk = n.div_ceil(chunks);
    let chunks = n.div_ceil(chunk);
    let stage = |n: usize, chunk: usize, chunks: usize, bind: [Bind; 2]| {
        let lanes = match class {
            Class::Gpu(_) => across * (chunk.next_power_of_two()).clamp(2, 256 / across),
            Class::Software { .. } => lanes(class, across),
        };
        Launch::new(kernel, columns * chunks)
            .constant("LANES", lanes as f64)
            .constant("ACROSS", across as f64)
            .params([outer, n, inner, chunk, chunks, 0].map(word))
            .bind(bind)
    };
    if chunks == 1 {
        return stage(n, n, 1, [Bind::In(0), Bind::Out(0)]).into();
    }
    Launches {
        scratch: vec![outer * chunks * inner],
        list: vec![
            stage(n, chunk, chunks, [Bind::In(0), Bind::Scratch(0)]),
            stage(chunks, chunks, 1, [Bind::Scratch(0), Bind::Out(0)]),
        ],
    }
}

/// Folds the middle axis on the CPU: blocks of rows in parallel, then their results in order. What is combined need not
/// be neighbours.
pub(crate) fn fold<F: Real, A: Copy + Send + Sync, Y: Send>(
    shape: &[usize], x: &[F], y: &mut [Y], identity: A, of: impl Fn(A, F, usize) -> A + Sync,
    combine: impl Fn(A, A) -> A + Sync, finish: impl Fn(A) -> Y + Sync,
) {
    let [outer, n, inner] = [shape[0], shape[1], shape[2]];
    let block = (BLOCK / inner.min(64)).max(16);
    let blocks = n.div_ceil(block);
    let part = |task: usize, acc: &mut [A]| {
        let (o, b) = (task / blocks, task % blocks);
        if inner == 1 && n >= 4 * LANES {
            let column = &x[o * n..][b * block..((b + 1) * block).min(n)];
            let mut lanes = [identity; LANES];
            for (i, row) in column.chunks(LANES).enumerate() {
                for (lane, (own, &x)) in lanes.iter_mut().zip(row).enumerate() {
                    *own = of(*own, x, b * block + i * LANES + lane);
                }
            }
            acc[0] = lanes[1..].iter().fold(lanes[0], |acc, &lane| combine(acc, lane));
            return;
        }
        acc.fill(identity);
        for r in b * block..((b + 1) * block).min(n) {
            let row = &x[(o * n + r) * inner..][..inner];
            for (acc, &x) in acc.iter_mut().zip(row) {
                *acc = of(*acc, x, r);
            }
        }
    };
    let mut parts = vec![identity; outer * blocks * inner];
    match x.len() {
        ..SERIAL => parts.chunks_mut(inner).enumerate().for_each(|(t, acc)| part(t, acc)),
        _ => parts.par_chunks_mut(inner).enumerate().for_each(|(t, acc)| part(t, acc)),
    }
    for (o, y) in y.chunks_mut(inner).enumerate() {
        for (column, y) in y.iter_mut().enumerate() {
            let at = |b: usize| parts[(o * blocks + b) * inner + column];
            *y = finish((1..blocks).fold(at(0), |acc, b| combine(acc, at(b))));
        }
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

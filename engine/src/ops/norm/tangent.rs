//! What the tangents of batch normalization share: several of them at one point, as stacks.

use crate::ops::{
    norm::{batch_norm::SHAPES, frame},
    shape::stacks::{one_by_one, rank},
};
use crate::{error::*, graph::*, tensor::*};

/// The shape rule: results like `x` and two times its channels, or stacks of such, as operand `first` and all after it are;
/// `arrays` are operands like `x`.
pub(crate) fn infer(op: &'static str, x: &[&Type], arrays: &[usize], first: usize) -> Result<Vec<Type>> {
    let mut own: Vec<Type> = x.iter().map(|&x| x.clone()).collect();
    let batch = x.get(first).filter(|of| of.shape.len() > x[0].shape.len()).map(|of| of.shape[0]);
    if let Some(batch) = batch {
        let rule = "tangents are stacks of one batch size, and the number of an array's elements is a multiple of four";
        for tangent in &mut own[first..] {
            if tangent.shape.is_empty() || tangent.shape.remove(0) != batch || !x[0].count().is_multiple_of(4) {
                return Err(shape_error(op, rule, x));
            }
        }
    }
    let y = frame::types(op, &own.iter().collect::<Vec<_>>(), arrays)?;
    Ok(y.into_iter().map(|y| Type::f32(stacked(batch, &y.shape))).collect())
}

/// The number of items of the stack that a result like `x` is.
pub(crate) fn items(x: &Type, y: &Type) -> usize {
    y.count() / x.count()
}

/// The plain graph of an op on stacks, from that on single operands.
pub(crate) fn plain<'g>(
    x: &[Tensor<'g>], first: usize, single: impl Fn(&[Tensor<'g>]) -> Result<Vec<Tensor<'g>>>,
) -> Result<Vec<Tensor<'g>>> {
    let tangent = x[first].shape()?;
    if tangent.len() == x[0].shape()?.len() {
        return single(x);
    }
    let is: Vec<bool> = (0..x.len()).map(|i| i >= first).collect();
    one_by_one(Stacked { k: tangent[0], x, is: &is }, single)
}

/// The op on stacks of tangents; `None` where the point is a stack too, or tangents are stacks already.
pub(crate) fn batched<'g>(op: &(impl Op + Clone), x: Stacked<'_, 'g>, first: usize) -> Result<Option<Vec<Tensor<'g>>>> {
    let point = x.x[0];
    let single = rank(x.x[first], x.is[first])? == point.shape()?.len();
    if x.is[..first].contains(&true) || !single || !point.count()?.is_multiple_of(4) {
        return Ok(None);
    }
    let stack = |i: usize| if i < first || x.is[i] { Ok(x.x[i]) } else { x.x[i].repeat(x.k) };
    let all = (0..x.x.len()).map(stack).collect::<Result<Vec<_>>>()?;
    point.graph().apply_all(op.clone(), &all).map(Some)
}

/// Shapes and batch sizes on which the tangents are tried.
pub(crate) fn shapes() -> impl Iterator<Item = (&'static [usize], Option<usize>)> {
    let stacks: [(&[usize], _); 3] = [(SHAPES[3], Some(3)), (&[4, 2, 17], Some(2)), (&[37, 20], Some(4))];
    SHAPES.iter().map(|&shape| (shape, None)).chain(stacks)
}

//! What the tangents of batch normalization share: stacks of them at one point.

use crate::{
    error::{Error, Result},
    graph::{
        graph::{Graph, Var},
        op::{Op, Stacked},
    },
    ops::{norm::frame, shape::stacks::rank},
    tensor::{
        dtype::{Type, shape_error},
        stack::stacked,
    },
};

/// Height of the stacks that the tangents are, operand `first` and all after it, and the types of single operands.
pub(crate) fn singles(op: &'static str, x: &[&Type], first: usize) -> Result<(Option<usize>, Vec<Type>)> {
    let mut own: Vec<Type> = x.iter().map(|&x| x.clone()).collect();
    let Some(of) = x.get(first).filter(|of| of.shape.len() > x[0].shape.len()) else { return Ok((None, own)) };
    let height = of.shape[0];
    let rule = "tangents are stacks of one height, and an array's elements come in fours";
    for tangent in &mut own[first..] {
        if tangent.shape.is_empty() || tangent.shape.remove(0) != height || !x[0].count().is_multiple_of(4) {
            return Err(shape_error(op, rule, x));
        }
    }
    Ok((Some(height), own))
}

/// The shape rule: results like `x` and two times its channels, or stacks of such; `arrays` are operands like `x`.
pub(crate) fn infer(op: &'static str, x: &[&Type], arrays: &[usize], first: usize) -> Result<Vec<Type>> {
    let (height, own) = singles(op, x, first)?;
    let shape = frame::check(op, &own.iter().collect::<Vec<_>>(), arrays)?;
    let channels = [shape[shape.len() - 1]];
    Ok([&shape[..], &channels, &channels].map(|s| Type::f32(stacked(height, s))).to_vec())
}

/// Members of the stack that a result like `x` is.
pub(crate) fn members(x: &Type, y: &Type) -> usize {
    y.count() / x.count()
}

/// The plain graph of an op on stacks, from that on single operands.
pub(crate) fn plain(
    g: &mut Graph,
    x: &[Var],
    first: usize,
    single: impl Fn(&mut Graph, &[Var]) -> Result<Vec<Var>>,
) -> Result<Vec<Var>> {
    if g.shape(x[first]).len() == g.shape(x[0]).len() {
        return single(g, x);
    }
    let is: Vec<bool> = (0..x.len()).map(|i| i >= first).collect();
    g.one_by_one(Stacked { k: g.shape(x[first])[0], x, is: &is }, single)
}

/// The op on stacks of tangents; `None` where the point is a stack too, or tangents are stacks already.
pub(crate) fn batched(op: &(impl Op + Clone), g: &mut Graph, x: Stacked, first: usize) -> Result<Option<Vec<Var>>> {
    let single = rank(g.ty(x.x[first]), x.is[first]) == g.shape(x.x[0]).len();
    if x.is[..first].contains(&true) || !single || !g.ty(x.x[0]).count().is_multiple_of(4) {
        return Ok(None);
    }
    let all: Result<Vec<Var>, Error> =
        (0..x.x.len()).map(|i| if i < first || x.is[i] { Ok(x.x[i]) } else { g.repeat(x.x[i], x.k) }).collect();
    g.apply_all(op.clone(), &all?).map(Some)
}

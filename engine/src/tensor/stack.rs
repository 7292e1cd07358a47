//! Types of stacks: several values of one type along a leading axis.

use crate::{
    error::Result,
    tensor::dtype::{Type, shape_error},
};

/// Extents of a member, of `rank` axes.
pub(crate) fn member(shape: &[usize], rank: usize) -> &[usize] {
    &shape[shape.len().saturating_sub(rank)..]
}

/// Height of the stack that an op's results are: that of the operands with an axis more than `rank`, if there are any.
pub(crate) fn height(op: &'static str, x: &[&Type], rank: usize) -> Result<Option<usize>> {
    let mut heights = x.iter().filter(|x| x.shape.len() > rank).map(|x| x.shape[0]);
    let height = heights.next();
    let fits = heights.all(|h| Some(h) == height) && x.iter().all(|x| x.shape.len() <= rank + 1);
    match fits {
        true => Ok(height),
        false => Err(shape_error(op, format!("operands have {rank} axes, or are stacks of one height of such"), x)),
    }
}

/// The shape of a stack of this height, or of a single value.
pub(crate) fn stacked(height: Option<usize>, member: &[usize]) -> Vec<usize> {
    height.into_iter().chain(member.iter().copied()).collect()
}

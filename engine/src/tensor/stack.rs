//! Types of stacks: several values of one type along a leading axis.

use crate::{
    error::Result,
    tensor::dtype::{Type, shape_error},
};

/// Extents of an item, of `rank` axes.
pub(crate) fn item(shape: &[usize], rank: usize) -> &[usize] {
    &shape[shape.len().saturating_sub(rank)..]
}

/// Batch size of the stack that an op's results are: that of the operands with an axis more than `rank`, if there are any.
pub(crate) fn batch_size(op: &'static str, x: &[&Type], rank: usize) -> Result<Option<usize>> {
    let mut sizes = x.iter().filter(|x| x.shape.len() > rank).map(|x| x.shape[0]);
    let batch = sizes.next();
    let fits = sizes.all(|h| Some(h) == batch) && x.iter().all(|x| x.shape.len() <= rank + 1);
    match fits {
        true => Ok(batch),
        false => Err(shape_error(op, format!("operands have {rank} axes, or are stacks of one batch of such"), x)),
    }
}

/// The shape of a stack of this batch, or of a single value.
pub(crate) fn stacked(batch: Option<usize>, item: &[usize]) -> Vec<usize> {
    batch.into_iter().chain(item.iter().copied()).collect()
}

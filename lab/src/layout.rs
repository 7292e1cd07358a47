//! Parameters side by side as one vector, and which of them are taken.

use std::ops::Range;

use hillshade_engine::{Graph, Tensor};
use hillshade_models::{Builder, Param};

use crate::error::*;

/// Where in a vector the entries of a parameter are.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The parameter's name.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its entries.
    pub range: Range<usize>,
}

/// The entries of a vector that belong to each parameter, in the order of the layers.
pub(crate) fn layout<'a>(params: impl IntoIterator<Item = &'a Param>) -> Vec<Block> {
    let mut end = 0;
    let block = |p: &Param| {
        let start = end;
        end += p.shape.iter().product::<usize>();
        Block { name: p.name.clone(), shape: p.shape.clone(), range: start..end }
    };
    params.into_iter().map(block).collect()
}

/// The number of entries of a layout.
pub(crate) fn dimension(layout: &[Block]) -> usize {
    layout.last().map_or(0, |b| b.range.end)
}

/// The trained parameters whose names begin with one of `blocks`; all where there are none.
///
/// # Errors
///
/// [`Error::Argument`] for a block that no parameter's name begins with.
pub(crate) fn chosen(b: &Builder, blocks: &[String]) -> Result<Vec<Param>> {
    for block in blocks {
        if !b.trained().any(|p| p.name.starts_with(block.as_str())) {
            let known = b.trained().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(argument("block", format!("the beginning of a parameter's name: {known}"), block));
        }
    }
    let taken = |p: &&Param| blocks.is_empty() || blocks.iter().any(|b| p.name.starts_with(b.as_str()));
    Ok(b.trained().filter(taken).cloned().collect())
}

/// Tensors side by side, as one vector `[n]`.
pub(crate) fn flatten<'g>(g: &'g Graph, parts: &[Tensor<'g>]) -> Tensor<'g> {
    let flat = parts.iter().map(|p| Ok(p.reshape(&[p.count()?])));
    g.wait(flat.collect::<Result<Vec<_>, _>>().map(|flat| if let [one] = flat[..] { one } else { g.concat(&flat, 0) }))
}

/// The parts of a vector `[n]`, in these shapes.
pub(crate) fn unflatten<'a, 'g>(v: Tensor<'g>, shapes: impl IntoIterator<Item = &'a [usize]>) -> Vec<Tensor<'g>> {
    let mut end = 0;
    let part = |shape: &[usize]| {
        let len = shape.iter().product::<usize>();
        end += len;
        v.slice(0, end - len, len).reshape(shape)
    };
    shapes.into_iter().map(part).collect()
}

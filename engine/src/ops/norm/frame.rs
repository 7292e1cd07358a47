//! What the batch-norm family shares: its launches over `[rows, channels]`, its shape rule, what its plain graphs begin with.

use crate::{
    error::{Error, Result},
    graph::graph::{Graph, Var},
    launch::{
        launch::{Bind, Launch, lanes, word},
        target::Class,
    },
    tensor::{dtype::Type, shape},
};

/// Rows and channels of an array whose last axis is the channels.
pub(crate) fn rows(x: &[usize]) -> [usize; 2] {
    let channels = x[x.len() - 1];
    [shape::count(x) / channels, channels]
}

/// The chunks into which a device divides the rows: rows of each, and their number.
pub(crate) fn chunks(class: Class, [rows, channels]: [usize; 2]) -> [usize; 2] {
    let tiles = channels.div_ceil(32);
    let most = if class.is_software() { 128usize } else { 512 };
    let chunks = rows.div_ceil(64).min(most.div_ceil(tiles));
    let chunk = rows.div_ceil(chunks);
    [chunk, rows.div_ceil(chunk)]
}

/// A launch of a kernel that imports `channels`.
pub(crate) fn over_rows(class: Class, kernel: &'static str, size: [usize; 2], bind: &[Bind]) -> Launch {
    over_stacks(class, kernel, size, 1, bind)
}

/// The turns in which a launch goes through members of stacks, and whether each takes two of them.
fn turns(members: usize) -> (usize, bool) {
    let pairs = members.is_multiple_of(2);
    (if pairs { members / 2 } else { members }, pairs)
}

/// A launch of a kernel that imports `channels`, for so many members of stacks.
pub(crate) fn over_stacks(
    class: Class,
    kernel: &'static str,
    size: [usize; 2],
    members: usize,
    bind: &[Bind],
) -> Launch {
    let across = size[1].next_power_of_two().min(32);
    let [chunk, chunks] = chunks(class, size);
    let (turns, pairs) = turns(members);
    Launch::new(kernel, size[1].div_ceil(across) * chunks * turns)
        .constant("LANES", lanes(class, across) as f64)
        .constant("ACROSS", across as f64)
        .constant("PAIRS", pairs)
        .params([size[0], size[1], chunk, chunks, members].map(word))
        .bind(bind.iter().copied())
}

/// A launch of a kernel that imports `each_channel`.
pub(crate) fn each_element(class: Class, kernel: &'static str, size: [usize; 2], bind: &[Bind]) -> Launch {
    each_of_stacks(class, kernel, size, 1, bind)
}

/// A launch of a kernel that imports `each_channel`, for so many members of stacks.
pub(crate) fn each_of_stacks(
    class: Class,
    kernel: &'static str,
    [rows, channels]: [usize; 2],
    members: usize,
    bind: &[Bind],
) -> Launch {
    let down = if class.is_software() && channels.is_multiple_of(4) { 16 } else { 1 };
    let (turns, pairs) = turns(members);
    Launch::new(kernel, (turns * rows.div_ceil(down) * channels).div_ceil(256))
        .constant("DOWN", down as f64)
        .constant("PAIRS", pairs)
        .params([word(rows * channels), word(channels), (rows as f32).to_bits(), word(members)])
        .bind(bind.iter().copied())
}

/// The sum over chunks of `width` neighbouring arrays `[chunks, channels]` of `x`, beginning with array `first`.
pub(crate) fn sum_chunks(class: Class, size: [usize; 2], [x, y]: [Bind; 2], first: usize, width: usize) -> Launch {
    let [_, chunks] = chunks(class, size);
    let across = size[1].next_power_of_two().min(32);
    Launch::new("sum", width * size[1].div_ceil(across))
        .constant("LANES", lanes(class, across) as f64)
        .constant("ACROSS", across as f64)
        .params([width, chunks, size[1], chunks, 1, first * chunks * size[1]].map(word))
        .bind([x, y])
}

/// Checks that the arrays have one shape with channels last and that the others are `[channels]`.
pub(crate) fn check(op: &'static str, x: &[&Type], arrays: &[usize]) -> Result<Vec<usize>> {
    crate::tensor::dtype::expect_dtypes(op, x, &vec![crate::tensor::dtype::DType::F32; x.len()])?;
    let shape = &x[0].shape;
    let fits = |i: usize, t: &Type| match arrays.contains(&i) {
        true => t.shape == *shape,
        false => t.shape[..] == shape[shape.len() - 1..],
    };
    if shape.is_empty() || !x.iter().enumerate().all(|(i, t)| fits(i, t)) {
        let rule = format!("operands {arrays:?} are [.., c], the others [c]");
        return Err(crate::tensor::dtype::shape_error(op, rule, x));
    }
    Ok(shape.clone())
}

/// Values that plain graphs of the family begin with: x, its mean, deviation, 1/std and x̂, all from x.
pub(crate) struct Normed {
    pub axes: Vec<usize>,
    pub mean: Var,
    pub rstd: Var,
    pub normed: Var,
}

impl Normed {
    pub(crate) fn new(g: &mut Graph, x: Var, eps: f64) -> Result<Self> {
        let axes: Vec<usize> = (0..g.shape(x).len() - 1).collect();
        let mean = g.mean(x, &axes)?;
        let deviation = g.sub(x, mean)?;
        let square = g.mul(deviation, deviation)?;
        let variance = g.mean(square, &axes)?;
        let shifted = g.affine(variance, 1.0, eps)?;
        let rstd = g.rsqrt(shifted)?;
        let normed = g.mul(deviation, rstd)?;
        Ok(Normed { axes, mean, rstd, normed })
    }

    /// The mean over rows of a product.
    pub(crate) fn mean_of(&self, g: &mut Graph, a: Var, b: Var) -> Result<Var> {
        let product = g.mul(a, b)?;
        g.mean(product, &self.axes)
    }
}

/// The bound of a case: of two rows little is left once mean and variance are taken out.
pub(crate) fn tolerance(shape: &[usize], usual: f64) -> f64 {
    if rows(shape)[0] < 3 { 2e-4 } else { usual }
}

/// An operand's derivative, or zeros like it.
pub(crate) fn or_zeros(g: &mut Graph, d: Option<Var>, like: Var) -> Result<Var, Error> {
    match d {
        Some(d) => Ok(d),
        None => g.fill_like(like, 0.0),
    }
}

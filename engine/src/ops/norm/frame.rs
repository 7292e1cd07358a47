//! What the batch-norm family shares: its launches over `[rows, channels]`, its shape rule, what its plain graphs begin with.

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// Rows and channels of an array whose last axis is the channels.
pub(crate) fn rows(x: &[usize]) -> [usize; 2] {
    let channels = x[x.len() - 1];
    [shape::count(x) / channels, channels]
}

/// The chunks into which a device divides the rows: rows of each, and their number.
pub(crate) fn chunks(class: Class, [rows, channels]: [usize; 2]) -> [usize; 2] {
    let tiles = channels.div_ceil(32);
    let most = if class.is_software() { 128usize } else { 512 };
    // Software adapters end an invocation's loops after 65,535 passes in all, without a word.
    let across = channels.next_power_of_two().min(32);
    let longest = (lanes(class, across) / across) << 14;
    let chunks = rows.div_ceil(64).min(most.div_ceil(tiles)).max(rows.div_ceil(longest));
    let chunk = rows.div_ceil(chunks);
    [chunk, rows.div_ceil(chunk)]
}

/// The turns in which a launch goes through the items of stacks, and whether each takes two of them.
fn turns(items: usize) -> (usize, bool) {
    let pairs = items.is_multiple_of(2);
    (if pairs { items / 2 } else { items }, pairs)
}

/// A launch of a kernel that imports `channels`, for so many items of stacks.
pub(crate) fn over_rows(class: Class, kernel: &'static str, size: [usize; 2], items: usize, bind: &[Bind]) -> Launch {
    let across = size[1].next_power_of_two().min(32);
    let [chunk, chunks] = chunks(class, size);
    let (turns, pairs) = turns(items);
    Launch::new(kernel, size[1].div_ceil(across) * chunks * turns)
        .constant("LANES", lanes(class, across) as f64)
        .constant("ACROSS", across as f64)
        .constant("PAIRS", pairs)
        .params([size[0], size[1], chunk, chunks, items].map(word))
        .bind(bind.iter().copied())
}

/// A launch of a kernel that imports `each_channel`, for so many items of stacks.
pub(crate) fn each_element(
    class: Class, kernel: &'static str, [rows, channels]: [usize; 2], items: usize, bind: &[Bind],
) -> Launch {
    let down = if class.is_software() && channels.is_multiple_of(4) { 16 } else { 1 };
    let (turns, pairs) = turns(items);
    Launch::new(kernel, (turns * rows.div_ceil(down) * channels).div_ceil(256))
        .constant("DOWN", down as f64)
        .constant("PAIRS", pairs)
        .params([word(rows * channels), word(channels), (rows as f32).to_bits(), word(items)])
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
    expect_dtypes(op, x, &vec![DType::F32; x.len()])?;
    let shape = &x[0].shape;
    let fits = |i: usize, t: &Type| match arrays.contains(&i) {
        true => t.shape == *shape,
        false => t.shape[..] == shape[shape.len() - 1..],
    };
    if shape.is_empty() || !x.iter().enumerate().all(|(i, t)| fits(i, t)) {
        let rule = format!("operands {arrays:?} are [.., c], the others [c]");
        return Err(shape_error(op, rule, x));
    }
    Ok(shape.clone())
}

/// The types of an array like `x` and of two values for each channel, where [`check`] holds.
pub(crate) fn types(op: &'static str, x: &[&Type], arrays: &[usize]) -> Result<Vec<Type>> {
    let shape = check(op, x, arrays)?;
    let channels = Type::f32(&shape[shape.len() - 1..]);
    Ok(vec![Type::f32(shape), channels.clone(), channels])
}

/// What plain graphs of the family begin with, all from x: its mean, 1/std and x̂.
pub(crate) struct Normed<'g> {
    pub axes: Vec<usize>,
    pub mean: Tensor<'g>,
    pub rstd: Tensor<'g>,
    pub normed: Tensor<'g>,
}

impl<'g> Normed<'g> {
    pub(crate) fn new(x: Tensor<'g>, eps: f64) -> Result<Self> {
        let axes: Vec<usize> = (0..x.shape()?.len() - 1).collect();
        let [mean, deviation] = x.centred(&axes);
        let mean = mean.sum(&axes);
        let variance = (deviation * deviation).mean(&axes);
        let rstd = (variance + eps).rsqrt();
        Ok(Normed { axes, mean, rstd, normed: deviation * rstd })
    }

    /// The mean over rows.
    pub(crate) fn mean(&self, u: Tensor<'g>) -> Tensor<'g> {
        u.mean(&self.axes)
    }

    /// For a tangent `x'`: mean(x'), mean(x̂ x') and `x̂' = rstd (x' − mean(x') − x̂ mean(x̂ x'))`.
    pub(crate) fn push(&self, dx: Tensor<'g>) -> [Tensor<'g>; 3] {
        let (dmean, along) = (self.mean(dx), self.mean(self.normed * dx));
        [dmean, along, (dx - dmean - self.normed * along) * self.rstd]
    }
}

/// The bound of a test case: of two rows little is left once mean and variance are taken out.
pub(crate) fn tolerance(shape: &[usize], usual: f64) -> f64 {
    if rows(shape)[0] < 3 { 2e-4 } else { usual }
}

/// A value's derivative, or zeros like it.
pub(crate) fn or_zeros<'g>(d: Option<Tensor<'g>>, like: Tensor<'g>) -> Tensor<'g> {
    d.unwrap_or_else(|| like.fill_like(0.0))
}

/// [`or_zeros`] for several values.
pub(crate) fn all_or_zeros<'g>(d: &[Option<Tensor<'g>>], like: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
    d.iter().zip(like).map(|(&d, &like)| or_zeros(d, like)).collect()
}

/// `u` and `u (x − mean)`.
pub(crate) struct WithDeviation;

impl Formula<2, 1, 2> for WithDeviation {
    #[inline(always)]
    fn f<F: Real>(&self, [u, x]: [F; 2], [mean]: [F; 1]) -> [F; 2] {
        [u, u * (x - mean)]
    }
}

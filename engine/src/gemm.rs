//! The launches of kernels that are matrix products, and their tiles.

use crate::{
    Bind, DType, Error, Launch, Launches, Result, Type,
    op::{expect_dtypes, shape_error, word},
};

/// A matrix product as a kernel sees it: `batches` times `[m, k] [k, n]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batches: usize,
    /// Whether neighbouring lanes load neighbouring k of the left factor (else neighbouring rows).
    pub a_along_k: bool,
    /// Whether neighbouring lanes load neighbouring k of the right factor (else neighbouring columns).
    pub b_along_k: bool,
}

/// Workgroups below which a long summed axis is split.
const ENOUGH: usize = 128;

/// Shortest piece of a split axis.
const PIECE: usize = 512;

impl Product {
    /// The product's launch, and the sum of partial results when its long axis is split; `rest` are the words after
    /// the six of the product itself, `x` the operands, to which those that the kernel does not use are added.
    pub(crate) fn launches(
        self,
        kernel: &'static str,
        rest: impl IntoIterator<Item = usize>,
        x: &[Bind],
        terms: u32,
        bias: Option<bool>,
    ) -> Launches {
        let Product { m, n, k, batches, .. } = self;
        let (across, down) =
            (n.div_ceil(4).next_power_of_two().clamp(2, 16), m.div_ceil(4).next_power_of_two().clamp(4, 16));
        let tiles = batches * m.div_ceil(4 * down) * n.div_ceil(4 * across);
        let splits = if tiles < ENOUGH { (ENOUGH / tiles).min(k / PIECE).max(1) } else { 1 };
        let k_chunk = k.div_ceil(splits);
        let splits = k.div_ceil(k_chunk);
        let out = if splits > 1 { Bind::Scratch(0) } else { Bind::Out(0) };
        let mut launch = Launch::new(kernel, tiles * splits)
            .constant("ACROSS", across as f64)
            .constant("DOWN", down as f64)
            .constant("TERMS", terms)
            .constant("A_ALONG_K", self.a_along_k)
            .constant("B_ALONG_K", self.b_along_k)
            .params([m, n, k, batches, splits, k_chunk].map(word))
            .params(rest.into_iter().map(word))
            .bind(x.iter().copied().chain([out]));
        if let Some(bias) = bias {
            launch = launch.constant("BIAS", bias);
        }
        let mut launches = Launches::from(launch);
        if splits > 1 {
            let len = batches * m * n;
            launches.scratch.push(splits * len);
            launches.list.push(
                Launch::new("sum", len.div_ceil(32))
                    .constant("LANES", 256)
                    .constant("ACROSS", 32)
                    .params([1, splits, len, splits, 1, 0].map(word))
                    .bind([Bind::Scratch(0), Bind::Out(0)]),
            );
        }
        launches
    }
}

/// Refuses operands of another number than one or two terms and a bias have, and a second term unlike the first.
pub(crate) fn expect_terms(op: &'static str, x: &[&Type], terms: usize, bias: bool) -> Result<()> {
    if !(1..=2).contains(&terms) {
        return Err(shape_error(op, "it has one or two terms", x));
    }
    expect_dtypes(op, x, &vec![DType::F32; 2 * terms + usize::from(bias)])?;
    match x[..2] == x[2 * terms - 2..2 * terms] {
        true => Ok(()),
        false => Err(shape_error(op, "the second term is like the first", x)),
    }
}

/// Refuses a bias that is not one number for each of `n` columns.
pub(crate) fn expect_bias(op: &'static str, x: &[&Type], bias: bool, n: usize) -> Result<()> {
    match bias && x[x.len() - 1].shape != [n] {
        true => Err(shape_error(op, format!("the bias is [{n}]"), x)),
        false => Ok(()),
    }
}

/// Refuses derivatives of what only the compiler makes, once they are taken.
pub(crate) fn expect_plain(op: &'static str, rule: &'static str, terms: usize, bias: bool) -> Result<()> {
    let why = "two terms and the bias are for the compiler, which fuses when derivatives have been taken";
    match terms == 1 && !bias {
        true => Ok(()),
        false => Err(Error::NoRule { op, rule, why }),
    }
}

/// Operands of a product of one or two terms, the second standing in by the first where there is none.
pub(crate) fn two_terms(terms: usize) -> [Bind; 4] {
    let second = 2 * (terms - 1);
    [Bind::In(0), Bind::In(1), Bind::In(second), Bind::In(second + 1)]
}

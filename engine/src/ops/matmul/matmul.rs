//! Matrix products.

use rayon::prelude::*;

use crate::ops::{matmul::gemm, pointwise::operators::sum_terms, shape::stacks::on_stacks};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::matmul`], on `[batches, rows, columns]`; the compiler makes those of two terms or with a bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Matmul {
    /// Whether the left factors are stored transposed, `[batches, k, m]`.
    pub ta: bool,
    /// Whether the right factors are stored transposed, `[batches, n, k]`.
    pub tb: bool,
    /// Number of products that are summed, 1 or 2.
    pub terms: usize,
    /// Whether a last operand `[n]` is added to every row.
    pub bias: bool,
}

impl Matmul {
    fn extents(&self, a: &[usize], b: &[usize]) -> Option<[usize; 4]> {
        let ([batches, p, q], [b_batches, r, s]) = (<[usize; 3]>::try_from(a).ok()?, <[usize; 3]>::try_from(b).ok()?);
        let (m, k) = if self.ta { (q, p) } else { (p, q) };
        let (n, k_b) = if self.tb { (r, s) } else { (s, r) };
        (batches == b_batches && k == k_b).then_some([batches, m, n, k])
    }

    /// How far apart rows and columns of both factors are.
    fn strides(&self, [m, n, k]: [usize; 3]) -> [[usize; 2]; 2] {
        [if self.ta { [1, m] } else { [k, 1] }, if self.tb { [1, k] } else { [n, 1] }]
    }

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [batches, m, n, k] = self.extents(x[0].shape(), x[1].shape()).expect("the shape rule held");
        let [[a_row, a_col], [b_row, b_col]] = self.strides([m, n, k]);
        let one = |batch: usize, y: &mut [F], parallel: bool| {
            if self.bias {
                y.chunks_mut(n).for_each(|y| y.copy_from_slice(x[2 * self.terms].floats()));
            }
            for term in 0..self.terms {
                let a = Mat { data: &x[2 * term].floats()[batch * m * k..], row: a_row, col: a_col };
                let b = Mat { data: &x[2 * term + 1].floats()[batch * k * n..], row: b_row, col: b_col };
                F::gemm([m, n, k], y, n, a, b, term > 0 || self.bias, parallel);
            }
        };
        match batches {
            1 => one(0, y[0].floats_mut(), m * n * k > 1 << 18),
            _ => y[0].floats_mut().par_chunks_mut(m * n).enumerate().for_each(|(b, y)| one(b, y, false)),
        }
    }
}

impl Op for Matmul {
    cpu!();

    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        gemm::expect_terms("matmul", x, self.terms, self.bias)?;
        let rule = match (self.ta, self.tb) {
            (false, false) => "[b, m, k] [b, k, n]",
            (true, false) => "[b, k, m] [b, k, n]",
            (false, true) => "[b, m, k] [b, n, k]",
            (true, true) => "[b, k, m] [b, n, k]",
        };
        let Some([batches, m, n, _]) = self.extents(&x[0].shape, &x[1].shape) else {
            return Err(shape_error("matmul", rule, x));
        };
        gemm::expect_bias("matmul", x, self.bias, n)?;
        Ok(vec![Type::f32([batches, m, n])])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let [batches, m, n, k] = self.extents(&x[0].shape, &x[1].shape).expect("the shape rule held");
        let [[a_i, a_k], [b_k, b_j]] = self.strides([m, n, k]);
        gemm::matmul(class, [m, n, k], batches, [[m * k, a_i, a_k], [k * n, b_k, b_j]], self.terms, self.bias)
    }

    fn flops(&self, x: &[&Type], y: &[&Type]) -> u64 {
        let k = x[0].count() / (x[0].shape[0] * y[0].shape[1]);
        2 * (self.terms * k * y[0].count()) as u64
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        let (&[a, b], &[left, right]) = (x.x, x.is) else { return Ok(None) };
        let alone = b.shape()?[usize::from(right)] == 1;
        // A stack beside one factor for all is more rows, or more columns, of one product.
        let y = match [left, right] {
            [true, false] if alone => {
                let a = a.fold_stack(if self.ta { 2 } else { 1 })?;
                product(a, self.ta, b, self.tb).unfold_stack(1, x.k)?
            }
            [false, true] if alone => {
                let b = b.fold_stack(if self.tb { 1 } else { 2 })?;
                product(a, self.ta, b, self.tb).unfold_stack(2, x.k)?
            }
            _ => return on_stacks(self.clone(), x),
        };
        Ok(Some(vec![y]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        gemm::expect_plain("matmul", "vjp", self.terms, self.bias)?;
        let Some(ct) = ct[0] else { return Ok(Some(vec![None; 2])) };
        let [a, b] = [at.x[0], at.x[1]];
        let da = if self.ta { product(b, self.tb, ct, true) } else { product(ct, false, b, !self.tb) };
        let db = if self.tb { product(ct, true, a, self.ta) } else { product(a, !self.ta, ct, false) };
        Ok(Some(vec![Some(da), Some(db)]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        gemm::expect_plain("matmul", "jvp", self.terms, self.bias)?;
        let left = dx[0].map(|da| product(da, self.ta, at.x[1], self.tb));
        let right = dx[1].map(|db| product(at.x[0], self.ta, db, self.tb));
        Ok(Some(vec![sum_terms([left, right])]))
    }
}

/// `a b` of `[batches, rows, columns]`.
#[track_caller]
fn product<'g>(a: Tensor<'g>, ta: bool, b: Tensor<'g>, tb: bool) -> Tensor<'g> {
    a.apply2(Matmul { ta, tb, terms: 1, bias: false }, b)
}

impl<'g> Tensor<'g> {
    /// `y[…, i, j] = Σₖ a[…, i, k] b[…, k, j]`.
    ///
    /// | | shape |
    /// |---|---|
    /// | a | `[…, m, k]` |
    /// | b | `[…, k, n]` with the same leading axes, or `[k, n]` for all of them |
    /// | y | `[…, m, n]` |
    ///
    /// Bilinear. The order of summation depends on the shapes alone.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn matmul(self, b: Tensor<'g>) -> Tensor<'g> {
        self.matmul_as(false, b, false)
    }

    /// [`Tensor::matmul`] of factors that may be stored transposed in their last two axes, which costs nothing.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn matmul_as(self, ta: bool, b: Tensor<'g>, tb: bool) -> Tensor<'g> {
        self.graph().wait(self.products(ta, b, tb))
    }

    #[track_caller]
    fn products(self, ta: bool, b: Tensor<'g>, tb: bool) -> Result<Tensor<'g>> {
        let (lead, [p, q], [r, s], shared) = match (self.shape()?.split_last_chunk(), b.shape()?.split_last_chunk()) {
            (Some((lead, &a)), Some((own, &b))) if own.is_empty() || own == lead => (lead, a, b, own.is_empty()),
            _ => {
                let types = [self.ty()?, b.ty()?];
                return Err(shape_error("matmul", "[…, m, k] […, k, n] or […, m, k] [k, n]", &types));
            }
        };
        // One factor for all batches: they are more rows of one product.
        let [batches, rows] = if shared && !ta { [1, shape::count(lead) * p] } else { [shape::count(lead), p] };
        let a = self.reshape(&[batches, rows, q]);
        let b = b.reshape(&[if shared { 1 } else { batches }, r, s]).broadcast(&[batches, r, s]);
        let [m, n] = [if ta { q } else { p }, if tb { r } else { s }];
        Ok(product(a, ta, b, tb).reshape(&[lead, &[m, n]].concat()))
    }

    /// `y = x w + b`, the dense layer: `x` `[…, k]`, `w` `[k, n]`, `b` `[n]`; one dispatch.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn linear(self, w: Tensor<'g>, b: Tensor<'g>) -> Tensor<'g> {
        self.graph().wait(self.dense(w, b))
    }

    #[track_caller]
    fn dense(self, w: Tensor<'g>, b: Tensor<'g>) -> Result<Tensor<'g>> {
        let (Some((&k, rows)), &[w_k, n]) = (self.shape()?.split_last(), w.shape()?) else {
            return Err(shape_error("linear", "[…, k] [k, n] [n]", &[self.ty()?, w.ty()?, b.ty()?]));
        };
        let (x, w) = (self.reshape(&[1, shape::count(rows), k]), w.reshape(&[1, w_k, n]));
        Ok((product(x, false, w, false) + b).reshape(&[rows, &[n]].concat()))
    }
}

/// Extents of both factors of `batches` times `[m, k] [k, n]`, as they are stored.
fn stored([batches, m, n, k]: [usize; 4], [ta, tb]: [bool; 2]) -> [[usize; 3]; 2] {
    [if ta { [batches, k, m] } else { [batches, m, k] }, if tb { [batches, n, k] } else { [batches, k, n] }]
}

const TRANSPOSED: [[bool; 2]; 4] = [[false, false], [true, false], [false, true], [true, true]];

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = Vec::new();
    let odd = [[1, 1, 1, 1], [1, 65, 33, 17], [3, 7, 67, 5], [1, 5, 3, 2053], [2, 70, 9, 1]];
    let vec4s = [[1, 13, 130, 64], [2, 20, 36, 1028], [2, 44, 20, 24], [3, 36, 19, 8], [2, 44, 21, 24]];
    for extents in odd.into_iter().chain(vec4s) {
        for [ta, tb] in TRANSPOSED {
            let [a, b] = stored(extents, [ta, tb]);
            let what = format!("matmul {a:?} {b:?} {ta} {tb}");
            all.push(TestCase::one(what, vec![unit(&a), unit(&b)], move |x| x[0].matmul_as(ta, x[1], tb)));
        }
    }
    let x = vec![unit(&[3, 5, 7]), unit(&[7, 9])];
    all.push(TestCase::one("matmul one right factor", x, |x| x[0].matmul(x[1])));
    // Short sums, and long ones, which are split.
    for [batches, m, n, k] in [[2, 67, 35, 19], [1, 26, 36, 1028]] {
        for (terms, bias) in [(2, false), (1, true), (2, true)] {
            let mut x = vec![[unit(&[batches, m, k]), unit(&[batches, k, n])]; terms].concat();
            x.extend(bias.then(|| unit(&[n])));
            let what = format!("matmul [{m}, {k}, {n}], {terms} terms, bias {bias}");
            let op = Matmul { ta: false, tb: false, terms, bias };
            all.push(TestCase::new(what, x, move |x| x[0].graph().apply_all(op.clone(), x)).order(0));
        }
    }
    all
}

/// Its timed cases: all transposes, sizes off the tile, few rows, few columns, columns without vec4s, a long sum, batches; and
/// one for GPUs.
pub(crate) fn timed() -> Vec<TestCase> {
    let plain = [
        [1, 385, 515, 513],
        [1, 8, 1024, 1031],
        [1, 4099, 10, 256],
        [1, 2048, 65, 128],
        [20, 130, 65, 67],
        [1, 4096, 4096, 4096],
    ];
    let square = TRANSPOSED.map(|transposed| ([1, 512, 512, 512], transposed));
    let plain = plain.map(|extents| (extents, [false; 2]));
    let case = |(extents, [ta, tb]): ([usize; 4], [bool; 2])| {
        let [a, b] = stored(extents, [ta, tb]);
        let mark = |t: bool| if t { "ᵀ" } else { "" };
        let what = format!("{a:?}{} {b:?}{}", mark(ta), mark(tb));
        // Rounding grows with the length of sums.
        TestCase::one(what, vec![unit(&a), unit(&b)], move |x| x[0].matmul_as(ta, x[1], tb)).tolerance(
            match extents[3] {
                ..500 => 1e-6,
                500..4000 => 3e-6,
                _ => 1e-5,
            },
        )
    };
    square.into_iter().chain(plain).chain([([1, 259, 257, 4099], [true, false])]).map(case).collect()
}

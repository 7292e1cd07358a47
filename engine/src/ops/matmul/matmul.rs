//! Matrix products.

use rayon::prelude::*;

use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::{Mat, Real},
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{launch::Launches, target::Class},
    ops::matmul::gemm,
    tensor::{
        dtype::{Type, shape_error},
        shape,
    },
    testing::cases::{Case, unit},
};

/// The op of [`Graph::matmul`], on `[batches, rows, columns]`; the compiler makes those of two terms or with a bias.
#[derive(Debug, Clone)]
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

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [batches, m, n, k] = self.extents(x[0].shape(), x[1].shape()).expect("the shape rule held");
        let (a_row, a_col) = if self.ta { (1, m) } else { (k, 1) };
        let (b_row, b_col) = if self.tb { (1, k) } else { (n, 1) };
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
        let (a_i, a_k) = if self.ta { (1, m) } else { (k, 1) };
        let (b_k, b_j) = if self.tb { (1, k) } else { (n, 1) };
        gemm::matmul(class, [m, n, k], batches, [[m * k, a_i, a_k], [k * n, b_k, b_j]], self.terms, self.bias)
    }

    fn flops(&self, x: &[&Type], y: &[&Type]) -> u64 {
        let k = x[0].count() / (x[0].shape[0] * y[0].shape[1]);
        2 * (self.terms * k * y[0].count()) as u64
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        let batches = g.shape(x.x[1])[usize::from(x.is[1])];
        let alone = self.terms == 1 && !self.bias && batches == 1;
        let (p, q) = match x.is {
            [true, false] if alone => (g.fold_stack(x.x[0], if self.ta { 2 } else { 1 })?, x.x[1]),
            [false, true] if alone => (x.x[0], g.fold_stack(x.x[1], if self.tb { 1 } else { 2 })?),
            [_, _] => {
                let each = x.x.iter().zip(x.is).map(|(&v, &stacked)| if stacked { Ok(v) } else { g.repeat(v, x.k) });
                let all = each.collect::<Result<Vec<_>>>()?;
                let (a, b) = (g.fold_stack(all[0], 0)?, g.fold_stack(all[1], 0)?);
                let y = product(g, a, self.ta, b, self.tb)?;
                return Ok(Some(vec![g.unfold_stack(y, 0, x.k)?]));
            }
            _ => return Ok(None),
        };
        let y = product(g, p, self.ta, q, self.tb)?;
        Ok(Some(vec![g.unfold_stack(y, if x.is[0] { 1 } else { 2 }, x.k)?]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("matmul", "vjp", self.terms, self.bias)?;
        let Some(ct) = ct[0] else { return Ok(vec![None; 2]) };
        let [a, b] = [at.x[0], at.x[1]];
        let da = match self.ta {
            false => product(g, ct, false, b, !self.tb)?,
            true => product(g, b, self.tb, ct, true)?,
        };
        let db = match self.tb {
            false => product(g, a, !self.ta, ct, false)?,
            true => product(g, ct, true, a, self.ta)?,
        };
        Ok(vec![Some(da), Some(db)])
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("matmul", "jvp", self.terms, self.bias)?;
        let left = dx[0].map(|da| product(g, da, self.ta, at.x[1], self.tb)).transpose()?;
        let right = dx[1].map(|db| product(g, at.x[0], self.ta, db, self.tb)).transpose()?;
        Ok(vec![crate::ops::pointwise::add::sum_terms(g, left, right)?])
    }
}

fn product(g: &mut Graph, a: Var, ta: bool, b: Var, tb: bool) -> Result<Var> {
    g.apply(Matmul { ta, tb, terms: 1, bias: false }, &[a, b])
}

impl Graph {
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
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn matmul(&mut self, a: Var, b: Var) -> Result<Var> {
        self.matmul_as(a, false, b, false)
    }

    /// `y = x w + b`, the dense layer: `x` `[…, k]`, `w` `[k, n]`, `b` `[n]`; one dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn linear(&mut self, x: Var, w: Var, b: Var) -> Result<Var> {
        let shape = self.shape(x).to_vec();
        let (Some((&k, rows)), [w_k, n]) = (shape.split_last(), self.shape(w)) else {
            return Err(shape_error("linear", "[…, k] [k, n] [n]", &[self.ty(x), self.ty(w), self.ty(b)]));
        };
        let (w_k, n) = (*w_k, *n);
        let x = self.reshape(x, &[1, shape::count(rows), k])?;
        let w = self.reshape(w, &[1, w_k, n])?;
        let y = product(self, x, false, w, false)?;
        let y = self.add(y, b)?;
        self.reshape(y, &[rows, &[n]].concat())
    }

    /// [`Graph::matmul`] of factors that may be stored transposed in their last two axes, which costs nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn matmul_as(&mut self, a: Var, ta: bool, b: Var, tb: bool) -> Result<Var> {
        let (left, right) = (self.shape(a).to_vec(), self.shape(b).to_vec());
        let (lead, shared) = (left.len().saturating_sub(2), right.len() == 2);
        if left.len() < 2 || right.len() < 2 || !(shared || left[..lead] == right[..lead]) {
            let types = [self.ty(a), self.ty(b)];
            return Err(shape_error("matmul", "[…, m, k] […, k, n] or […, m, k] [k, n]", &types));
        }
        // One factor for all batches: they are more rows of one product.
        let flat = shared && !ta;
        let batches = if flat { 1 } else { shape::count(&left[..lead]) };
        let rows = if flat { shape::count(&left[..lead + 1]) } else { left[lead] };
        let a = self.reshape(a, &[batches, rows, left[lead + 1]])?;
        let b = match shared {
            true => {
                let b = self.reshape(b, &[1, right[0], right[1]])?;
                self.broadcast(b, &[batches, right[0], right[1]])?
            }
            false => self.reshape(b, &[batches, right[lead], right[lead + 1]])?,
        };
        let y = product(self, a, ta, b, tb)?;
        let m = if ta { left[lead + 1] } else { left[lead] };
        let n = self.shape(y)[2];
        self.reshape(y, &[&left[..lead], &[m, n]].concat())
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let odd = [[1, 1, 1, 1], [1, 65, 33, 17], [3, 7, 67, 5], [1, 5, 3, 2053], [2, 70, 9, 1]];
    let fours = [[1, 13, 130, 64], [2, 20, 36, 1028], [2, 44, 20, 24], [3, 36, 19, 8], [2, 44, 21, 24]];
    for [batches, m, n, k] in odd.into_iter().chain(fours) {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = if ta { [batches, k, m] } else { [batches, m, k] };
            let b = if tb { [batches, n, k] } else { [batches, k, n] };
            let build = move |g: &mut Graph, x: &[Var]| Ok(vec![g.matmul_as(x[0], ta, x[1], tb)?]);
            all.push(Case::new(format!("matmul {a:?} {b:?} {ta} {tb}"), vec![unit(&a), unit(&b)], build));
        }
    }
    let x = vec![unit(&[3, 5, 7]), unit(&[7, 9])];
    all.push(Case::new("matmul one right factor", x, |g, x| Ok(vec![g.matmul(x[0], x[1])?])));
    // Short sums, and long ones, which are split.
    for [batches, m, n, k] in [[2, 67, 35, 19], [1, 26, 36, 1028]] {
        for (terms, bias) in [(2, false), (1, true), (2, true)] {
            let mut x = Vec::new();
            for _ in 0..terms {
                x.extend([unit(&[batches, m, k]), unit(&[batches, k, n])]);
            }
            x.extend(bias.then(|| unit(&[n])));
            let build = move |g: &mut Graph, x: &[Var]| g.apply_all(Matmul { ta: false, tb: false, terms, bias }, x);
            all.push(Case::new(format!("matmul [{m}, {k}, {n}], {terms} terms, bias {bias}"), x, build).order(0));
        }
    }
    all
}

/// Its timed cases: all transposes, sizes off the tile, few rows, few columns, columns without fours, a long sum, batches; and
/// one for GPUs.
pub(crate) fn timed() -> Vec<Case> {
    let all = [(false, false), (true, false), (false, true), (true, true)];
    let plain = [
        [1, 385, 515, 513],
        [1, 8, 1024, 1031],
        [1, 4099, 10, 256],
        [1, 2048, 65, 128],
        [20, 130, 65, 67],
        [1, 4096, 4096, 4096],
    ];
    let square = all.map(|transposed| ([1, 512, 512, 512], transposed));
    let plain = plain.map(|extents| (extents, (false, false)));
    let case = |([batches, m, n, k], (ta, tb)): ([usize; 4], (bool, bool))| {
        let a = if ta { [batches, k, m] } else { [batches, m, k] };
        let b = if tb { [batches, n, k] } else { [batches, k, n] };
        let mark = |t: bool| if t { "ᵀ" } else { "" };
        let what = format!("{a:?}{} {b:?}{}", mark(ta), mark(tb));
        let build = move |g: &mut Graph, x: &[Var]| Ok(vec![g.matmul_as(x[0], ta, x[1], tb)?]);
        // Rounding grows with the length of sums.
        Case::new(what, vec![unit(&a), unit(&b)], build).tolerance(match k {
            ..500 => 1e-6,
            500..4000 => 3e-6,
            _ => 1e-5,
        })
    };
    square.into_iter().chain(plain).chain([([1, 259, 257, 4099], (true, false))]).map(case).collect()
}

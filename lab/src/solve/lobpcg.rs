//! LOBPCG: the largest eigenvalues by a locally optimal block method that starts where it last stopped.

use hillshade_engine::{Scope, Session};
use nalgebra::{DMatrix, SymmetricEigen};

use crate::solve::{eigen::*, krylov::eigen};
use crate::{error::*, operator::*};

/// LOBPCG (Knyazev 2001) for the largest eigenvalues. It keeps its vectors, so that the eigenvalues of an operator that has
/// changed a little take few products: one for each vector to begin with, and one for each in every iteration, as the
/// products of old directions are combined rather than computed again.
#[derive(Debug)]
pub struct Lobpcg {
    vectors: Vectors,
    count: usize,
    seed: u64,
    /// Where its vectors are, from the first search on.
    scope: Option<Scope>,
}

impl Lobpcg {
    /// For `count` eigenvalues of operators on vectors of length `n`, which take `count` directions at once.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when a third of the space does not hold them.
    pub fn new(n: usize, count: usize, seed: u64) -> Result<Self> {
        refuse!(count == 0 || 3 * count > n, "eigenvalues", format!("1 to {}, a third of the space", n / 3), count);
        Ok(Lobpcg { vectors: Vectors::new(n), count, seed, scope: None })
    }

    /// The eigenvalues of `a`, from the vectors of the last search, or from random ones the first time.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for an operator on vectors of another length.
    pub fn run(&mut self, session: &mut Session, a: &mut dyn Operator, search: Search) -> Result<Eigen> {
        let (n, k) = (self.vectors.len(), self.count);
        refuse!(a.dimension() != n, "operator", format!("one on vectors of {n}"), a.dimension());
        let scope = self.scope.get_or_insert_with(|| session.scope());
        let (vectors, cold) = (&mut self.vectors, session.shape_of(&scope.name("x")).is_none());
        let names = vectors.blocks(session, scope, ["x", "r", "p", "ax", "ar", "ap", "best"], k)?;
        let [x, r, p, ax, ar, ap, kept] = names.each_ref().map(String::as_str);
        if cold {
            vectors.draw(session, x, Probe::Gaussian, self.seed, 0)?;
        }
        vectors.orthonormalize(session, x, None)?;
        apply_rows(session, a, vectors, (x, ax), k)?;
        let mut products = k as u64;
        let mut with_p = false;
        let mut best: Option<Vec<Value>> = None;
        loop {
            // Rayleigh-Ritz on X alone: values, and residuals A X − X θ.
            let (theta, rotation) = descending(&vectors.inner(session, x, ax)?);
            for block in [x, ax] {
                vectors.combine(session, block, false, &rotation.transpose(), block)?;
            }
            vectors.scale(session, r, false, 1.0, ax)?;
            vectors.combine(session, r, true, &-DMatrix::from_diagonal(&theta.clone().into()), x)?;
            let squares = vectors.inner(session, r, r)?;
            let value = |i: usize| {
                let residual = squares[(i, i)].max(0.0).sqrt();
                let converged = residual <= search.tolerance * theta[i].abs().max(1e-12);
                Value { value: theta[i], residual, converged }
            };
            let values: Vec<Value> = (0..k).map(value).collect();
            let done = values.iter().all(|v| v.converged) || products + k as u64 > search.products;
            let worst = |v: &[Value]| v.iter().map(|v| v.residual / v.value.abs().max(1e-12)).fold(0.0, f64::max);
            if best.as_ref().is_none_or(|b| worst(&values) < worst(b)) {
                best = Some(values);
                vectors.scale(session, kept, false, 1.0, x)?;
            }
            if done {
                break;
            }
            // New directions: residuals, clear of X and P and of each other.
            vectors.orthonormalize(session, r, Some((x, k)))?;
            apply_rows(session, a, vectors, (r, ar), k)?;
            products += k as u64;
            let used = &[(x, ax), (r, ar), (p, ap)][..if with_p { 3 } else { 2 }];
            let size = used.len() * k;
            let (mut gram, mut h) = (DMatrix::zeros(size, size), DMatrix::zeros(size, size));
            for (i, (u, _)) in used.iter().enumerate() {
                for (j, (v, av)) in used.iter().enumerate() {
                    for (matrix, right) in [(&mut gram, v), (&mut h, av)] {
                        matrix.view_mut((i * k, j * k), (k, k)).copy_from(&vectors.inner(session, u, right)?);
                    }
                }
            }
            let c = largest(&gram, &h, k);
            let pick = |block: usize| c.rows(block * k, k).transpose();
            // P: the part of the new X outside the old; then X, each with its products.
            for (own, residual, momentum) in [(x, r, p), (ax, ar, ap)] {
                if with_p {
                    vectors.combine(session, momentum, false, &pick(2), momentum)?;
                }
                vectors.combine(session, momentum, with_p, &pick(1), residual)?;
                vectors.combine(session, own, false, &pick(0), own)?;
                vectors.scale(session, own, true, 1.0, momentum)?;
            }
            with_p = true;
            // Rounding: X orthonormal again, its products with it.
            let root = inverse_root(&vectors.inner(session, x, x)?);
            for block in [x, ax] {
                vectors.combine(session, block, false, &root, block)?;
            }
        }
        // By a program of its own: other searches leave blocks of other heights under this name.
        let mut last = Vectors::new(n);
        last.reserve(session, &found(n), k)?;
        last.scale(session, &found(n), false, 1.0, kept)?;
        let orthogonality = vectors.orthogonality(session, x, k)?;
        let (top, bottom, setting) = (best.unwrap_or_default(), Vec::new(), measured(session, a));
        Ok(Eigen { top, bottom, products, orthogonality, seed: self.seed, setting })
    }
}

/// Eigenvalues of a symmetric matrix, descending, with vectors as columns.
fn descending(h: &DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    eigen(0.5 * (h + h.transpose()), |a, b| b.total_cmp(a))
}

/// `g^(−1/2)`.
fn inverse_root(g: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = SymmetricEigen::new(0.5 * (g + g.transpose()));
    let scale = eigen.eigenvalues.map(|v| v.max(1e-30).sqrt().recip());
    &eigen.eigenvectors * DMatrix::from_diagonal(&scale) * eigen.eigenvectors.transpose()
}

/// Coefficients of the `k` largest eigenvectors of `H c = λ G c`, with `cᵀ G c = I`; directions that the others span are
/// left out (Stathopoulos and Wu 2002).
fn largest(gram: &DMatrix<f64>, h: &DMatrix<f64>, k: usize) -> DMatrix<f64> {
    let size = gram.nrows();
    let scale = DMatrix::from_fn(size, size, |i, j| if i == j { gram[(i, i)].max(1e-30).sqrt().recip() } else { 0.0 });
    let scaled = &scale * (0.5 * (gram + gram.transpose())) * &scale;
    let eigen = SymmetricEigen::new(scaled);
    let most = eigen.eigenvalues.amax();
    let kept: Vec<usize> = (0..size).filter(|&i| eigen.eigenvalues[i] > 1e-7 * most).collect();
    let white =
        DMatrix::from_fn(size, kept.len(), |i, j| eigen.eigenvectors[(i, kept[j])] / eigen.eigenvalues[kept[j]].sqrt());
    let white = &scale * white;
    let (_, rotation) = descending(&(white.transpose() * (0.5 * (h + h.transpose())) * &white));
    let width = rotation.ncols().min(k);
    let mut c = DMatrix::zeros(size, k);
    c.columns_mut(0, width).copy_from(&(&white * rotation.columns(0, width)));
    c
}

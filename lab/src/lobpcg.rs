//! The largest eigenvalues by a locally optimal block method that starts where it last stopped.

use hillshade_engine::Session;
use nalgebra::{DMatrix, SymmetricEigen};

use crate::{
    Operator, Probe, Result, Setting, Vectors,
    eigen::{Eigen, Search, Value, found},
    error::argument,
    slot::Slot,
};

/// LOBPCG (Knyazev 2001) for the largest eigenvalues. It keeps its vectors, so that the eigenvalues of an operator that has
/// changed a little take few products: one for each vector to begin with, and one for each in every iteration, as the
/// products of old directions are combined rather than computed again.
#[derive(Debug)]
pub struct Lobpcg {
    vectors: Vectors,
    count: usize,
    warm: bool,
    seed: u64,
    slot: Slot,
}

/// The three blocks of a search and their products.
const BLOCKS: [&str; 3] = ["x", "r", "p"];

impl Lobpcg {
    /// For `count` eigenvalues of operators on vectors of length `n`, which take `count` directions at once.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) when a third of the space does not hold them.
    pub fn new(n: usize, count: usize, seed: u64) -> Result<Self> {
        if count == 0 || 3 * count > n {
            return Err(argument("eigenvalues", format!("1 to {}, a third of the space", n / 3), count));
        }
        Ok(Lobpcg { vectors: Vectors::new(n), count, warm: false, seed, slot: Slot::take() })
    }

    fn name(&self, block: &str) -> String {
        self.slot.name(block)
    }

    fn apply(&mut self, session: &mut Session, a: &mut dyn Operator, from: &str, to: &str) -> Result<()> {
        let (k, width) = (self.count, a.width());
        let mut done = 0;
        while done < k {
            let w = width.min(k - done);
            let (x, y) = self.vectors.ports(session, w)?;
            self.vectors.take(session, &x, from, &(done..done + w).collect::<Vec<_>>())?;
            a.apply(session, w)?;
            self.vectors.write(session, to, done, &y)?;
            done += w;
        }
        Ok(())
    }

    /// The eigenvalues of `a`, from the vectors of the last search, or from random ones the first time.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for an operator on vectors of another length, and the engine's.
    pub fn run(&mut self, session: &mut Session, a: &mut dyn Operator, search: Search) -> Result<Eigen> {
        let (n, k) = (self.vectors.len(), self.count);
        if a.dimension() != n {
            return Err(argument("operator", format!("one on vectors of {n}"), a.dimension()));
        }
        let [x, r, p] = BLOCKS.map(|b| self.name(b));
        let [ax, ar, ap] = BLOCKS.map(|b| self.name(&format!("a{b}")));
        let kept = self.name("best");
        for name in [&x, &r, &p, &ax, &ar, &ap, &kept] {
            self.vectors.reserve(session, name, k)?;
        }
        if !self.warm {
            self.vectors.draw(session, &x, Probe::Gaussian, self.seed, 0)?;
        }
        self.warm = true;
        self.vectors.orthonormalize(session, &x, None)?;
        self.apply(session, a, &x.clone(), &ax.clone())?;
        let mut products = k as u64;
        let mut with_p = false;
        let mut best: Option<Vec<Value>> = None;
        loop {
            // Rayleigh-Ritz on X alone: values, and residuals A X − X θ.
            let h = self.vectors.inner(session, &x, &ax)?;
            let (theta, rotation) = descending(&h);
            self.vectors.combine(session, &x, false, &rotation.transpose(), &x)?;
            self.vectors.combine(session, &ax, false, &rotation.transpose(), &ax)?;
            self.vectors.scale(session, &r, false, 1.0, &ax)?;
            self.vectors.combine(session, &r, true, &-DMatrix::from_diagonal(&theta.clone().into()), &x)?;
            let squares = self.vectors.inner(session, &r, &r)?;
            let values: Vec<Value> = (0..k)
                .map(|i| {
                    let residual = squares[(i, i)].max(0.0).sqrt();
                    let converged = residual <= search.tolerance * theta[i].abs().max(1e-12);
                    Value { value: theta[i], residual, converged }
                })
                .collect();
            let worst = |v: &[Value]| v.iter().map(|v| v.residual / v.value.abs().max(1e-12)).fold(0.0, f64::max);
            let improved = best.as_ref().is_none_or(|b| worst(&values) < worst(b));
            if improved {
                best = Some(values.clone());
                self.vectors.scale(session, &kept, false, 1.0, &x)?;
            }
            if values.iter().all(|v| v.converged) || products + k as u64 > search.products {
                break;
            }
            // New directions: residuals, clear of X and P and of each other.
            let (_, _) = self.vectors.orthonormalize(session, &r, Some((&x, k)))?;
            self.apply(session, a, &r.clone(), &ar.clone())?;
            products += k as u64;
            let used: &[(&str, &str)] =
                if with_p { &[(&x, &ax), (&r, &ar), (&p, &ap)] } else { &[(&x, &ax), (&r, &ar)] };
            let size = used.len() * k;
            let (mut gram, mut h) = (DMatrix::zeros(size, size), DMatrix::zeros(size, size));
            for (i, (u, _)) in used.iter().enumerate() {
                for (j, (v, av)) in used.iter().enumerate() {
                    gram.view_mut((i * k, j * k), (k, k)).copy_from(&self.vectors.inner(session, u, v)?);
                    h.view_mut((i * k, j * k), (k, k)).copy_from(&self.vectors.inner(session, u, av)?);
                }
            }
            let c = largest(&gram, &h, k);
            let pick = |block: usize| c.rows(block * k, k).transpose();
            // P: the part of the new X outside the old; then X, each with its products.
            let sources = [(&x, &r, &p), (&ax, &ar, &ap)];
            for (own, residual, momentum) in sources {
                if with_p {
                    self.vectors.combine(session, momentum, false, &pick(2), momentum)?;
                    self.vectors.combine(session, momentum, true, &pick(1), residual)?;
                } else {
                    self.vectors.combine(session, momentum, false, &pick(1), residual)?;
                }
                self.vectors.combine(session, own, false, &pick(0), own)?;
                self.vectors.scale(session, own, true, 1.0, momentum)?;
            }
            with_p = true;
            // Rounding: X orthonormal again, its products with it.
            let gram = self.vectors.inner(session, &x, &x)?;
            let root = inverse_root(&gram);
            self.vectors.combine(session, &x, false, &root, &x)?;
            self.vectors.combine(session, &ax, false, &root, &ax)?;
        }
        // By a program of its own: other searches leave blocks of other heights under this name.
        let mut last = Vectors::new(n);
        last.reserve(session, &found(n), k)?;
        last.scale(session, &found(n), false, 1.0, &kept)?;
        let gram = self.vectors.inner(session, &x, &x)?;
        let orthogonality = (gram - DMatrix::identity(k, k)).amax();
        let setting = Setting { adapter: session.executor(), ..a.setting() };
        Ok(Eigen { top: best.unwrap_or_default(), bottom: vec![], products, orthogonality, seed: self.seed, setting })
    }
}

/// Eigenvalues of a symmetric matrix, descending, with vectors as columns.
fn descending(h: &DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    let k = h.nrows();
    let eigen = SymmetricEigen::new(0.5 * (h + h.transpose()));
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let vectors = DMatrix::from_fn(k, k, |i, j| eigen.eigenvectors[(i, order[j])]);
    (order.iter().map(|&i| eigen.eigenvalues[i]).collect(), vectors)
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

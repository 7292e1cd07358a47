//! Block Lanczos with full re-orthogonalization, from which eigenvalues and quadratures come.

use std::cmp::Ordering;

use hillshade_engine::{Scope, Session};
use nalgebra::{DMatrix, SymmetricEigen};

use crate::{error::*, operator::*};

/// An orthonormal basis `V` on the session, and the operator restricted to it, `T = Vᵀ A V`.
///
/// Every new direction is made orthogonal to all the others twice; where nothing new is left (an invariant subspace) a
/// random direction goes on from there, so that no copy of an eigenvalue is ever made up (cf. Parlett 1998, §13).
pub(crate) struct Krylov {
    pub vectors: Vectors,
    scope: Scope,
    basis: String,
    /// The newest block, the operator's input.
    block: String,
    capacity: usize,
    width: usize,
    /// Rows of the basis whose products are known: the order of `t`.
    pub known: usize,
    /// Rows of the basis; those from `known` on are the next block.
    filled: usize,
    pub t: DMatrix<f64>,
    /// `A V = V T + next rᵀ`: how the block that comes next hangs on the last rows, `[width, width]`.
    pub rest: DMatrix<f64>,
    /// The largest |entry| of `T` so far.
    pub scale: f64,
    seed: u64,
    drawn: u32,
    /// Products with one direction.
    pub products: u64,
}

/// Eigenvalues of a symmetric matrix in an order, with vectors as columns.
pub(crate) fn eigen(h: DMatrix<f64>, order: fn(&f64, &f64) -> Ordering) -> (Vec<f64>, DMatrix<f64>) {
    let eigen = SymmetricEigen::new(h);
    let mut places: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    places.sort_by(|&a, &b| order(&eigen.eigenvalues[a], &eigen.eigenvalues[b]));
    (places.iter().map(|&i| eigen.eigenvalues[i]).collect(), eigen.eigenvectors.select_columns(&places))
}

/// Ritz values, ascending, with the bounds of their errors.
#[derive(Debug, Clone)]
pub(crate) struct Ritz {
    pub values: Vec<f64>,
    pub residuals: Vec<f64>,
    /// Eigenvectors of `T` as columns.
    pub vectors: DMatrix<f64>,
}

impl Krylov {
    /// Begins with random directions; `capacity` rows at most.
    pub fn new(
        session: &mut Session, n: usize, capacity: usize, width: usize, probe: Probe, seed: u64, first: u32,
    ) -> Result<Self> {
        let (vectors, scope) = (Vectors::new(n), session.scope());
        let (basis, block) = (scope.name("basis"), input(n, width));
        // Either less than the space by a block, so that restarts have a whole block to go on from, or all of it.
        let capacity = if capacity + width <= n { capacity } else { n.next_multiple_of(width) } + width;
        vectors.reserve(session, &basis, capacity)?;
        vectors.ports(session, width)?;
        let mut k = Krylov {
            vectors,
            scope,
            basis,
            block,
            capacity,
            width,
            known: 0,
            filled: 0,
            t: DMatrix::zeros(capacity, capacity),
            rest: DMatrix::zeros(width, width),
            scale: 0.0,
            seed,
            drawn: first,
            products: 0,
        };
        k.vectors.draw(session, &k.block, probe, seed, first)?;
        k.vectors.orthonormalize(session, &k.block, None)?;
        k.push(session)?;
        Ok(k)
    }

    fn push(&mut self, session: &mut Session) -> Result<()> {
        self.vectors.write(session, &self.basis, self.filled, &self.block)?;
        self.filled += self.width;
        Ok(())
    }

    /// Whether the basis spans the whole space: `T` has all eigenvalues.
    pub fn is_whole(&self) -> bool {
        self.known == self.vectors.len()
    }

    /// Whether another block would not fit.
    pub fn is_full(&self) -> bool {
        self.known + 2 * self.width > self.capacity || self.is_whole()
    }

    /// One step: the products of the newest block, rows `[known, known + width)`, from the operator's input; and the next block.
    pub fn step(&mut self, session: &mut Session, a: &mut dyn Operator) -> Result<()> {
        let (n, w) = (self.vectors.len(), self.width);
        let out = output(n, w);
        a.apply(session, w)?;
        self.products += w as u64;
        let (at, filled) = (self.known, self.filled);
        let (mut r, mut along) = self.vectors.orthonormalize(session, &out, Some((&self.basis, filled)))?;
        // Symmetric up to rounding: the mean of both where both are known.
        let both = along.rows(at, w) + along.rows(at, w).transpose();
        along.rows_mut(at, w).copy_from(&(0.5 * both));
        self.t.view_mut((0, at), (filled, w)).copy_from(&along);
        self.t.view_mut((at, 0), (w, filled)).copy_from(&along.transpose());
        self.known = self.filled.min(n);
        let t = self.t.view((0, 0), (self.known, self.known));
        self.scale = self.scale.max(t.iter().fold(0.0, |m: f64, v| m.max(v.abs()))).max(r.amax());
        // What is left is rounding where the operator leads nowhere new.
        let floor = 64.0 * f64::from(f32::EPSILON) * self.scale;
        for i in 0..w {
            if r[(i, i)].abs() <= floor {
                r.row_mut(i).fill(0.0);
            }
        }
        self.vectors.scale(session, &self.block, false, 1.0, &out)?;
        // Fewer than a block: the rows that the others span come out as zeros.
        let left = n - self.known;
        if (0..w).any(|i| r[(i, i)] == 0.0) && left > 0 {
            self.refresh(session, &r)?;
        }
        self.rest = if left == 0 { DMatrix::zeros(w, w) } else { r };
        // Once the space is used up what is left is no direction.
        if left > 0 && self.filled + w <= self.capacity {
            self.push(session)?;
        }
        Ok(())
    }

    /// Puts random directions, orthogonal to everything, in the place of rows that lead nowhere.
    fn refresh(&mut self, session: &mut Session, r: &DMatrix<f64>) -> Result<()> {
        let (w, spare) = (self.width, self.scope.name("spare"));
        self.vectors.reserve(session, &spare, w)?;
        self.drawn += 1 << 16;
        self.vectors.draw(session, &spare, Probe::Gaussian, self.seed, self.drawn)?;
        let pick = DMatrix::from_fn(w, w, |i, j| f64::from(u8::from(i == j && r[(i, i)] == 0.0)));
        let keep = DMatrix::identity(w, w) - &pick;
        self.vectors.combine(session, &self.block, false, &keep, &self.block)?;
        self.vectors.combine(session, &self.block, true, &pick, &spare)?;
        self.vectors.orthonormalize(session, &self.block, Some((&self.basis, self.filled)))?;
        Ok(())
    }

    /// Eigenvalues of `T`, ascending, with residuals `‖A y − θ y‖`.
    pub fn ritz(&self) -> Ritz {
        let (m, w) = (self.known, self.width);
        let (values, vectors) = eigen(self.t.view((0, 0), (m, m)).into_owned(), f64::total_cmp);
        let residuals = (&self.rest * vectors.rows(m - w, w)).column_iter().map(|c| c.norm()).collect();
        Ritz { values, residuals, vectors }
    }

    /// Restarts with some Ritz vectors, and the block that comes next (Wu and Simon 2000).
    pub fn restart(&mut self, session: &mut Session, ritz: &Ritz, keep: &[usize]) -> Result<()> {
        let (m, w, p) = (self.known, self.width, keep.len());
        let mut c = DMatrix::zeros(self.capacity, self.capacity);
        c.view_mut((0, 0), (p, m)).copy_from(&ritz.vectors.select_columns(keep).transpose());
        c.view_mut((p, m), (w, w)).fill_with_identity();
        self.vectors.combine(session, &self.basis, false, &c, &self.basis)?;
        self.t.fill(0.0);
        for (i, &column) in keep.iter().enumerate() {
            self.t[(i, i)] = ritz.values[column];
        }
        self.known = p;
        self.filled = p + w;
        Ok(())
    }

    /// Ritz vectors as a block of their own.
    pub fn extract(&mut self, session: &mut Session, to: &str, ritz: &Ritz, columns: &[usize]) -> Result<()> {
        self.vectors.reserve(session, to, columns.len())?;
        let c = ritz.vectors.select_columns(columns).transpose().resize(columns.len(), self.capacity, 0.0);
        self.vectors.combine(session, to, false, &c, &self.basis)
    }

    /// The largest |VᵀV − I| of the rows in use.
    pub fn orthogonality(&mut self, session: &mut Session) -> Result<f64> {
        self.vectors.orthogonality(session, &self.basis, self.filled.min(self.vectors.len()))
    }
}

//! Block Lanczos with full re-orthogonalization, from which eigenvalues and quadratures come.

use hillshade_engine::Session;
use nalgebra::{DMatrix, SymmetricEigen};

use crate::{Operator, Probe, Result, Vectors};

/// An orthonormal basis `V` on the session, and the operator restricted to it, `T = Vᵀ A V`.
///
/// Every new direction is made orthogonal to all the others twice; where nothing new is left (an invariant subspace) a
/// random direction goes on from there, so that no copy of an eigenvalue is ever made up (cf. Parlett 1998, §13).
pub(crate) struct Krylov {
    pub vectors: Vectors,
    basis: String,
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
        session: &mut Session,
        n: usize,
        capacity: usize,
        width: usize,
        probe: Probe,
        seed: u64,
        first: u32,
    ) -> Result<Self> {
        let vectors = Vectors::new(n);
        let (basis, block) = (format!("lab/{n}/basis"), crate::input(n, width));
        session.remove(&basis);
        // Either less than the space by a block, so that restarts have a whole block to go on from, or all of it.
        let capacity = if capacity + width <= n { capacity } else { n.next_multiple_of(width) } + width;
        vectors.reserve(session, &basis, capacity)?;
        vectors.ports(session, width)?;
        let t = DMatrix::zeros(capacity, capacity);
        let rest = DMatrix::zeros(width, width);
        let mut k = Krylov {
            vectors,
            basis,
            block,
            capacity,
            width,
            known: 0,
            filled: 0,
            t,
            rest,
            scale: 0.0,
            seed,
            drawn: first,
            products: 0,
        };
        k.vectors.draw(session, &k.block, probe, seed, first)?;
        let block = k.block.clone();
        k.vectors.orthonormalize(session, &block, None)?;
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

    /// One step: the products of the newest block, and the next block. The products with block `[known, known + width)`
    /// come from the block in the operator's input.
    pub fn step(&mut self, session: &mut Session, a: &mut dyn Operator) -> Result<()> {
        let (n, w) = (self.vectors.len(), self.width);
        let out = crate::output(n, w);
        a.apply(session, w)?;
        self.products += w as u64;
        let (mut r, along) = self.vectors.orthonormalize(session, &out, Some((&self.basis, self.filled)))?;
        let at = self.known;
        for j in 0..w {
            for i in 0..self.filled {
                // Symmetric up to rounding: the mean of both where both are known.
                let value = along[(i, j)];
                self.t[(i, at + j)] = value;
                self.t[(at + j, i)] = value;
            }
        }
        for i in 0..w {
            for j in 0..i {
                let mean = 0.5 * (along[(at + i, j)] + along[(at + j, i)]);
                self.t[(at + i, at + j)] = mean;
                self.t[(at + j, at + i)] = mean;
            }
        }
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
        self.vectors.scale(session, &self.block.clone(), false, 1.0, &out)?;
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
        let (n, w) = (self.vectors.len(), self.width);
        let spare = format!("lab/{n}/spare/{w}");
        self.vectors.reserve(session, &spare, w)?;
        self.drawn += 1 << 16;
        self.vectors.draw(session, &spare, Probe::Gaussian, self.seed, self.drawn)?;
        let pick = DMatrix::from_fn(w, w, |i, j| f64::from(u8::from(i == j && r[(i, i)] == 0.0)));
        let keep = DMatrix::from_fn(w, w, |i, j| f64::from(u8::from(i == j && r[(i, i)] != 0.0)));
        let block = self.block.clone();
        self.vectors.combine(session, &block, false, &keep, &block)?;
        self.vectors.combine(session, &block, true, &pick, &spare)?;
        self.vectors.orthonormalize(session, &block, Some((&self.basis, self.filled)))?;
        Ok(())
    }

    /// Eigenvalues of `T`, ascending, with residuals `‖A y − θ y‖`.
    pub fn ritz(&self) -> Ritz {
        let (m, w) = (self.known, self.width);
        let eigen = SymmetricEigen::new(self.t.view((0, 0), (m, m)).into_owned());
        let mut order: Vec<usize> = (0..m).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[a].total_cmp(&eigen.eigenvalues[b]));
        let vectors = DMatrix::from_fn(m, m, |i, j| eigen.eigenvectors[(i, order[j])]);
        let last = vectors.rows(m - w, w);
        let residuals = (&self.rest * last).column_iter().map(|c| c.norm()).collect();
        Ritz { values: order.iter().map(|&i| eigen.eigenvalues[i]).collect(), residuals, vectors }
    }

    /// Restarts with some Ritz vectors, and the block that comes next (Wu and Simon 2000).
    pub fn restart(&mut self, session: &mut Session, ritz: &Ritz, keep: &[usize]) -> Result<()> {
        let (m, w, p) = (self.known, self.width, keep.len());
        let mut c = DMatrix::zeros(self.capacity, self.capacity);
        for (i, &column) in keep.iter().enumerate() {
            for j in 0..m {
                c[(i, j)] = ritz.vectors[(j, column)];
            }
        }
        for i in 0..w {
            c[(p + i, m + i)] = 1.0;
        }
        let basis = self.basis.clone();
        self.vectors.combine(session, &basis, false, &c, &basis)?;
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
        let c = DMatrix::from_fn(columns.len(), self.capacity, |i, j| {
            if j < self.known { ritz.vectors[(j, columns[i])] } else { 0.0 }
        });
        let basis = self.basis.clone();
        self.vectors.combine(session, to, false, &c, &basis)
    }

    /// The largest |VᵀV − I| of the rows in use.
    pub fn orthogonality(&mut self, session: &mut Session) -> Result<f64> {
        let basis = self.basis.clone();
        let gram = self.vectors.inner(session, &basis, &basis)?;
        let m = self.filled.min(self.vectors.len());
        let off = |i: usize, j: usize| (gram[(i, j)] - f64::from(u8::from(i == j))).abs();
        Ok((0..m).flat_map(|i| (0..m).map(move |j| (i, j))).map(|(i, j)| off(i, j)).fold(0.0, f64::max))
    }
}

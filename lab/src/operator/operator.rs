//! Symmetric operators, and the algebra of operators.

use hillshade_engine::{Scope, Session, block_on};
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::{error::*, operator::vectors::*};

/// What a number was measured on: part of every result.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Setting {
    /// The operator: `hessian`, `ggn`, …
    pub operator: String,
    /// Length of its vectors.
    pub parameters: usize,
    /// The parameters' names, where not all are taken.
    pub blocks: Vec<String>,
    /// Samples of the data set.
    pub samples: usize,
    /// Samples that pass through the network at once.
    pub micro_batch: usize,
    /// Batch-norm mode: `eval`, `batch(128)`, `full`.
    pub batch_norm: String,
    /// How the samples' losses become one: `mean`.
    pub reduction: String,
    /// Weight decay in the loss, 0 for none.
    pub weight_decay: f64,
    /// Seed of the draws that the operator itself makes.
    pub seed: u64,
    /// Whether products reuse a linearization.
    pub linearized: bool,
    /// What computed.
    pub adapter: String,
}

/// A symmetric matrix of which only products with vectors are to be had.
///
/// Vectors live on a session, in blocks: [`input`] and [`output`] name the blocks through which they pass.
pub trait Operator {
    /// Length of the vectors.
    fn dimension(&self) -> usize;

    /// The most vectors at once.
    fn width(&self) -> usize {
        1
    }

    /// `out ← A in` for `k` vectors, 1 to [`Operator::width`].
    fn apply(&mut self, session: &mut Session, k: usize) -> Result<()>;

    /// What it is a matrix of.
    fn setting(&self) -> Setting;

    /// `A v` for a vector of the caller's, for outside solvers.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a vector of another length.
    fn product(&mut self, session: &mut Session, v: &[f32]) -> Result<Vec<f32>> {
        let n = self.dimension();
        refuse!(v.len() != n, "vector", format!("{n} entries"), v.len());
        let v: Vec<f64> = v.iter().map(|&v| v.into()).collect();
        Ok(narrow(&products(session, self, &[&v])?[0]))
    }
}

/// `Σ cᵢ Aᵢ + σ I`.
pub struct Combination<'a> {
    terms: Vec<(f64, Box<dyn Operator + 'a>)>,
    shift: f64,
    vectors: Vectors,
    /// Where sums are kept, from the first product on.
    scope: Option<Scope>,
}

impl<'a> Combination<'a> {
    /// `c A`.
    pub fn new(c: f64, a: impl Operator + 'a) -> Self {
        let vectors = Vectors::new(a.dimension());
        Combination { terms: vec![(c, Box::new(a))], shift: 0.0, vectors, scope: None }
    }

    /// With `c A` added.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for an operator on vectors of another length.
    pub fn plus(mut self, c: f64, a: impl Operator + 'a) -> Result<Self> {
        let n = self.dimension();
        refuse!(a.dimension() != n, "operator", format!("one on vectors of {n}"), a.dimension());
        self.terms.push((c, Box::new(a)));
        Ok(self)
    }

    /// With `σ I` added.
    pub fn shifted(self, shift: f64) -> Self {
        Combination { shift: self.shift + shift, ..self }
    }
}

impl Operator for Combination<'_> {
    fn dimension(&self) -> usize {
        self.vectors.len()
    }

    fn width(&self) -> usize {
        self.terms.iter().map(|(_, a)| a.width()).min().unwrap_or(1)
    }

    fn apply(&mut self, session: &mut Session, k: usize) -> Result<()> {
        let (x, y) = self.vectors.ports(session, k)?;
        let sum = self.scope.get_or_insert_with(|| session.scope()).name(&format!("sum/{k}"));
        self.vectors.reserve(session, &sum, k)?;
        for (i, (c, a)) in self.terms.iter_mut().enumerate() {
            a.apply(session, k)?;
            self.vectors.scale(session, &sum, i > 0, *c, &y)?;
        }
        self.vectors.scale(session, &y, false, 1.0, &sum)?;
        if self.shift != 0.0 {
            self.vectors.scale(session, &y, true, self.shift, &x)?;
        }
        Ok(())
    }

    fn setting(&self) -> Setting {
        let terms = self.terms.iter().map(|(c, a)| format!("{c} {}", a.setting().operator));
        let shift = (self.shift != 0.0).then(|| format!("{} I", self.shift));
        let operator = terms.chain(shift).collect::<Vec<_>>().join(" + ");
        Setting { operator, ..self.terms[0].1.setting() }
    }
}

/// `g gᵀ`, for a vector on the session.
#[derive(Debug)]
pub struct Outer {
    name: String,
    vectors: Vectors,
}

impl Outer {
    /// Of a block `[1, n]`.
    pub fn new(name: &str, n: usize) -> Self {
        Outer { name: name.into(), vectors: Vectors::new(n) }
    }
}

impl Operator for Outer {
    fn dimension(&self) -> usize {
        self.vectors.len()
    }

    fn width(&self) -> usize {
        16
    }

    fn apply(&mut self, session: &mut Session, k: usize) -> Result<()> {
        let (x, y) = self.vectors.ports(session, k)?;
        let c = self.vectors.inner(session, &x, &self.name)?;
        self.vectors.combine(session, &y, false, &c, &self.name)
    }

    fn setting(&self) -> Setting {
        Setting { operator: "g gᵀ".into(), parameters: self.dimension(), ..Setting::default() }
    }
}

/// A symmetric matrix that is written out.
#[derive(Debug)]
pub struct Dense {
    data: Vec<f32>,
    vectors: Vectors,
}

impl Dense {
    /// # Errors
    ///
    /// [`Error::Argument`] for a matrix that is not square.
    pub fn new(a: &DMatrix<f64>) -> Result<Self> {
        let (rows, columns) = a.shape();
        refuse!(rows != columns, "matrix", "as many rows as columns", format!("{rows} by {columns}"));
        Ok(Dense { data: narrow(a.transpose().as_slice()), vectors: Vectors::new(rows) })
    }
}

impl Operator for Dense {
    fn dimension(&self) -> usize {
        self.vectors.len()
    }

    fn width(&self) -> usize {
        16
    }

    fn apply(&mut self, session: &mut Session, k: usize) -> Result<()> {
        let (n, (x, y)) = (self.dimension(), self.vectors.ports(session, k)?);
        self.vectors.update(session, (format!("matrix {k}"), &y), &[], |g, _| {
            g.state(&x, &[k, n]).matmul(g.literal(&[n, n], &self.data))
        })
    }

    fn setting(&self) -> Setting {
        Setting { operator: "matrix".into(), parameters: self.dimension(), ..Setting::default() }
    }
}

/// What is measured of an operator on this session.
pub(crate) fn measured(session: &Session, a: &dyn Operator) -> Setting {
    Setting { adapter: session.executor(), ..a.setting() }
}

/// The whole matrix, by `n` products: for small `n`.
pub fn dense(session: &mut Session, a: &mut dyn Operator) -> Result<DMatrix<f64>> {
    let n = a.dimension();
    let mut columns = DMatrix::zeros(n, n);
    for j in 0..n {
        let e: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i == j))).collect();
        columns.set_column(j, &DVector::from_vec(products(session, a, &[&e])?.remove(0)));
    }
    Ok(columns)
}

/// Products with directions, as many at once as the operator takes; as wide as the executor computes.
pub(crate) fn products(session: &mut Session, a: &mut (impl Operator + ?Sized), v: &[&[f64]]) -> Result<Vec<Vec<f64>>> {
    let (n, mut all) = (a.dimension(), Vec::new());
    for chunk in v.chunks(a.width().max(1)) {
        let (x, y) = Vectors::new(n).ports(session, chunk.len())?;
        session.set(&x, &[chunk.len(), n], &narrow(&chunk.concat()))?;
        a.apply(session, chunk.len())?;
        all.extend(block_on(session.get_wide(&y))?.chunks(n).map(<[f64]>::to_vec));
    }
    Ok(all)
}

/// `to ← A from` for the first rows of two blocks, as many at once as the operator takes.
pub(crate) fn apply_rows(
    session: &mut Session, a: &mut dyn Operator, vectors: &mut Vectors, (from, to): (&str, &str), rows: usize,
) -> Result<()> {
    for done in (0..rows).step_by(a.width().max(1)) {
        let k = a.width().max(1).min(rows - done);
        let (x, y) = vectors.ports(session, k)?;
        vectors.take(session, &x, from, &(done..done + k).collect::<Vec<_>>())?;
        a.apply(session, k)?;
        vectors.write(session, to, done, &y)?;
    }
    Ok(())
}

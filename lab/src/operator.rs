//! Symmetric operators, and the algebra of operators.

use hillshade_engine::{Data, Graph, Program, Session, Var, block_on};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::{
    Result, Vectors,
    error::argument,
    vectors::{input, output},
};

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
    ///
    /// # Errors
    ///
    /// The engine's.
    fn apply(&mut self, session: &mut Session, k: usize) -> Result<()>;

    /// What it is a matrix of.
    fn setting(&self) -> Setting;

    /// How deep combinations are nested in it: a sum of sums needs a place for each.
    fn depth(&self) -> usize {
        0
    }

    /// `A v` for a vector of the caller's, for outside solvers.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for a vector of another length, and the engine's.
    fn product(&mut self, session: &mut Session, v: &[f32]) -> Result<Vec<f32>> {
        let n = self.dimension();
        if v.len() != n {
            return Err(argument("vector", format!("{n} entries"), v.len()));
        }
        Vectors::new(n).ports(session, 1)?;
        session.set(&input(n, 1), &[1, n], v)?;
        self.apply(session, 1)?;
        Ok(block_on(session.get(&output(n, 1)))?)
    }
}

/// `Σ cᵢ Aᵢ + σ I`.
pub struct Combination<'a> {
    terms: Vec<(f64, Box<dyn Operator + 'a>)>,
    shift: f64,
    vectors: Vectors,
}

impl<'a> Combination<'a> {
    /// `c A`.
    pub fn new(c: f64, a: impl Operator + 'a) -> Self {
        let vectors = Vectors::new(a.dimension());
        Combination { terms: vec![(c, Box::new(a))], shift: 0.0, vectors }
    }

    /// With `c A` added.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for an operator on vectors of another length.
    pub fn plus(mut self, c: f64, a: impl Operator + 'a) -> Result<Self> {
        if a.dimension() != self.dimension() {
            return Err(argument("operator", format!("one on vectors of {}", self.dimension()), a.dimension()));
        }
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
        let sum = format!("lab/{}/sum/{}/{k}", self.vectors.len(), self.depth());
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

    fn depth(&self) -> usize {
        1 + self.terms.iter().map(|(_, a)| a.depth()).max().unwrap_or(0)
    }

    fn setting(&self) -> Setting {
        let mut setting = self.terms[0].1.setting();
        let mut name = self.terms.iter().map(|(c, a)| format!("{c} {}", a.setting().operator)).collect::<Vec<_>>();
        if self.shift != 0.0 {
            name.push(format!("{} I", self.shift));
        }
        setting.operator = name.join(" + ");
        setting
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
    n: usize,
    data: Vec<f32>,
    programs: Vec<(usize, Program)>,
}

impl Dense {
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for a matrix that is not square.
    pub fn new(a: &DMatrix<f64>) -> Result<Self> {
        if a.nrows() != a.ncols() {
            return Err(argument("matrix", "as many rows as columns", format!("{} by {}", a.nrows(), a.ncols())));
        }
        let data = a.transpose().iter().map(|&v| v as f32).collect();
        Ok(Dense { n: a.nrows(), data, programs: Vec::new() })
    }
}

impl Operator for Dense {
    fn dimension(&self) -> usize {
        self.n
    }

    fn width(&self) -> usize {
        16
    }

    fn apply(&mut self, session: &mut Session, k: usize) -> Result<()> {
        let n = self.n;
        let (x, y) = Vectors::new(n).ports(session, k)?;
        if !self.programs.iter().any(|(own, _)| *own == k) {
            let mut g = Graph::new();
            let (from, to) = (g.state(&x, &[k, n])?, g.state(&y, &[k, n])?);
            let a = g.literal(&[n, n], &self.data)?;
            let product = g.matmul(from, a)?;
            g.assign(to, product)?;
            self.programs.push((k, session.compile(&g, &[])?));
        }
        let none: [(&str, Data); 0] = [];
        match self.programs.iter_mut().find(|(own, _)| *own == k) {
            Some((_, program)) => Ok(program.run(session, &none)?),
            None => Ok(()),
        }
    }

    fn setting(&self) -> Setting {
        Setting { operator: "matrix".into(), parameters: self.n, ..Setting::default() }
    }
}

/// The whole matrix, by `n` products: for small `n`.
///
/// # Errors
///
/// The engine's.
pub fn dense(session: &mut Session, a: &mut dyn Operator) -> Result<DMatrix<f64>> {
    let n = a.dimension();
    let (x, y) = Vectors::new(n).ports(session, 1)?;
    let mut columns = DMatrix::zeros(n, n);
    for j in 0..n {
        let e: Vec<f32> = (0..n).map(|i| if i == j { 1.0 } else { 0.0 }).collect();
        session.set(&x, &[1, n], &e)?;
        a.apply(session, 1)?;
        columns.set_column(j, &nalgebra::DVector::from_vec(block_on(session.get_wide(&y))?));
    }
    Ok(columns)
}

/// A leaf of a graph by its name.
pub(crate) fn state_named(g: &Graph, name: &str) -> Option<Var> {
    let is = |s: &hillshade_engine::Source| matches!(s, hillshade_engine::Source::State(n) if n == name);
    g.nodes().iter().find(|n| is(&n.source)).map(|n| n.y[0])
}

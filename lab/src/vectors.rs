//! Vectors on a session: blocks of rows under names, and the algebra that estimators do with them.

use std::collections::{HashMap, hash_map::Entry};

use hillshade_engine::{Data, Graph, Program, Session, Type, Var};
use nalgebra::DMatrix;

use crate::Result;

/// How random vectors are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// ±1, each as likely.
    #[default]
    Rademacher,
    /// Standard normal.
    Gaussian,
}

/// The algebra of vectors of one length `n`. A block is a state `[k, n]` of the session: `k` vectors.
///
/// Inner products come from partial sums of fixed stretches, added up in f64; coefficients are f64 as far as the
/// executor goes.
#[derive(Debug)]
pub struct Vectors {
    n: usize,
    programs: HashMap<String, (Program, Vec<Var>)>,
}

/// The block from which operators take `k` vectors of length `n`.
pub fn input(n: usize, k: usize) -> String {
    format!("lab/{n}/in/{k}")
}

/// The block to which operators write their products.
pub fn output(n: usize, k: usize) -> String {
    format!("lab/{n}/out/{k}")
}

/// As two f32 whose sum is the number, to 48 bits.
fn halves(c: &[f64]) -> (Vec<f32>, Vec<f32>) {
    c.iter().map(|&c| (c as f32, (c - f64::from(c as f32)) as f32)).unzip()
}

impl Vectors {
    /// The algebra of vectors of length `n`.
    pub fn new(n: usize) -> Self {
        Vectors { n, programs: HashMap::new() }
    }

    /// Length of the vectors.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether the vectors have no entries.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Makes a block of `k` vectors, zeros where it is new.
    ///
    /// # Errors
    ///
    /// The device's.
    pub fn reserve(&self, session: &mut Session, name: &str, k: usize) -> Result<()> {
        Ok(session.reserve(name, &Type::f32([k, self.n]))?)
    }

    /// Makes the blocks through which an operator takes and gives `k` vectors; returns their names.
    ///
    /// # Errors
    ///
    /// The device's.
    pub fn ports(&self, session: &mut Session, k: usize) -> Result<(String, String)> {
        let (x, y) = (input(self.n, k), output(self.n, k));
        self.reserve(session, &x, k)?;
        self.reserve(session, &y, k)?;
        Ok((x, y))
    }

    fn height(session: &Session, name: &str) -> usize {
        session.shape_of(name).map_or(1, |s| s[0])
    }

    /// Runs the program of this key, which is built when it is first asked for.
    fn run(
        &mut self,
        session: &mut Session,
        key: String,
        feeds: &[(&str, Data)],
        build: impl FnOnce(&mut Graph) -> Result<Vec<Var>>,
    ) -> Result<()> {
        let (program, _) = match self.programs.entry(key) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => {
                let mut g = Graph::new();
                let outputs = build(&mut g)?;
                e.insert((session.compile(&g, &outputs)?, outputs))
            }
        };
        Ok(program.run(session, feeds)?)
    }

    /// `⟨aᵢ, bⱼ⟩` for all rows of two blocks.
    ///
    /// # Errors
    ///
    /// The engine's, when a block is not there.
    pub fn inner(&mut self, session: &mut Session, a: &str, b: &str) -> Result<DMatrix<f64>> {
        let (n, m, k) = (self.n, Self::height(session, a), Self::height(session, b));
        let key = format!("inner {a} {m} {b} {k}");
        self.run(session, key.clone(), &[], |g| {
            let left = g.state(a, &[m, n])?;
            let right = if a == b { left } else { g.state(b, &[k, n])? };
            Ok(vec![g.inner_products(left, right)?])
        })?;
        let (program, outputs) = &self.programs[&key];
        let sums = hillshade_engine::block_on(program.read_wide(session, outputs[0]))?;
        let chunks = sums.len() / (m * k);
        Ok(DMatrix::from_fn(m, k, |i, j| sums[(i * k + j) * chunks..][..chunks].iter().sum()))
    }

    /// `toᵢ ← Σⱼ cᵢⱼ xⱼ`, or `toᵢ ← toᵢ + Σⱼ cᵢⱼ xⱼ` where `add` says so.
    ///
    /// # Errors
    ///
    /// The engine's, when a block is not there or the matrix does not have its heights.
    pub fn combine(&mut self, session: &mut Session, to: &str, add: bool, c: &DMatrix<f64>, x: &str) -> Result<()> {
        let (n, k, m) = (self.n, Self::height(session, to), Self::height(session, x));
        if c.shape() != (k, m) {
            return Err(crate::error::argument("coefficients", format!("{k} by {m}"), format!("{:?}", c.shape())));
        }
        let (high, low) = halves(c.transpose().as_slice());
        let feeds = [("high", Data::F32(&high)), ("low", Data::F32(&low))];
        self.run(session, format!("combine {to} {k} {add} {x} {m}"), &feeds, |g| {
            let old = g.state(to, &[k, n])?;
            let from = if x == to { old } else { g.state(x, &[m, n])? };
            let (high, low) = (g.input("high", &[k, m])?, g.input("low", &[k, m])?);
            let c = g.add(high, low)?;
            let mut sum = g.matmul(c, from)?;
            if add {
                sum = g.add(old, sum)?;
            }
            g.assign(old, sum)?;
            Ok(Vec::new())
        })
    }

    /// `to ← c x`, or `to ← to + c x` where `add` says so.
    ///
    /// # Errors
    ///
    /// The engine's, when a block is not there or the heights differ.
    pub fn scale(&mut self, session: &mut Session, to: &str, add: bool, c: f64, x: &str) -> Result<()> {
        let (n, k) = (self.n, Self::height(session, to));
        let (high, low) = halves(&[c]);
        let feeds = [("high", Data::F32(&high)), ("low", Data::F32(&low))];
        self.run(session, format!("scale {to} {k} {add} {x}"), &feeds, |g| {
            let old = g.state(to, &[k, n])?;
            let from = if x == to { old } else { g.state(x, &[k, n])? };
            let (high, low) = (g.input("high", &[1])?, g.input("low", &[1])?);
            let c = g.add(high, low)?;
            let mut new = g.mul(from, c)?;
            if add {
                new = g.add(old, new)?;
            }
            g.assign(old, new)?;
            Ok(Vec::new())
        })
    }

    /// Writes a block over the rows of a larger one, from row `at` on.
    ///
    /// # Errors
    ///
    /// The engine's, when a block is not there.
    pub fn write(&mut self, session: &mut Session, to: &str, at: usize, from: &str) -> Result<()> {
        let (n, m, k) = (self.n, Self::height(session, to), Self::height(session, from));
        let at = [at as u32];
        self.run(session, format!("write {to} {m} {from} {k}"), &[("at", Data::U32(&at))], |g| {
            let (old, rows) = (g.state(to, &[m, n])?, g.state(from, &[k, n])?);
            let at = g.input_u32("at", &[1])?;
            let new = g.write_rows(old, at, rows)?;
            g.assign(old, new)?;
            Ok(Vec::new())
        })
    }

    /// Takes rows of a block, by their numbers, as another block.
    ///
    /// # Errors
    ///
    /// The engine's, when a block is not there.
    pub fn take(&mut self, session: &mut Session, to: &str, from: &str, rows: &[usize]) -> Result<()> {
        let (n, m, k) = (self.n, Self::height(session, from), rows.len());
        let rows: Vec<u32> = rows.iter().map(|&r| r as u32).collect();
        self.run(session, format!("take {to} {k} {from} {m}"), &[("rows", Data::U32(&rows))], |g| {
            let (new, all) = (g.state(to, &[k, n])?, g.state(from, &[m, n])?);
            let rows = g.input_u32("rows", &[k])?;
            let taken = g.gather(all, rows)?;
            g.assign(new, taken)?;
            Ok(Vec::new())
        })
    }

    /// Fills a block with random numbers of draw `index`: the same for one seed on every executor.
    ///
    /// # Errors
    ///
    /// The engine's, when the block is not there.
    pub fn draw(&mut self, session: &mut Session, to: &str, probe: Probe, seed: u64, index: u32) -> Result<()> {
        let (n, k) = (self.n, Self::height(session, to));
        let words = [seed as u32, (seed >> 32) as u32, index];
        self.run(session, format!("draw {to} {k} {probe:?}"), &[("seed", Data::U32(&words))], |g| {
            let (new, seed) = (g.state(to, &[k, n])?, g.input_u32("seed", &[3])?);
            let drawn = match probe {
                Probe::Gaussian => g.normal(seed, STREAM, &[k, n])?,
                Probe::Rademacher => {
                    let coin = g.bernoulli(seed, STREAM, &[k, n], 0.5)?;
                    g.affine(coin, 2.0, -1.0)?
                }
            };
            g.assign(new, drawn)?;
            Ok(Vec::new())
        })
    }

    /// Makes the rows of a block orthonormal, and orthogonal to the first `m` rows of `basis`; both twice, for the first
    /// pass leaves the errors of the inner products behind (Daniel et al. 1976). Returns `r` with `old = r new` up to the
    /// part along the basis, and the coefficients of that part, `[m, k]`. A row that the others and the basis span comes
    /// out as zero, and so does its column of `r`.
    ///
    /// # Errors
    ///
    /// The engine's, when a block is not there.
    pub fn orthonormalize(
        &mut self,
        session: &mut Session,
        block: &str,
        basis: Option<(&str, usize)>,
    ) -> Result<(DMatrix<f64>, DMatrix<f64>)> {
        let k = Self::height(session, block);
        let mut r = DMatrix::identity(k, k);
        let mut along = DMatrix::zeros(basis.map_or(0, |b| b.1), k);
        for _ in 0..2 {
            if let Some((name, m)) = basis {
                let c = self.inner(session, name, block)?;
                self.combine(session, block, true, &-c.transpose(), name)?;
                along += c.rows(0, m) * &r;
            }
            let gram = self.inner(session, block, block)?;
            let (inverse, own) = triangular(&gram);
            self.combine(session, block, false, &inverse.transpose(), block)?;
            r = own * r;
        }
        Ok((r, along))
    }
}

/// Draws of vectors, apart from those of dropout and initial values.
const STREAM: u32 = u32::from_be_bytes(*b"prob");

/// `(r⁻¹, r)` with `gram = rᵀ r`, upper triangular; a row that depends on the ones before it gets zeros in both.
fn triangular(gram: &DMatrix<f64>) -> (DMatrix<f64>, DMatrix<f64>) {
    let k = gram.nrows();
    let (mut r, mut inverse) = (DMatrix::zeros(k, k), DMatrix::zeros(k, k));
    for j in 0..k {
        for i in 0..j {
            if r[(i, i)] != 0.0 {
                let dot: f64 = (0..i).map(|l| r[(l, i)] * r[(l, j)]).sum();
                r[(i, j)] = (gram[(i, j)] - dot) / r[(i, i)];
            }
        }
        let rest = gram[(j, j)] - (0..j).map(|l: usize| r[(l, j)] * r[(l, j)]).sum::<f64>();
        // In f32 a vector that the others span leaves about 1e-14 of its square.
        if rest > 1e-12 * gram[(j, j)] && rest > 0.0 {
            r[(j, j)] = rest.sqrt();
        }
    }
    for j in (0..k).filter(|&j| r[(j, j)] != 0.0) {
        inverse[(j, j)] = 1.0 / r[(j, j)];
        for i in (0..j).rev().filter(|&i| r[(i, i)] != 0.0) {
            let dot: f64 = (i + 1..=j).map(|l| r[(i, l)] * inverse[(l, j)]).sum();
            inverse[(i, j)] = -dot / r[(i, i)];
        }
    }
    (inverse, r)
}

//! Vectors on a session: blocks of rows under names, and the algebra that estimators do with them.

use std::collections::{HashMap, hash_map::Entry};

use hillshade_engine::{Data, Graph, Program, Scope, Session, Tensor, Type, Var, block_on, philox};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::error::*;

/// How random vectors are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
/// Inner products are partial sums of fixed stretches, added up in f64; coefficients are f64 as far as executors go.
#[derive(Debug)]
pub struct Vectors {
    n: usize,
    programs: HashMap<String, (Program, Option<Var>)>,
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
pub(crate) fn halves(c: &[f64]) -> (Vec<f32>, Vec<f32>) {
    c.iter().map(|&c| (c as f32, (c - f64::from(c as f32)) as f32)).unzip()
}

/// Rounded to f32.
pub(crate) fn narrow(v: &[f64]) -> Vec<f32> {
    v.iter().map(|&v| v as f32).collect()
}

/// A block `[k, n]`, which may be one that is in the graph under its name already.
fn block<'g>((known, state): (&str, Tensor<'g>), name: &str, shape: [usize; 2]) -> Tensor<'g> {
    if name == known { state } else { state.graph().state(name, &shape) }
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
    pub fn reserve(&self, session: &mut Session, name: &str, k: usize) -> Result<()> {
        session.reserve(name, &Type::f32([k, self.n])).map_err(Error::from)
    }

    /// Makes blocks of `k` vectors in a scope; returns their names.
    pub(crate) fn blocks<const N: usize>(
        &self, session: &mut Session, scope: &Scope, blocks: [&str; N], k: usize,
    ) -> Result<[String; N]> {
        let names = blocks.map(|block| scope.name(block));
        names.iter().try_for_each(|name| self.reserve(session, name, k))?;
        Ok(names)
    }

    /// Makes the blocks through which an operator takes and gives `k` vectors; returns their names.
    pub fn ports(&self, session: &mut Session, k: usize) -> Result<(String, String)> {
        let (x, y) = (input(self.n, k), output(self.n, k));
        [&x, &y].into_iter().try_for_each(|name| self.reserve(session, name, k))?;
        Ok((x, y))
    }

    fn height(session: &Session, name: &str) -> usize {
        session.shape_of(name).map_or(1, |s| s[0])
    }

    /// Runs the program of this key, which is built when it is first asked for; returns it with its output.
    fn run(
        &mut self, session: &mut Session, key: String, inputs: &[(&str, Data)],
        build: impl for<'g> FnOnce(&'g Graph) -> Option<Tensor<'g>>,
    ) -> Result<&(Program, Option<Var>)> {
        let made = match self.programs.entry(key) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => {
                let g = Graph::new();
                let y = build(&g);
                e.insert((session.compile(&g, y.as_slice())?, y.map(Tensor::var)))
            }
        };
        made.0.run(session, inputs)?;
        Ok(made)
    }

    /// Runs a program that writes over a block.
    pub(crate) fn update(
        &mut self, session: &mut Session, (key, to): (String, &str), inputs: &[(&str, Data)],
        new: impl for<'g> FnOnce(&'g Graph, Tensor<'g>) -> Tensor<'g>,
    ) -> Result<()> {
        let (n, k) = (self.n, Self::height(session, to));
        self.run(session, key, inputs, |g| {
            let old = g.state(to, &[k, n]);
            g.assign(old, new(g, old));
            None
        })?;
        Ok(())
    }

    /// `⟨aᵢ, bⱼ⟩` for all rows of two blocks.
    pub fn inner(&mut self, session: &mut Session, a: &str, b: &str) -> Result<DMatrix<f64>> {
        let (n, m, k) = (self.n, Self::height(session, a), Self::height(session, b));
        let (program, output) = self.run(session, format!("inner {a} {m} {b} {k}"), &[], |g| {
            let left = g.state(a, &[m, n]);
            Some(left.inner_products(block((a, left), b, [k, n])))
        })?;
        let sums = block_on(program.read_wide(session, output.expect("the program has an output")))?;
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
        refuse!(c.shape() != (k, m), "coefficients", format!("{k} by {m}"), format!("{:?}", c.shape()));
        let (high, low) = halves(c.transpose().as_slice());
        let inputs = [("high", Data::F32(&high)), ("low", Data::F32(&low))];
        self.update(session, (format!("combine {to} {k} {add} {x} {m}"), to), &inputs, |g, old| {
            let c = g.input("high", &[k, m]) + g.input("low", &[k, m]);
            let sum = c.matmul(block((to, old), x, [m, n]));
            if add { old + sum } else { sum }
        })
    }

    /// `to ← c x`, or `to ← to + c x` where `add` says so.
    pub fn scale(&mut self, session: &mut Session, to: &str, add: bool, c: f64, x: &str) -> Result<()> {
        let (n, k) = (self.n, Self::height(session, to));
        let (high, low) = halves(&[c]);
        let inputs = [("high", Data::F32(&high)), ("low", Data::F32(&low))];
        self.update(session, (format!("scale {to} {k} {add} {x}"), to), &inputs, |g, old| {
            let new = block((to, old), x, [k, n]) * (g.input("high", &[1]) + g.input("low", &[1]));
            if add { old + new } else { new }
        })
    }

    /// Writes a block over the rows of a larger one, from row `at` on.
    pub fn write(&mut self, session: &mut Session, to: &str, at: usize, from: &str) -> Result<()> {
        let (n, m, k) = (self.n, Self::height(session, to), Self::height(session, from));
        let key = format!("write {to} {m} {from} {k}");
        self.update(session, (key, to), &[("at", Data::U32(&[at as u32]))], |g, old| {
            old.write_rows(g.input_u32("at", &[1]), g.state(from, &[k, n]))
        })
    }

    /// Takes rows of a block, by their numbers, as another block.
    pub fn take(&mut self, session: &mut Session, to: &str, from: &str, rows: &[usize]) -> Result<()> {
        let (n, m, k) = (self.n, Self::height(session, from), rows.len());
        let rows: Vec<u32> = rows.iter().map(|&r| r as u32).collect();
        let key = format!("take {to} {k} {from} {m}");
        self.update(session, (key, to), &[("rows", Data::U32(&rows))], |g, _| {
            g.state(from, &[m, n]).gather(g.input_u32("rows", &[k]))
        })
    }

    /// Fills a block with random numbers of draw `index`: the same for one seed on every executor.
    pub fn draw(&mut self, session: &mut Session, to: &str, probe: Probe, seed: u64, index: u32) -> Result<()> {
        let (n, k) = (self.n, Self::height(session, to));
        let words = [seed as u32, (seed >> 32) as u32, index];
        let key = format!("draw {to} {k} {probe:?}");
        self.update(session, (key, to), &[("seed", Data::U32(&words))], |g, _| {
            let seed = g.input_u32("seed", &[3]);
            match probe {
                Probe::Gaussian => seed.normal(STREAM, &[k, n]),
                Probe::Rademacher => seed.bernoulli(STREAM, &[k, n], 0.5) * 2.0 - 1.0,
            }
        })
    }

    /// Makes the rows of a block orthogonal to those of an orthonormal `basis`; returns their inner products before.
    pub(crate) fn project_out(&mut self, session: &mut Session, block: &str, basis: &str) -> Result<DMatrix<f64>> {
        let c = self.inner(session, basis, block)?;
        self.combine(session, block, true, &-c.transpose(), basis)?;
        Ok(c)
    }

    /// The largest |⟨vᵢ, vⱼ⟩ − δᵢⱼ| of the first `k` rows of a block.
    pub(crate) fn orthogonality(&mut self, session: &mut Session, block: &str, k: usize) -> Result<f64> {
        let gram = self.inner(session, block, block)?;
        Ok((gram.view((0, 0), (k, k)) - DMatrix::identity(k, k)).amax())
    }

    /// Makes the rows of a block orthonormal, and orthogonal to the first `m` rows of `basis`; both twice, for the first
    /// pass leaves the errors of the inner products behind (Daniel et al. 1976). Returns `r` with `old = r new` up to the
    /// part along the basis, and the coefficients of that part, `[m, k]`. A row that the others and the basis span comes
    /// out as zero, and so does its column of `r`.
    pub fn orthonormalize(
        &mut self, session: &mut Session, block: &str, basis: Option<(&str, usize)>,
    ) -> Result<(DMatrix<f64>, DMatrix<f64>)> {
        let k = Self::height(session, block);
        let mut r = DMatrix::identity(k, k);
        let mut along = DMatrix::zeros(basis.map_or(0, |b| b.1), k);
        for _ in 0..2 {
            if let Some((name, m)) = basis {
                along += self.project_out(session, block, name)?.rows(0, m) * &r;
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

/// Two numbers in (0, 1) that a seed and a place in a stream determine.
pub(crate) fn uniform(place: [u32; 3], stream: &[u8; 4], seed: u64) -> [f64; 2] {
    let [a, b, c] = place;
    let words = philox([a, b, c, u32::from_be_bytes(*stream)], [seed as u32, (seed >> 32) as u32]);
    [words[0], words[1]].map(|w| (f64::from(w) + 0.5) / 4_294_967_296.0)
}

/// A standard normal number of two uniform ones (Box and Muller 1958).
pub(crate) fn box_muller([a, b]: [f64; 2]) -> f64 {
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

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

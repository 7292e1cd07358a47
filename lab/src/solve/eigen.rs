//! Eigenvalues at the ends of a spectrum.

use hillshade_engine::Session;
use serde::{Deserialize, Serialize};

use crate::{error::*, operator::*, solve::krylov::*};

/// Which end of a spectrum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The largest.
    #[default]
    Top,
    /// The smallest.
    Bottom,
    /// The largest and the smallest, as many of each.
    Both,
}

/// How eigenvalues are sought.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// How many, of each end.
    pub count: usize,
    /// Which end.
    pub end: End,
    /// A residual `‖A y − θ y‖` below this share of `|θ|` ends the search.
    pub tolerance: f64,
    /// The most products with one direction.
    pub products: u64,
    /// The most vectors kept; by default `2 count + 20`, at least 40.
    pub basis: Option<usize>,
    /// Directions at once; more than one finds multiple eigenvalues.
    pub block: usize,
    /// Seed of the first directions.
    pub seed: u64,
}

impl Default for Search {
    fn default() -> Self {
        Search { count: 1, end: End::Top, tolerance: 1e-3, products: 1000, basis: None, block: 1, seed: 0 }
    }
}

/// An eigenvalue with the bound of its error: an eigenvalue lies within `residual` of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// The eigenvalue.
    pub value: f64,
    /// `‖A y − θ y‖` for its unit vector.
    pub residual: f64,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
}

/// Eigenvalues, and what they are of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Eigen {
    /// The largest, descending.
    pub top: Vec<Value>,
    /// The smallest, ascending.
    pub bottom: Vec<Value>,
    /// Products with one direction.
    pub products: u64,
    /// The largest |⟨vᵢ, vⱼ⟩ − δᵢⱼ| of the basis.
    pub orthogonality: f64,
    /// Seed of the first directions.
    pub seed: u64,
    /// What was measured.
    pub setting: Setting,
}

/// The block that holds the unit vectors of the last search: those of [`Eigen::top`], then those of [`Eigen::bottom`].
pub fn found(n: usize) -> String {
    format!("lab/{n}/eigenvectors")
}

/// What a long search tells while it goes on.
pub type Watch<'a> = dyn FnMut(u64, u64) + 'a;

/// Eigenvalues by thick-restart (block) Lanczos with two passes of re-orthogonalization (Lanczos 1950; Wu and Simon 2000).
/// Their vectors are left in the block [`found`]. `watch` hears of products done and of products at most.
///
/// # Errors
///
/// [`Error::Argument`] for a search that does not fit the operator.
pub fn eigenvalues(session: &mut Session, a: &mut dyn Operator, search: Search, watch: &mut Watch) -> Result<Eigen> {
    let n = a.dimension();
    refuse!(search.count == 0 || search.count > n, "eigenvalues", format!("1 to {n}"), search.count);
    let width = search.block.clamp(1, a.width().min(n));
    let ends = if search.end == End::Both { 2 } else { 1 };
    let wanted = ends * search.count;
    let size = search.basis.unwrap_or((2 * wanted + 20).max(40)).max(wanted + 2 * width).min(n);
    let mut krylov = Krylov::new(session, n, size, width, Probe::Gaussian, search.seed, 0)?;
    loop {
        krylov.step(session, a)?;
        watch(krylov.products, search.products);
        if !krylov.is_full() && krylov.products + width as u64 <= search.products && krylov.known < wanted {
            continue;
        }
        let ritz = krylov.ritz();
        let m = ritz.values.len();
        let count = search.count.min(m);
        let top: Vec<usize> = if search.end == End::Bottom { vec![] } else { (m - count..m).rev().collect() };
        let bottom: Vec<usize> = if search.end == End::Top { vec![] } else { (0..count).collect() };
        let floor = f64::from(f32::EPSILON) * krylov.scale;
        let value = |&i: &usize| {
            let (value, residual) = (ritz.values[i], ritz.residuals[i]);
            Value { value, residual, converged: residual <= search.tolerance * value.abs().max(floor) }
        };
        let converged = top.iter().chain(&bottom).all(|i| value(i).converged);
        let exhausted = krylov.is_whole() || krylov.products + width as u64 > search.products;
        if (converged && krylov.known >= wanted.min(n)) || exhausted {
            let columns: Vec<usize> = top.iter().chain(&bottom).copied().collect();
            krylov.extract(session, &found(n), &ritz, &columns)?;
            let [top, bottom] = [top, bottom].map(|places| places.iter().map(value).collect());
            let (products, orthogonality) = (krylov.products, krylov.orthogonality(session)?);
            return Ok(Eigen {
                top,
                bottom,
                products,
                orthogonality,
                seed: search.seed,
                setting: measured(session, a),
            });
        }
        if krylov.is_full() {
            // Half of the basis goes on: what is wanted, and what is next to it.
            let most = (m - width).min(wanted + (m.saturating_sub(wanted)) / 2);
            let keep: Vec<usize> = match search.end {
                End::Top => (m - most..m).collect(),
                End::Bottom => (0..most).collect(),
                End::Both => (0..most / 2).chain(m - (most - most / 2)..m).collect(),
            };
            krylov.restart(session, &ritz, &keep)?;
        }
    }
}

/// The eigenvalues of largest modulus by power iteration, those found taken out of the products: the plainest method, to
/// compare with. Stops where the value moves by less than the tolerance and the residual is below it too.
pub fn power_iteration(session: &mut Session, a: &mut dyn Operator, search: Search) -> Result<Eigen> {
    let n = a.dimension();
    let mut vectors = Vectors::new(n);
    let (x, y) = vectors.ports(session, 1)?;
    let kept = found(n);
    session.remove(&kept);
    vectors.reserve(session, &kept, search.count)?;
    let (mut top, mut products) = (Vec::new(), 0);
    for k in 0..search.count.min(n) {
        vectors.draw(session, &x, Probe::Gaussian, search.seed, k as u32)?;
        vectors.orthonormalize(session, &x, Some((&kept, k)))?;
        let mut old = f64::NAN;
        loop {
            a.apply(session, 1)?;
            products += 1;
            vectors.project_out(session, &y, &kept)?;
            let value = vectors.inner(session, &x, &y)?[(0, 0)];
            let square = vectors.inner(session, &y, &y)?[(0, 0)];
            let residual = (square - value * value).max(0.0).sqrt();
            let bound = search.tolerance * value.abs().max(1e-12);
            let converged = (value - old).abs() < bound && residual < bound;
            old = value;
            if converged || products >= search.products || square == 0.0 {
                top.push(Value { value, residual, converged });
                vectors.write(session, &kept, k, &x)?;
                break;
            }
            vectors.scale(session, &x, false, 1.0 / square.sqrt(), &y)?;
        }
    }
    let orthogonality = vectors.orthogonality(session, &kept, search.count)?;
    let (bottom, setting) = (Vec::new(), measured(session, a));
    Ok(Eigen { top, bottom, products, orthogonality, seed: search.seed, setting })
}

//! Traces and diagonals by random probes, with their standard errors.

use hillshade_engine::{Session, block_on};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::{error::*, layout::*, operator::*, solve::eigen::*};

/// How many probes an estimate takes.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// A standard error below this share of the estimate ends it, from 8 probes on.
    pub tolerance: f64,
    /// The most products.
    pub products: u64,
    /// How probes are drawn.
    pub probe: Probe,
    /// Seed of the probes.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { tolerance: 0.02, products: 200, probe: Probe::Rademacher, seed: 0 }
    }
}

/// An estimate with its standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Independent numbers that it is the mean of.
    pub samples: usize,
    /// Products with one direction.
    pub products: u64,
    /// `hutchinson`, `hutch++` or `xtrace`.
    pub method: String,
    /// Seed of the probes.
    pub seed: u64,
    /// What was measured.
    pub setting: Setting,
}

/// Mean and standard error of the mean; the error of fewer than two numbers is not known.
pub(crate) fn mean_and_error(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let square: f64 = x.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, if x.len() > 1 { (square / (n * (n - 1.0))).sqrt() } else { f64::INFINITY })
}

impl Estimate {
    /// From independent numbers, to whose mean an exact part is added.
    pub(crate) fn new(samples: &[f64], exact: f64, method: &str, [products, seed]: [u64; 2], setting: Setting) -> Self {
        let (mean, standard_error) = mean_and_error(samples);
        let (value, method) = (mean + exact, method.into());
        Estimate { value, standard_error, samples: samples.len(), products, method, seed, setting }
    }
}

/// The trace as the mean of `zᵀ A z` over random `z` (Hutchinson 1990; the error is that of the mean, never the movement of
/// the running mean). `watch` hears of products done and of products at most.
///
/// # Errors
///
/// [`Error::Argument`] for no products.
pub fn hutchinson(
    session: &mut Session, a: &mut dyn Operator, sampling: Sampling, watch: &mut Watch,
) -> Result<Estimate> {
    let mut samples = Vec::new();
    let products = each_block(session, a, sampling, |session, vectors, [x, y], products| {
        samples.extend(vectors.inner(session, x, y)?.diagonal().iter());
        watch(products, sampling.products);
        let (mean, error) = mean_and_error(&samples);
        Ok(samples.len() >= 8 && error <= sampling.tolerance * mean.abs())
    })?;
    Ok(Estimate::new(&samples, 0.0, "hutchinson", [products, sampling.seed], measured(session, a)))
}

/// Calls `f` with random blocks and their products, and how many there are so far, until it says that they are enough.
fn each_block(
    session: &mut Session, a: &mut dyn Operator, sampling: Sampling,
    mut f: impl FnMut(&mut Session, &mut Vectors, [&str; 2], u64) -> Result<bool>,
) -> Result<u64> {
    refuse!(sampling.products == 0, "products", "1 or more", 0);
    let mut vectors = Vectors::new(a.dimension());
    let (mut products, mut index) = (0, 0);
    while products < sampling.products {
        let k = a.width().min((sampling.products - products) as usize);
        let (x, y) = vectors.ports(session, k)?;
        vectors.draw(session, &x, sampling.probe, sampling.seed, index)?;
        a.apply(session, k)?;
        products += k as u64;
        index += 1;
        if f(session, &mut vectors, [&x, &y], products)? {
            break;
        }
    }
    Ok(products)
}

/// The trace as that of the operator on the range of a random sketch, and Hutchinson's estimate of the rest: exact where the
/// rank is at most a third of `sampling.products` (Meyer et al. 2021). The error is that of the rest.
///
/// # Errors
///
/// [`Error::Argument`] for fewer than 6 products.
pub fn hutch_plus_plus(session: &mut Session, a: &mut dyn Operator, sampling: Sampling) -> Result<Estimate> {
    let n = a.dimension();
    let third = (sampling.products as usize / 3).min(n);
    refuse!(third < 2, "products", "6 or more, a third for each part", sampling.products);
    let (mut vectors, scope) = (Vectors::new(n), session.scope());
    let blocks = ["sketch", "range", "image", "probes"];
    let [directions, range, image, probes] = &vectors.blocks(session, &scope, blocks, third)?;
    let names = [directions, range, image].map(String::as_str);
    let exact = sketch(session, a, &mut vectors, names, third, (sampling.probe, sampling.seed))?.1.trace();
    vectors.draw(session, probes, sampling.probe, sampling.seed, 1)?;
    // The operator between two projections: it is enough to project the probes.
    vectors.project_out(session, probes, range)?;
    apply_rows(session, a, &mut vectors, (probes, image), third)?;
    let samples: Vec<f64> = vectors.inner(session, probes, image)?.diagonal().iter().copied().collect();
    Ok(Estimate::new(&samples, exact, "hutch++", [3 * third as u64, sampling.seed], measured(session, a)))
}

/// Draws `k` directions and makes an orthonormal basis `Q` of their products, `A Ω = Q R`, and its image: `R` and `Qᵀ A Q`.
fn sketch(
    session: &mut Session, a: &mut dyn Operator, vectors: &mut Vectors, [directions, range, image]: [&str; 3],
    k: usize, (probe, seed): (Probe, u64),
) -> Result<(DMatrix<f64>, DMatrix<f64>)> {
    vectors.draw(session, directions, probe, seed, 0)?;
    apply_rows(session, a, vectors, (directions, range), k)?;
    let (r, _) = vectors.orthonormalize(session, range, None)?;
    apply_rows(session, a, vectors, (range, image), k)?;
    Ok((r, vectors.inner(session, range, image)?))
}

/// The trace from `products / 2` Gaussian directions, of which each in turn probes what the sketch of the others leaves over
/// (Epperly, Tropp and Webber 2024), normalized as they advise. Its numbers share a sketch and are not quite independent: where
/// eigenvalues fall off fast the standard error is about two thirds of what it should be.
///
/// # Errors
///
/// [`Error::Argument`] for fewer than 4 products.
pub fn xtrace(session: &mut Session, a: &mut dyn Operator, sampling: Sampling) -> Result<Estimate> {
    let n = a.dimension();
    let m = (sampling.products as usize / 2).min(n);
    refuse!(m < 2, "products", "4 or more, two for each direction", sampling.products);
    let (mut vectors, scope) = (Vectors::new(n), session.scope());
    let [omega, q, z] = &vectors.blocks(session, &scope, ["directions", "range", "image"], m)?;
    let names = [omega, q, z].map(String::as_str);
    let (r, h) = sketch(session, a, &mut vectors, names, m, (Probe::Gaussian, sampling.seed))?;
    let w = vectors.inner(session, q, omega)?;
    let lengths = vectors.inner(session, omega, omega)?;
    let counts = [2 * m as u64, sampling.seed];
    // The direction in the range that the others' products do not span: columns of R⁻ᵀ, normalized.
    let s = match r.transpose().try_inverse() {
        Some(inverse) => DMatrix::from_columns(&inverse.column_iter().map(|c| c.normalize()).collect::<Vec<_>>()),
        // The range is smaller than the sketch: it holds the operator, and the trace on it is exact.
        None => return Ok(Estimate::new(&[0.0, 0.0], h.trace(), "xtrace", counts, measured(session, a))),
    };
    let samples: Vec<f64> = (0..m)
        .map(|i| {
            let (si, wi, ri) = (s.column(i), w.column(i), r.column(i));
            let along = si.dot(&wi);
            // ω less its part in the range of the other directions, Q x; A ω = Q r.
            let x = wi - along * si;
            let square = lengths[(i, i)] - x.norm_squared();
            let quadratic = wi.dot(&ri) - 2.0 * x.dot(&ri) + x.dot(&(&h * &x));
            h.trace() - si.dot(&(&h * si)) + (n - m + 1) as f64 / square * quadratic
        })
        .collect();
    Ok(Estimate::new(&samples, 0.0, "xtrace", counts, measured(session, a)))
}

/// The diagonal of an operator, by entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagonal {
    /// The estimates.
    pub values: Vec<f64>,
    /// Their standard errors.
    pub standard_errors: Vec<f64>,
    /// Products with one direction.
    pub products: u64,
}

/// The diagonal as the mean of `z ∘ A z` over Rademacher `z` (Bekas et al. 2007), by `sampling.products` probes.
pub fn diagonal(session: &mut Session, a: &mut dyn Operator, sampling: Sampling) -> Result<Diagonal> {
    let n = a.dimension();
    let (mut sum, mut squares) = (vec![0.0; n], vec![0.0; n]);
    let products = each_probe(session, a, sampling, |z, az| {
        for i in 0..n {
            let own = z[i] * az[i];
            sum[i] += own;
            squares[i] += own * own;
        }
    })?;
    let count = products as f64;
    let values: Vec<f64> = sum.iter().map(|s| s / count).collect();
    let spread = |(s, m): (&f64, &f64)| ((s / count - m * m).max(0.0) / (count - 1.0).max(1.0)).sqrt();
    let standard_errors = squares.iter().zip(&values).map(spread).collect();
    Ok(Diagonal { values, standard_errors, products })
}

/// The trace of every parameter's block, all from the same products: `zₗᵀ (A z)ₗ`, whose cross terms vanish in the mean.
pub fn layer_traces(
    session: &mut Session, a: &mut dyn Operator, layout: &[Block], sampling: Sampling,
) -> Result<Vec<(String, Estimate)>> {
    let mut samples = vec![Vec::new(); layout.len()];
    let products = each_probe(session, a, sampling, |z, az| {
        for (block, samples) in layout.iter().zip(&mut samples) {
            samples.push(block.range.clone().map(|i| z[i] * az[i]).sum());
        }
    })?;
    let (counts, setting) = ([products, sampling.seed], measured(session, a));
    let own = |samples: &Vec<f64>| Estimate::new(samples, 0.0, "hutchinson", counts, setting.clone());
    Ok(layout.iter().zip(&samples).map(|(b, s)| (b.name.clone(), own(s))).collect())
}

/// Calls `f` with every probe and its product.
fn each_probe(
    session: &mut Session, a: &mut dyn Operator, sampling: Sampling, mut f: impl FnMut(&[f64], &[f64]),
) -> Result<u64> {
    let n = a.dimension();
    each_block(session, a, sampling, |session, _, [x, y], _| {
        let (z, az) = (block_on(session.get_wide(x))?, block_on(session.get_wide(y))?);
        z.chunks(n).zip(az.chunks(n)).for_each(|(z, az)| f(z, az));
        Ok(false)
    })
}

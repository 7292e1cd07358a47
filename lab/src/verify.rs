//! Identities that must hold for the curvature of any network of a kind, whatever its parameters: tests of a measurement
//! that need no reference.

use hillshade_engine::{Session, block_on, philox};
use serde::{Deserialize, Serialize};

use crate::{
    BatchNorm, Conditions, Curvature, Kind, Landscape, Operator, Options, Problem, Result, Setting, Statistics,
    Vectors, input,
    landscape::{
        self,
        directions::{dot, norm},
    },
    output,
    symmetry::{Places, shifts, structure, symmetries},
};

/// How a network is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    /// Statistics of batch normalization. The identities of batch normalization hold with those of batches alone: in
    /// evaluation mode they are tried all the same, and fail.
    pub batch_norm: BatchNorm,
    /// Samples at once in evaluation mode; 128 by default.
    pub micro_batch: Option<usize>,
    /// Seed of random directions.
    pub seed: u64,
}

impl Default for Verify {
    fn default() -> Self {
        Verify { batch_norm: BatchNorm::Full, micro_batch: None, seed: 0 }
    }
}

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The residual is within the bound.
    Pass,
    /// It is not.
    Fail,
    /// The identity says nothing about this network, and why.
    Skipped(String),
}

/// An identity, and by how much it is missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// What must hold, as a formula.
    pub what: String,
    /// The weight of the layer that it is about, where it is about one.
    pub layer: Option<String>,
    /// By how much it is missed, relative to its sides; none where it could not be tried.
    pub residual: Option<f64>,
    /// The most by which it may be.
    pub bound: f64,
    /// How it came out.
    pub status: Status,
}

/// The checks of a network, and on what they were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// Samples, batch-norm mode, adapter.
    pub setting: Setting,
    /// Seed of random directions.
    pub seed: u64,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Verified {
    /// Whether no check fails.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|c| c.status != Status::Fail)
    }
}

/// Of an identity in f32: symmetry, linearity, one direction and several.
pub(crate) const ROUNDING: f64 = 1e-5;

/// Of a second difference of losses in f32.
const DIFFERENCE: f64 = 1e-2;

/// Of a quadratic form that must not be negative.
const NEGATIVE: f64 = 1e-6;

pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// A part of a whole; nothing is none of nothing.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { part / whole }
}

/// Numbers in (−1, 1) that a seed and a stream determine.
pub(crate) fn random(n: usize, seed: u64, stream: u32) -> Vec<f64> {
    let key = [seed as u32, (seed >> 32) as u32];
    let word = |i: usize| philox([i as u32, stream, 0, u32::from_be_bytes(*b"veri")], key)[0];
    (0..n).map(|i| f64::from(((f64::from(word(i)) + 0.5) / 2_147_483_648.0 - 1.0) as f32)).collect()
}

impl Check {
    pub(crate) fn new(name: &str, what: &str, layer: Option<&str>, residual: f64, bound: f64) -> Self {
        // Not a number is no pass.
        let status = if residual <= bound { Status::Pass } else { Status::Fail };
        let (name, what, layer) = (name.into(), what.into(), layer.map(String::from));
        Check { name, what, layer, residual: Some(residual), bound, status }
    }

    pub(crate) fn skipped(name: &str, what: &str, bound: f64, why: &str) -> Self {
        let status = Status::Skipped(why.into());
        Check { name: name.into(), what: what.into(), layer: None, residual: None, bound, status }
    }
}

/// Products with directions, as many at once as the operator takes; as wide as the executor computes.
pub(crate) fn products(session: &mut Session, a: &mut dyn Operator, v: &[&[f64]]) -> Result<Vec<Vec<f64>>> {
    let (n, mut all) = (a.dimension(), Vec::new());
    for chunk in v.chunks(a.width().max(1)) {
        let k = chunk.len();
        let rows: Vec<f32> = chunk.iter().flat_map(|v| v.iter().map(|&v| v as f32)).collect();
        Vectors::new(n).ports(session, k)?;
        session.set(&input(n, k), &[k, n], &rows)?;
        a.apply(session, k)?;
        all.extend(block_on(session.get_wide(&output(n, k)))?.chunks(n).map(<[f64]>::to_vec));
    }
    Ok(all)
}

/// Checks that an operator is a symmetric matrix, the same for one direction and for several, and where `positive` says so
/// that it has no negative quadratic form: `|u·A v − v·A u| ≤ 1e-5 ‖u‖ ‖A v‖` with `u = A z`, which lies where `A` acts, and
/// `A (a z + b v) = a A z + b A v`.
///
/// # Errors
///
/// The engine's.
pub fn consistency(session: &mut Session, a: &mut dyn Operator, positive: bool, seed: u64) -> Result<Vec<Check>> {
    let (n, which) = (a.dimension(), a.setting().operator);
    let (z, v) = (random(n, seed, 1), random(n, seed, 2));
    let (c, d) = (0.7, -1.3);
    let mixed: Vec<f64> = z.iter().zip(&v).map(|(z, v)| c * z + d * v).collect();
    let mut one = |session: &mut Session, x: &[f64]| Ok::<_, crate::Error>(products(session, a, &[x])?.remove(0));
    let (az, av, sum) = (one(session, &z)?, one(session, &v)?, one(session, &mixed)?);
    let size = share(1.0, norm(&az)).min(1.0 / f64::from(f32::MIN_POSITIVE));
    let u: Vec<f64> = az.iter().map(|x| f64::from((x * size) as f32)).collect();
    let au = one(session, &u)?;
    let check =
        |name: &str, what: &str, residual, bound| Check::new(&format!("{name}, {which}"), what, None, residual, bound);
    let across = share((dot(&u, &av) - dot(&v, &au)).abs(), norm(&u) * norm(&av));
    let parts: Vec<f64> = az.iter().zip(&av).map(|(az, av)| c * az + d * av).collect();
    let off = share(distance(&sum, &parts), norm(&az) * c.abs() + norm(&av) * d.abs());
    let mut checks = vec![
        check("symmetry", "u·A v = v·A u", across, ROUNDING),
        check("linearity", "A (a z + b v) = a A z + b A v", off, ROUNDING),
    ];
    let together = ["one at a time", "A [z v] = [A z, A v]"];
    if a.width() > 1 {
        let both = products(session, a, &[&z, &v])?;
        let off = share(distance(&both[0], &az) + distance(&both[1], &av), norm(&az) + norm(&av));
        checks.push(check(together[0], together[1], off, ROUNDING));
    } else {
        let name = format!("{}, {which}", together[0]);
        checks.push(Check::skipped(&name, together[1], ROUNDING, "the operator takes one direction at a time"));
    }
    if positive {
        let most = |x: &[f64], ax: &[f64]| share(-dot(x, ax), norm(x) * norm(ax)).max(0.0);
        checks.push(check("positivity", "v·A v ≥ 0", most(&z, &az).max(most(&v, &av)), NEGATIVE));
    }
    Ok(checks)
}

/// The loss's second difference along `d = H z` for a random `z`, which is where there is curvature, against `d·H d`. At a
/// kink a slope jumps, which differences see and the Hessian does not: there the number is only reported.
fn second_difference(session: &mut Session, problem: &Problem, h: &mut Curvature, options: &Verify) -> Result<Check> {
    let [name, what] = ["second difference", "(L(θ + t d) − 2 L(θ) + L(θ − t d))/t² = d·H d"];
    let z = random(h.dimension(), options.seed, 3);
    let hz = products(session, h, &[&z])?.remove(0);
    let length = norm(&hz);
    if length == 0.0 {
        return Ok(Check::skipped(name, what, DIFFERENCE, "no curvature"));
    }
    let d: Vec<f64> = hz.iter().map(|x| f64::from((x / length) as f32)).collect();
    let curvature = dot(&d, &products(session, h, &[&d])?[0]);
    let mut square = 0.0;
    for block in h.layout() {
        square += block_on(session.get_wide(&block.name))?.iter().map(|w| w * w).sum::<f64>();
    }
    let block = format!("lab/{}/segment", d.len());
    session.set(&block, &[1, d.len()], &d.iter().map(|&x| x as f32).collect::<Vec<_>>())?;
    let statistics = match options.batch_norm {
        BatchNorm::Eval => Statistics::Frozen,
        BatchNorm::Batch(size) => Statistics::Batch(size),
        BatchNorm::Full => Statistics::Batch(problem.samples.count()),
    };
    let conditions = Conditions { statistics, micro_batch: options.micro_batch, blocks: Vec::new() };
    let mut segment = Landscape::over(session, problem, &block, 1, &conditions)?;
    let difference = landscape::second_difference(session, &mut segment, 0.1 * square.sqrt().max(1.0))?;
    let mut check = Check::new(name, what, None, share((difference - curvature).abs(), curvature.abs()), DIFFERENCE);
    let kinks = structure(problem, options)?.kinks;
    if !kinks.is_empty() {
        check.status = Status::Skipped(format!("kinks: {}", kinks.join(", ")));
    }
    Ok(check)
}

/// Verifies the curvature of a problem at the session's parameters: [`symmetries`] of the Hessian, the softmax shift of the
/// Gauss-Newton matrix, [`consistency`] of both and of the empirical Fisher matrix, and the second difference of the loss.
///
/// | | residual | bound |
/// |---|---|---|
/// | batch-norm scale | `‖H D + a g‖/‖H D‖` | 2e-3 for ε = 1e-5, and rounding |
/// | batch-norm slope | `‖(g·W_c)_c‖` beside `‖(‖g_c‖ ‖W_c‖)_c‖` | 2e-3 for ε = 1e-5 |
/// | batch-norm offset, softmax shift | `‖A D‖/‖D‖` beside that of a random direction | 1e-4 |
/// | relu rescaling | `‖H D − E‖/‖H D‖` | 2e-5, and rounding |
/// | symmetry, linearity, one at a time | | 1e-5 |
/// | positivity | `−v·A v/(‖v‖ ‖A v‖)` | 1e-6 |
/// | second difference | relative; only reported for networks with kinks | 1e-2 |
///
/// Rounding is `1e-5 ‖H z‖ ‖D‖/(‖z‖ ‖H D‖)` for a random `z` on the entries of `D`: at a minimum `g = 0`, and what is left of
/// `H D` is its rounding. Bounds are those of f32 on every executor; with batches of fixed size, as with all samples in one,
/// all identities hold, and with running statistics those of batch normalization fail.
///
/// # Errors
///
/// Those of [`Curvature::new`].
pub fn verify(session: &mut Session, problem: &Problem, options: &Verify) -> Result<Verified> {
    let curve = Options {
        batch_norm: options.batch_norm,
        micro_batch: options.micro_batch,
        seed: options.seed,
        ..Options::default()
    };
    let mut h = Curvature::new(session, problem, Kind::Hessian, &curve)?;
    let setting = Setting { adapter: session.executor(), ..h.setting() };
    let gradient = block_on(session.get_wide(h.gradient()))?;
    let mut checks = symmetries(session, problem, &mut h, &gradient, options)?;
    let places = Places { n: h.dimension(), layout: &h.layout().to_vec(), seed: options.seed };
    let smooth = second_difference(session, problem, &mut h, options)?;
    let mut of_matrices = consistency(session, &mut h, false, options.seed)?;
    drop(h);
    for kind in [Kind::Ggn, Kind::Empirical] {
        // For a handful of products a linearization is not worth its memory.
        let mut a = Curvature::new(session, problem, kind, &Options { linearize: Some(false), ..curve.clone() })?;
        if kind == Kind::Ggn {
            checks.extend(shifts(session, &mut a, &places, &structure(problem, options)?.layers)?);
        }
        of_matrices.extend(consistency(session, &mut a, true, options.seed)?);
    }
    checks.extend(of_matrices);
    checks.push(smooth);
    Ok(Verified { setting, seed: options.seed, checks })
}

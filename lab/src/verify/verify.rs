//! Identities that hold for the curvature of any network of a kind: tests of a measurement that need no reference.

use hillshade_engine::{Session, block_on};
use serde::{Deserialize, Serialize};

use crate::verify::{check::*, structure::Structure, symmetry::*};
use crate::{error::*, landscape::*, operator::*, problem::*};

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

/// Of a second difference of losses in f32.
const DIFFERENCE: f64 = 1e-2;

/// Of a quadratic form that must not be negative.
const NEGATIVE: f64 = 1e-6;

/// Checks that an operator is a symmetric matrix, the same for one direction and for several, and where `positive` says so
/// that it has no negative quadratic form: `|u·A v − v·A u| ≤ 1e-5 ‖u‖ ‖A v‖` with `u = A z`, which lies where `A` acts, and
/// `A (a z + b v) = a A z + b A v`.
pub fn consistency(session: &mut Session, a: &mut dyn Operator, positive: bool, seed: u64) -> Result<Vec<Check>> {
    let (n, which) = (a.dimension(), a.setting().operator);
    let (z, v) = (random(n, seed, 1), random(n, seed, 2));
    let (c, d) = (0.7, -1.3);
    let mixed: Vec<f64> = z.iter().zip(&v).map(|(z, v)| c * z + d * v).collect();
    let mut one = |session: &mut Session, x: &[f64]| products(session, a, &[x]).map(|mut all| all.remove(0));
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
fn second_difference(
    session: &mut Session, problem: &Problem, h: &mut Curvature, options: &Verify, kinks: &[&str],
) -> Result<Check> {
    let [name, what] = ["second difference", "(L(θ + t d) − 2 L(θ) + L(θ − t d))/t² = d·H d"];
    let z = random(h.dimension(), options.seed, 3);
    let hz = products(session, h, &[&z])?.remove(0);
    let length = norm(&hz);
    if length == 0.0 {
        return Ok(Check::skipped(name, what, DIFFERENCE, "no curvature"));
    }
    let d: Vec<f64> = hz.iter().map(|x| f64::from((x / length) as f32)).collect();
    let curvature = dot(&d, &products(session, h, &[&d])?[0]);
    let weights = parameters(session, h.layout())?;
    let squares = h.layout().iter().map(|b| weights[b.range.clone()].iter().map(|w| w * w).sum::<f64>());
    let length = squares.sum::<f64>().sqrt();
    let statistics = match options.batch_norm {
        BatchNorm::Eval => Statistics::Frozen,
        BatchNorm::Batch(size) => Statistics::Batch(size),
        BatchNorm::Full => Statistics::Batch(problem.samples.count()),
    };
    let conditions = Conditions { statistics, micro_batch: options.micro_batch, blocks: Vec::new() };
    let mut line = Line::new(session, problem, &conditions)?;
    line.set(session, &d)?;
    let difference = line.second_derivative(session, 0.1 * length.max(1.0))?;
    let mut check = Check::new(name, what, None, share((difference - curvature).abs(), curvature.abs()), DIFFERENCE);
    if !kinks.is_empty() {
        check.status = Status::Skipped(format!("non-smooth ops: {}", kinks.join(", ")));
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
pub fn verify(session: &mut Session, problem: &Problem, options: &Verify) -> Result<Verified> {
    let Verify { batch_norm, micro_batch, seed } = *options;
    let curve = Options { batch_norm, micro_batch, seed, ..Options::default() };
    let mut h = Curvature::new(session, problem, Matrix::Hessian, &curve)?;
    let setting = measured(session, &h);
    let gradient = block_on(session.get_wide(h.gradient()))?;
    let mut checks = symmetries(session, problem, &mut h, &gradient, options)?;
    let places = Places::new(session, h.layout().to_vec(), seed)?;
    let Structure { layers, kinks } = structure(problem, options)?;
    let smooth = second_difference(session, problem, &mut h, options, &kinks)?;
    let mut of_matrices = consistency(session, &mut h, false, seed)?;
    drop(h);
    for kind in [Matrix::Ggn, Matrix::Empirical] {
        // For a handful of products a linearization is not worth its memory.
        let mut a = Curvature::new(session, problem, kind, &Options { linearize: Some(false), ..curve.clone() })?;
        if kind == Matrix::Ggn {
            checks.extend(shifts(session, &mut a, &places, &layers)?);
        }
        of_matrices.extend(consistency(session, &mut a, true, seed)?);
    }
    checks.extend(of_matrices);
    checks.push(smooth);
    Ok(Verified { setting, seed, checks })
}

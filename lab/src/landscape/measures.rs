//! Numbers along directions: secant curvature, what a step of descent meets, sharpness at a radius.

use hillshade_engine::{Scope, Session, Type};
use serde::{Deserialize, Serialize};

use crate::landscape::{directions::*, flips::*, landscape::*};
use crate::{error::*, layout::*, operator::*, problem::*, solve::mean_and_error};

/// A loss's second derivative along a direction `d`, by differences and by derivatives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Secant {
    /// The radius `r`.
    pub radius: f64,
    /// `(L(θ + r d) − 2 L(θ) + L(θ − r d))/r²`: the mean of the second derivative between the ends, weighted towards the
    /// middle. What kinks do is in it.
    pub secant: f64,
    /// `dᵀ H d` at `θ`, by one product. What kinks do is not in it.
    pub exact: f64,
    /// Signs of ReLUs' inputs that differ between the ends.
    pub flips: Flips,
}

/// Both curvatures along direction `row` of a landscape. `a` is the Hessian at the session's parameters, in the mode
/// [`Landscape::exact`]. Where the loss is smooth they differ by `r²/12` times the fourth derivative, to leading order.
///
/// # Errors
///
/// [`Error::Argument`] for no such direction, a radius that is not positive, or an operator on vectors of another length.
pub fn secant(
    session: &mut Session, landscape: &mut Landscape, directions: &Directions, row: usize, a: &mut dyn Operator,
    radius: f64,
) -> Result<Secant> {
    let (k, n) = (directions.list().len(), landscape.dimension());
    let Some(direction) = directions.list().get(row) else {
        return Err(argument("direction", format!("one below {k}"), row));
    };
    refuse!(!positive(radius), "radius", "a positive number", radius);
    refuse!(a.dimension() != n, "operator", format!("one on vectors of {n}"), a.dimension());
    let point = |c: f64| (0..k).map(|i| if i == row { c } else { 0.0 }).collect::<Vec<f64>>();
    let [up, down, here] = landscape.losses(session, [radius, -radius, 0.0].map(point))?;
    let flips = landscape.flips(session, &point(-radius), &point(radius))?;
    let exact = dot(&direction.vector, &products(session, a, &[&direction.vector])?[0]);
    Ok(Secant { radius, secant: ((up - here) + (down - here)) / (radius * radius), exact, flips })
}

/// What a step of one length meets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepPoint {
    /// The step `η`.
    pub step: f64,
    /// `L(θ − η g)`.
    pub loss: f64,
    /// `‖g(θ) − g(θ − η g)‖`: how little the gradient predicts.
    pub change: f64,
    /// `‖g(θ) − g(θ − η g)‖/(η ‖g‖)`.
    pub smoothness: f64,
}

/// A step of gradient descent, looked at along its way (Santurkar et al. 2018).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `L(θ)`.
    pub loss: f64,
    /// `‖g(θ)‖`.
    pub gradient_norm: f64,
    /// What steps of the lengths asked for meet.
    pub points: Vec<StepPoint>,
    /// The least and the largest loss among them: the loss's variation.
    pub variation: [f64; 2],
    /// The largest `‖Δg‖/‖Δθ‖` among them: the effective β-smoothness.
    pub beta: f64,
}

/// A landscape over one direction in a block of its own.
pub(crate) struct Line {
    landscape: Landscape,
    /// The loss at the parameters themselves.
    center: f64,
    name: String,
    _scope: Scope,
}

impl Line {
    pub fn new(session: &mut Session, problem: &Problem, conditions: &Conditions) -> Result<Self> {
        let (n, scope) = (dimension(&problem.layout(&conditions.blocks)?), session.scope());
        let name = scope.name("direction");
        session.reserve(&name, &Type::f32([1, n]))?;
        let mut landscape = Landscape::over(session, problem, &name, 1, conditions)?;
        Ok(Line { center: landscape.loss(session, &[0.0])?, landscape, name, _scope: scope })
    }

    pub fn set(&self, session: &mut Session, v: &[f64]) -> hillshade_engine::Result<()> {
        session.set(&self.name, &[1, v.len()], &narrow(v))
    }

    /// The loss at a distance from the parameters.
    fn loss(&mut self, session: &mut Session, v: &[f64]) -> Result<f64> {
        self.set(session, v)?;
        self.landscape.loss(session, &[1.0])
    }

    /// The second derivative along the direction, from second differences at steps that halve from `widest` on:
    /// extrapolated for the error in the step (Richardson 1911), where neighbours agree best (Ridders 1982). Long steps err
    /// by the third and higher derivatives, short ones by the rounding of the losses.
    pub fn second_derivative(&mut self, session: &mut Session, widest: f64) -> Result<f64> {
        let mut differences = Vec::new();
        for halvings in 0..14 {
            let h = widest / f64::from(1 << halvings);
            let [above, below] = self.landscape.losses(session, [vec![h], vec![-h]])?;
            differences.push((above - 2.0 * self.center + below) / (h * h));
        }
        let better: Vec<f64> = differences.windows(2).map(|d| (4.0 * d[1] - d[0]) / 3.0).collect();
        let apart = |w: &[f64]| (w[0] - w[1]).abs().max((w[1] - w[2]).abs());
        let best = better.windows(3).filter(|w| apart(w).is_finite()).min_by(|a, b| apart(a).total_cmp(&apart(b)));
        Ok(best.map_or(f64::NAN, |w| w[1]))
    }
}

/// Loss, gradient and smoothness along steps of gradient descent of several lengths.
///
/// # Errors
///
/// [`Error::Argument`] for no steps or such that are not positive, for statistics without a [gradient](Landscape::gradient),
/// and where the gradient is zero or not finite.
pub fn step_measures(session: &mut Session, problem: &Problem, conditions: &Conditions, steps: &[f64]) -> Result<Step> {
    refuse!(steps.is_empty(), "steps", "one or more lengths", 0);
    if let Some(step) = steps.iter().find(|&&step| !positive(step)) {
        return Err(argument("step", "a positive number", step));
    }
    let mut line = Line::new(session, problem, conditions)?;
    let gradient = line.landscape.gradient(session, &[0.0])?;
    let gradient_norm = norm(&gradient);
    refuse!(!positive(gradient_norm), "gradient", "a positive number", gradient_norm);
    line.set(session, &gradient)?;
    let mut points = Vec::new();
    for &step in steps {
        let there = line.landscape.gradient(session, &[-step])?;
        let change = norm(&gradient.iter().zip(&there).map(|(a, b)| a - b).collect::<Vec<_>>());
        let loss = line.landscape.loss(session, &[-step])?;
        points.push(StepPoint { step, loss, change, smoothness: change / (step * gradient_norm) });
    }
    let losses = points.iter().map(|p| p.loss);
    let variation = [losses.clone().fold(f64::INFINITY, f64::min), losses.fold(f64::NEG_INFINITY, f64::max)];
    let beta = points.iter().map(|p| p.smoothness).fold(0.0, f64::max);
    Ok(Step { loss: line.center, gradient_norm, points, variation, beta })
}

/// Which displacements `δ` are within a radius `ρ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ball {
    /// `‖δ‖₂ ≤ ρ`.
    #[default]
    L2,
    /// `|δᵢ| ≤ ρ |wᵢ|`: the same for weights that are rescaled.
    Elementwise,
}

/// How much the loss rises within a radius.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sharpness {
    /// `average` or `worst`.
    pub kind: String,
    /// The set of displacements.
    pub ball: Ball,
    /// Its radius `ρ`.
    pub radius: f64,
    /// `L(θ)`.
    pub loss: f64,
    /// The rise: its mean, or the largest found.
    pub value: f64,
    /// Standard error of the mean; 0 for the largest, which is a lower bound of the true one.
    pub standard_error: f64,
    /// Draws, or steps of ascent.
    pub samples: u32,
    /// Seed of the draws.
    pub seed: u64,
}

/// `E L(θ + δ) − L(θ)` for directions drawn evenly, `‖δ‖₂ = ρ`; about `ρ² tr H/(2n)` for small `ρ` at a minimum.
///
/// # Errors
///
/// [`Error::Argument`] for a radius that is not positive or less than two draws.
pub fn average_sharpness(
    session: &mut Session, problem: &Problem, conditions: &Conditions, radius: f64, draws: u32, seed: u64,
) -> Result<Sharpness> {
    refuse!(!positive(radius), "radius", "a positive number", radius);
    refuse!(draws < 2, "draws", "2 or more", draws);
    let mut line = Line::new(session, problem, conditions)?;
    let (loss, mut rises) = (line.center, Vec::new());
    for draw in 0..draws {
        let z = normal(line.landscape.dimension(), seed, draw);
        let scale = radius / norm(&z);
        rises.push(line.loss(session, &z.iter().map(|z| z * scale).collect::<Vec<_>>())? - loss);
    }
    let (value, standard_error) = mean_and_error(&rises);
    Ok(Sharpness { kind: "average".into(), ball: Ball::L2, radius, loss, value, standard_error, samples: draws, seed })
}

/// The largest `L(θ + δ) − L(θ)` found by projected gradient ascent in a ball (Andriushchenko et al. 2023): from a random
/// place on its rim, steps along the gradient in the ball's own measure, at first twice the radius; where a step does not
/// reach above the best so far, the next is half as long and begins there (as Croce and Hein 2020). 20 steps are usual.
///
/// # Errors
///
/// [`Error::Argument`] for a radius that is not positive, no steps, or statistics without a [gradient](Landscape::gradient).
pub fn worst_sharpness(
    session: &mut Session, problem: &Problem, conditions: &Conditions, ball: Ball, radius: f64, steps: u32, seed: u64,
) -> Result<Sharpness> {
    refuse!(!positive(radius), "radius", "a positive number", radius);
    refuse!(steps == 0, "steps", "1 or more", 0);
    let mut line = Line::new(session, problem, conditions)?;
    let loss = line.center;
    // The bound of each entry, of the largest displacement along it.
    let bounds: Vec<f64> = match ball {
        Ball::L2 => Vec::new(),
        Ball::Elementwise => parameters(session, line.landscape.layout())?.iter().map(|w| radius * w.abs()).collect(),
    };
    // The longest displacement along a gradient.
    let uphill = |v: &[f64]| -> Vec<f64> {
        match ball {
            Ball::L2 => {
                let scale = radius / norm(v).max(f64::MIN_POSITIVE);
                v.iter().map(|v| v * scale).collect()
            }
            Ball::Elementwise => {
                v.iter().zip(&bounds).map(|(v, b)| if *v == 0.0 { 0.0 } else { b * v.signum() }).collect()
            }
        }
    };
    let project = |v: Vec<f64>| -> Vec<f64> {
        match ball {
            Ball::L2 if norm(&v) <= radius => v,
            Ball::L2 => uphill(&v),
            Ball::Elementwise => v.iter().zip(&bounds).map(|(v, b)| v.clamp(-b, *b)).collect(),
        }
    };
    let (mut at, mut length) = (uphill(&normal(line.landscape.dimension(), seed, 0)), 2.0);
    let (mut best, mut highest) = (at.clone(), line.loss(session, &at)?);
    for _ in 0..steps {
        line.set(session, &at)?;
        let step = uphill(&line.landscape.gradient(session, &[1.0])?);
        let next = project(at.iter().zip(&step).map(|(a, s)| a + length * s).collect());
        let reached = line.loss(session, &next)?;
        if reached > highest {
            (best, highest, at) = (next.clone(), reached, next);
        } else {
            length /= 2.0;
            at = best.clone();
        }
    }
    // The parameters themselves are in the ball.
    let value = (highest - loss).max(0.0);
    Ok(Sharpness { kind: "worst".into(), ball, radius, loss, value, standard_error: 0.0, samples: steps, seed })
}

//! Symmetries of losses, and what they say about gradients and Hessians.
//!
//! Where a loss does not change along `θ ↦ e^{tB} θ`, `g·Bθ = 0` and `H Bθ = −Bᵀ g`: differentiate `L(e^{tB} θ) = L(θ)` by
//! `t`, then by `θ`.

use hillshade_engine::{Graph, Session};
use hillshade_models::{Builder, Mode};

use crate::verify::{check::*, structure::*};
use crate::{error::*, landscape::*, layout::*, operator::*, problem::*};

/// Of a product that must vanish, relative to one with a random direction on the same entries.
const VANISHING: f64 = 1e-4;

/// Of a network that is scale-invariant but for the ε = 1e-5 in batch normalization, an error of `ε/(variance + ε)`.
const EPSILON: f64 = 2e-3;

/// Entries of parameters in vectors, with their values.
pub(crate) struct Places {
    layout: Vec<Block>,
    values: Vec<f64>,
    seed: u64,
}

impl Places {
    pub fn new(session: &Session, layout: Vec<Block>, seed: u64) -> Result<Self> {
        parameters(session, &layout).map(|values| Places { layout, values, seed })
    }

    /// A vector of zeros.
    fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.values.len()]
    }

    fn of(&self, name: &str) -> Option<&Block> {
        self.layout.iter().find(|b| b.name == name)
    }

    /// Writes over a parameter's entries what a function gives for its shape, a value and the place in it.
    fn put(&self, to: &mut [f64], name: &str, x: impl Fn(&[usize], f64, usize) -> f64) {
        if let Some(block) = self.of(name) {
            let values = block.range.clone().map(|at| self.values[at]);
            let entries = to[block.range.clone()].iter_mut().zip(values).enumerate();
            entries.for_each(|(i, (to, value))| *to = x(&block.shape, value, i));
        }
    }

    /// A random direction on the entries where another is not 0.
    fn random_beside(&self, direction: &[f64]) -> Vec<f64> {
        let z = random(self.values.len(), self.seed, 9);
        z.iter().zip(direction).map(|(z, d)| if *d == 0.0 { 0.0 } else { *z }).collect()
    }
}

/// `A D = E`, or `A D = 0` where there is no `E`.
struct Claim<'a> {
    name: &'a str,
    what: &'a str,
    layer: &'a str,
    direction: Vec<f64>,
    expected: Option<Vec<f64>>,
    bound: f64,
}

impl Claim<'_> {
    /// Residual `‖A D − E‖/‖A D‖`, to whose bound comes what rounding adds where `A D` is small beside the product `A z`
    /// with a random `z` on the same entries; or `‖A D‖/‖D‖` as a share of `‖A z‖/‖z‖`.
    fn check(&self, session: &mut Session, a: &mut dyn Operator, places: &Places) -> Result<Check> {
        let z = places.random_beside(&self.direction);
        let both = products(session, a, &[&self.direction, &z])?;
        let (moved, usual) = (norm(&both[0]), norm(&both[1]) * share(norm(&self.direction), norm(&z)));
        let (residual, bound) = match &self.expected {
            Some(e) => (share(distance(&both[0], e), moved), self.bound + ROUNDING * share(usual, moved)),
            None => (share(moved, usual), self.bound),
        };
        Ok(Check::new(self.name, self.what, Some(self.layer), residual, bound))
    }
}

const SCALE: [&str; 2] = ["batch-norm scale", "H D = −a g on D = a W, a = ±1 by filter"];
const SLOPE: [&str; 2] = ["batch-norm slope", "g·W = 0 by filter"];
const OFFSET: [&str; 2] = ["batch-norm offset", "H D = 0 on a bias before it"];
const RESCALE: [&str; 2] = ["relu rescaling", "H D = (−a g, +a g') on D = (a W, a b, −a W')"];
const SHIFT: [&str; 2] = ["softmax shift", "A D = 0 on D = 1 (biases), u ⊗ 1 (weights)"];

/// Checks the symmetries of a network by products of a Hessian, which may be anyone's, and a gradient:
///
/// - batch-norm scale: for a weight that feeds a batch normalization, a filter's length does not count, so with
///   `D = a_c W_c` on each filter, `H D = −a_c g_c` there and 0 elsewhere, and `g·W_c = 0`; up to ε. A bias there does
///   nothing: `H e_b = 0`. With running statistics none of these hold, and the checks fail.
/// - relu rescaling: layers `(W, b)` and then `W'` with only positively homogeneous ops between them: what a channel loses
///   before it can gain behind. With `D = (a_c W_c, a_c b_c, −a_c W'_c)`, `H D = (−a g_W, −a g_b, +a g_W')` (Neyshabur et al.
///   2015).
/// - softmax shift, with a cross-entropy: the last layer may add the same number to all logits, so `H` is 0 on 1 in the
///   biases and on `u ⊗ 1` in the weights.
///
/// # Errors
///
/// [`Error::Argument`] for an operator or a gradient that is not of all the problem's parameters.
pub fn symmetries(
    session: &mut Session, problem: &Problem, hessian: &mut dyn Operator, gradient: &[f64], options: &Verify,
) -> Result<Vec<Check>> {
    let normed = structure_in(problem, Mode::Train)?.layers;
    let layout = problem.layout(&[])?;
    let n = dimension(&layout);
    for (what, found) in [("operator", hessian.dimension()), ("gradient", gradient.len())] {
        refuse!(found != n, what, format!("one of {n} parameters"), found);
    }
    let places = Places::new(session, layout, options.seed)?;
    let mut checks = Vec::new();
    for (layer, stream) in normed.iter().filter(|l| l.feeds == Feeds::Norm).zip(0..) {
        checks.extend(scale_invariance(session, hessian, gradient, &places, (layer, stream))?);
    }
    if checks.is_empty() {
        checks.push(Check::skipped(SCALE[0], SCALE[1], EPSILON, "no layer feeds a batch normalization"));
    }
    let layers = structure(problem, options)?.layers;
    let found = checks.len();
    for claim in layers.iter().filter_map(|layer| rescaling(gradient, &places, layer)) {
        checks.push(claim.check(session, hessian, &places)?);
    }
    if checks.len() == found {
        let why = "no two layers with only ReLU, max pooling and reshapes between them";
        checks.push(Check::skipped(RESCALE[0], RESCALE[1], ROUNDING, why));
    }
    checks.extend(shifts(session, hessian, &places, &layers)?);
    Ok(checks)
}

/// What the loss is made of in the mode of the measurement.
pub(crate) fn structure(problem: &Problem, options: &Verify) -> Result<Structure> {
    structure_in(problem, if options.batch_norm == BatchNorm::Eval { Mode::Eval } else { Mode::Train })
}

fn structure_in(problem: &Problem, mode: Mode) -> Result<Structure> {
    let g = Graph::new();
    let (b, parts) = problem.draft(Builder::new(&g, mode), 2)?;
    Ok(Structure::new(&b, parts.losses))
}

fn scale_invariance(
    session: &mut Session, hessian: &mut dyn Operator, gradient: &[f64], places: &Places,
    (layer, stream): (&Layer, u32),
) -> Result<Vec<Check>> {
    let (mut direction, mut expected) = (places.zeros(), places.zeros());
    let Some(block) = places.of(&layer.weight) else { return Ok(Vec::new()) };
    let filters = block.shape.last().copied().unwrap_or(1);
    let signs: Vec<f64> = random(filters, places.seed, 100 + stream).iter().map(|a| a.signum()).collect();
    places.put(&mut direction, &layer.weight, |_, w, i| signs[i % filters] * w);
    // Along a filter and its slope, and the lengths that bound it.
    let (mut along, mut lengths) = (vec![0.0; filters], vec![[0.0; 2]; filters]);
    for (i, at) in block.range.clone().enumerate() {
        let (c, g, d) = (i % filters, gradient[at], direction[at]);
        expected[at] = -signs[c] * g;
        along[c] += g * d;
        lengths[c] = [lengths[c][0] + g * g, lengths[c][1] + d * d];
    }
    let longest = lengths.iter().map(|[g, d]| g * d).sum::<f64>().sqrt();
    let name = layer.weight.as_str();
    let [scale, what] = SCALE;
    let claim = Claim { name: scale, what, layer: name, direction, expected: Some(expected), bound: EPSILON };
    let mut checks = vec![claim.check(session, hessian, places)?];
    checks.push(Check::new(SLOPE[0], SLOPE[1], Some(name), share(norm(&along), longest), EPSILON));
    if let Some(bias) = &layer.bias {
        // Beside the product with the weight, as all products on the bias vanish.
        let (mut direction, mut beside) = (places.zeros(), places.zeros());
        let z = random(block.range.len(), places.seed, 9);
        places.put(&mut direction, bias, |_, _, i| signs[i]);
        places.put(&mut beside, &layer.weight, |_, _, i| z[i]);
        let both = products(session, hessian, &[&direction, &beside])?;
        let residual = share(norm(&both[0]) * norm(&beside), norm(&both[1]) * norm(&direction));
        checks.push(Check::new(OFFSET[0], OFFSET[1], Some(bias), residual, VANISHING));
    }
    Ok(checks)
}

fn rescaling<'a>(gradient: &[f64], places: &Places, layer: &'a Layer) -> Option<Claim<'a>> {
    let Feeds::Layer(next) = &layer.feeds else { return None };
    let (own, after) = (places.of(&layer.weight)?, places.of(next)?);
    let (channels, outs) = (own.shape.last().copied().unwrap_or(1), after.shape.last().copied().unwrap_or(1));
    // Channels come last, so that a layer takes them in turn, after a flattening too. One of groups takes some of them:
    // then all are scaled alike.
    let taken = after.shape.iter().rev().nth(1).copied().unwrap_or(1);
    let scales = match taken.is_multiple_of(channels) {
        true => random(channels, places.seed, 11),
        false => vec![1.0; channels],
    };
    let (mut direction, mut expected) = (places.zeros(), places.zeros());
    let mut put = |name: &str, scale: &dyn Fn(usize) -> f64| {
        places.put(&mut direction, name, |_, w, i| scale(i) * w);
        let at = places.of(name).map_or(0..0, |block| block.range.clone());
        at.enumerate().for_each(|(i, at)| expected[at] = -scale(i) * gradient[at]);
    };
    for parameter in std::iter::once(&layer.weight).chain(&layer.bias) {
        put(parameter, &|i| scales[i % channels]);
    }
    put(next, &|i| -scales[i / outs % channels]);
    let [name, what] = RESCALE;
    Some(Claim { name, what, layer: &layer.weight, direction, expected: Some(expected), bound: 2.0 * ROUNDING })
}

/// The softmax shift, for the Hessian or the Gauss-Newton matrix.
pub(crate) fn shifts(
    session: &mut Session, a: &mut dyn Operator, places: &Places, layers: &[Layer],
) -> Result<Vec<Check>> {
    let [_, what] = SHIFT;
    let name = &format!("{}, {}", SHIFT[0], a.setting().operator);
    let Some(last) = layers.iter().find(|l| l.feeds == Feeds::Softmax) else {
        let why = "no layer whose outputs go straight into a cross-entropy";
        return Ok(vec![Check::skipped(name, what, VANISHING, why)]);
    };
    let mut checks = Vec::new();
    for parameter in std::iter::once(&last.weight).chain(&last.bias) {
        let mut direction = places.zeros();
        let u = random(direction.len(), places.seed, 10);
        places.put(&mut direction, parameter, |shape, _, i| match shape {
            [_] => 1.0,
            _ => u[i / shape.last().copied().unwrap_or(1)],
        });
        let claim = Claim { name, what, layer: parameter, direction, expected: None, bound: VANISHING };
        checks.push(claim.check(session, a, places)?);
    }
    Ok(checks)
}

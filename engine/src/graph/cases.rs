//! Test cases: what an op is tried on, for tests, benches and docs alike.

use std::sync::Arc;

use crate::{
    error::Result,
    graph::Tensor,
    tensor::{Shape, Type, philox},
};

/// How an operand is drawn; the same numbers on every machine.
#[derive(Debug, Clone)]
pub enum Generator {
    /// Uniform between the bounds.
    Range(Shape, f64, f64),
    /// Uniform in absolute value between the bounds, with either sign: away from a kink at zero.
    Away(Shape, f64, f64),
    /// Indices below a bound.
    Below(Shape, u32),
    /// These numbers.
    Exact(Shape, Vec<f32>),
    /// These words.
    Words(Vec<u32>),
}

/// The data of an operand: floats rounded to f32, or indices.
#[derive(Debug, Clone, PartialEq)]
pub enum OperandData {
    /// For an f32 operand.
    Float(Vec<f32>),
    /// For a u32 operand.
    Index(Vec<u32>),
}

impl Generator {
    /// The operand's type.
    pub fn ty(&self) -> Type {
        match self {
            Generator::Range(s, ..) | Generator::Away(s, ..) | Generator::Exact(s, _) => Type::f32(s.clone()),
            Generator::Below(s, _) => Type::u32(s.clone()),
            Generator::Words(w) => Type::u32(vec![w.len()]),
        }
    }

    /// The operand, drawn from the stream of this number.
    pub fn draw(&self, stream: u32) -> OperandData {
        let unit = |i: usize| f64::from(philox([i as u32, stream, 0, 0], [7, 0])[0]) / 4_294_967_296.0;
        let sign = |i: usize| if philox([i as u32, stream, 1, 0], [7, 0])[0] & 1 == 0 { 1.0 } else { -1.0 };
        let floats =
            |f: &dyn Fn(usize) -> f64| OperandData::Float((0..self.ty().count()).map(|i| f(i) as f32).collect());
        match self {
            Generator::Range(_, lo, hi) => floats(&|i| lo + (hi - lo) * unit(i)),
            Generator::Away(_, lo, hi) => floats(&|i| sign(i) * (lo + (hi - lo) * unit(i))),
            Generator::Below(s, below) => {
                let below = f64::from(*below);
                OperandData::Index((0..crate::tensor::shape::count(s)).map(|i| (unit(i) * below) as u32).collect())
            }
            Generator::Exact(_, x) => OperandData::Float(x.clone()),
            Generator::Words(w) => OperandData::Index(w.clone()),
        }
    }
}

type Build = Arc<dyn for<'g> Fn(&[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> + Send + Sync>;

/// One case: operands, the graph on them, and how well and how often it must hold.
#[derive(Clone)]
pub struct TestCase {
    /// Op and sizes, for messages.
    pub what: String,
    /// The operands.
    pub x: Vec<Generator>,
    /// Adds the op to the graph of the operands.
    pub build: Build,
    /// Largest error of the device against the reference, relative to the largest `|y|`.
    pub tolerance: f64,
    /// How often the op may be differentiated: 0, 1, or 2 for any number of times.
    pub order: u8,
}

impl std::fmt::Debug for TestCase {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl TestCase {
    /// A case with tolerance 1e-6, differentiable any number of times.
    pub fn new(
        what: impl Into<String>, x: Vec<Generator>,
        build: impl for<'g> Fn(&[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> + Send + Sync + 'static,
    ) -> Self {
        TestCase { what: what.into(), x, build: Arc::new(build), tolerance: 1e-6, order: 2 }
    }

    /// [`TestCase::new`] of an op with one result.
    pub fn one(
        what: impl Into<String>, x: Vec<Generator>,
        build: impl for<'g> Fn(&[Tensor<'g>]) -> Tensor<'g> + Send + Sync + 'static,
    ) -> Self {
        TestCase::new(what, x, move |x| Ok(vec![build(x)]))
    }

    /// With this tolerance.
    pub fn tolerance(self, tolerance: f64) -> Self {
        TestCase { tolerance, ..self }
    }

    /// Differentiable this often.
    pub fn order(self, order: u8) -> Self {
        TestCase { order, ..self }
    }
}

/// Uniform in a range.
pub(crate) fn range(shape: &[usize], lo: f64, hi: f64) -> Generator {
    Generator::Range(shape.to_vec(), lo, hi)
}

/// Standard test operand: uniform in ±1.
pub(crate) fn unit(shape: &[usize]) -> Generator {
    range(shape, -1.0, 1.0)
}

/// Where a pointwise op is tried: for each operand bounds and whether to keep off zero.
pub(crate) struct Domain {
    lo: f64,
    hi: f64,
    away: bool,
    extremes: Vec<f32>,
}

/// Operands between these bounds.
pub(crate) fn within(lo: f64, hi: f64) -> Domain {
    Domain { lo, hi, away: false, extremes: Vec::new() }
}

/// Operands of these absolute values.
pub(crate) fn away(lo: f64, hi: f64) -> Domain {
    Domain { lo, hi, away: true, extremes: Vec::new() }
}

impl Domain {
    /// And these values, in a case that is not differentiated: saturation and kinks.
    pub(crate) fn and(self, extremes: &[f32]) -> Self {
        Domain { extremes: extremes.to_vec(), ..self }
    }

    fn sample(&self, shape: &[usize]) -> Generator {
        match self.away {
            true => Generator::Away(shape.to_vec(), self.lo, self.hi),
            false => Generator::Range(shape.to_vec(), self.lo, self.hi),
        }
    }
}

/// The constants with which pointwise ops are tried.
pub(crate) fn constant(name: &str) -> f64 {
    match name {
        "lo" => -0.75,
        "hi" => 0.5,
        "scale" => -1.75,
        _ => 0.3125,
    }
}

/// The cases of a pointwise op: lengths around a workgroup, broadcasting from either side, extremes.
pub(crate) fn pointwise<const N: usize>(
    name: &str, order: u8, domains: [Domain; N], apply: for<'g> fn(&[Tensor<'g>]) -> Tensor<'g>,
) -> Vec<TestCase> {
    let mut shapes: Vec<[Shape; N]> = [1, 255, 256, 257, 1031].map(|len| std::array::from_fn(|_| vec![len])).to_vec();
    if N > 1 {
        let last = |shape: &[usize]| -> [Shape; N] {
            std::array::from_fn(|n| if n == N - 1 { shape.to_vec() } else { vec![3, 5, 7] })
        };
        shapes.extend([last(&[7]), last(&[5, 1]), last(&[]), last(&[3, 1, 7]), last(&[1, 1, 1])]);
        shapes.push(std::array::from_fn(|n| if n == 0 { vec![5, 1, 1] } else { vec![67, 1, 3, 9] }));
        // Runs in vec4s, of which the last operand has all or one.
        for shape in [vec![5, 8], vec![5, 1]] {
            shapes.push(std::array::from_fn(|n| if n == N - 1 { shape.clone() } else { vec![3, 5, 8] }));
        }
    }
    let mut cases: Vec<TestCase> = shapes
        .iter()
        .map(|shapes| {
            let x = domains.iter().zip(shapes).map(|(d, s)| d.sample(s)).collect();
            TestCase::one(format!("{name} {shapes:?}"), x, apply).order(order)
        })
        .collect();
    let most = domains.iter().map(|d| d.extremes.len()).max().unwrap_or(0);
    if most > 0 {
        let x = domains
            .iter()
            .map(|d| match d.extremes.as_slice() {
                [] => d.sample(&[most]),
                x => Generator::Exact(vec![most], x.iter().copied().cycle().take(most).collect()),
            })
            .collect();
        cases.push(TestCase::one(format!("{name} extremes"), x, apply).order(0));
    }
    cases
}

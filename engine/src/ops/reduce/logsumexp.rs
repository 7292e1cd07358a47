//! The logarithm of a sum of exponentials, and the softmax made of it.

use crate::ops::reduce::sum::{REDUCED, infer_middle};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{launch::Launches, target::Class},
    ops::reduce::frame,
    tensor::dtype::{DType, Type},
    testing::cases::{Case, Sample, unit},
};

/// The op of [`Graph::logsumexp`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug)]
pub struct Logsumexp;

impl Logsumexp {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        // The largest element and Σ e^(x − largest).
        let combine = |a: (F, F), b: (F, F)| {
            let m = a.0.max(b.0);
            (m, a.1 * (a.0 - m).exponential() + b.1 * (b.0 - m).exponential())
        };
        let of = |a, x, _| combine(a, (x, F::one()));
        let none = (F::min_value(), F::zero());
        frame::fold(x[0].shape(), x[0].floats(), y[0].floats_mut(), none, of, combine, |a| a.0 + a.1.ln());
    }

    /// `e^(x − y)`: the softmax.
    fn weights(g: &mut Graph, at: At) -> Result<Var> {
        let y = g.along(at.y[0], at.x[0])?;
        let relative = g.sub(at.x[0], y)?;
        g.exp(relative)
    }
}

impl Op for Logsumexp {
    cpu!();

    fn name(&self) -> &'static str {
        "logsumexp"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        infer_middle("logsumexp", x, DType::F32)
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        frame::launches(class, "logsumexp", x[0], true)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        2 * x[0].count() as u64
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        let all = g.fold_stack(x.x[0], 0)?;
        let y = g.apply(Logsumexp, &[all])?;
        Ok(Some(vec![g.unfold_stack(y, 0, x.k)?]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let weights = Self::weights(g, at)?;
        g.weigh_back(weights, ct[0])
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let weights = Self::weights(g, at)?;
        g.weigh_forth(weights, dx[0])
    }
}

impl Graph {
    /// `y = log Σ eˣ` over some axes, relative to the largest `x`, so that nothing overflows.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when an axis does not exist.
    pub fn logsumexp(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let (middle, rest) = self.middle("logsumexp", x, axes)?;
        let y = self.apply(Logsumexp, &[middle])?;
        self.reshape(y, &rest)
    }

    /// `y = eˣ / Σ eˣ` along an axis.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the axis does not exist.
    pub fn softmax(&mut self, x: Var, axis: usize) -> Result<Var> {
        let total = self.logsumexp(x, &[axis])?;
        let total = self.unsqueeze(total, &[axis])?;
        let relative = self.sub(x, total)?;
        self.exp(relative)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = REDUCED
        .iter()
        .map(|&(shape, axes)| {
            Case::new(format!("logsumexp {shape:?} {axes:?}"), vec![unit(shape)], move |g, x| {
                Ok(vec![g.logsumexp(x[0], axes)?])
            })
        })
        .collect();
    let large = Sample::Exact(vec![2, 3], vec![1e4, -1e4, 9999.0, -1e4, -1e4, -9999.5]);
    all.push(Case::new("logsumexp of ±1e4", vec![large], |g, x| Ok(vec![g.logsumexp(x[0], &[1])?])).order(0));
    all.push(Case::new("softmax", vec![unit(&[5, 67])], |g, x| Ok(vec![g.softmax(x[0], 1)?])));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let shape = [2049, 515];
    let total = |g: &mut Graph, x: &[Var]| Ok(vec![g.logsumexp(x[0], &[1])?]);
    let softmax = |g: &mut Graph, x: &[Var]| Ok(vec![g.softmax(x[0], 1)?]);
    vec![
        Case::new(format!("{shape:?} over [1]"), vec![unit(&shape)], total),
        Case::new(format!("softmax {shape:?}"), vec![unit(&shape)], softmax).tolerance(2e-6),
    ]
}

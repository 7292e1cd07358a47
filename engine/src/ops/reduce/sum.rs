//! Sums, and the means and variances made of them.

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
    tensor::{
        dtype::{DType, Type, expect_dtypes, shape_error},
        shape::{self, Shape},
    },
    testing::cases::{Case, range, unit},
};

/// The op of [`Graph::sum`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug)]
pub struct Sum;

impl Sum {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let add = |a: F, b: F| a + b;
        frame::fold(x[0].shape(), x[0].floats(), y[0].floats_mut(), F::zero(), |a, x, _| a + x, add, |a| a);
    }
}

/// Drops the middle axis of three.
pub(crate) fn infer_middle(op: &'static str, x: &[&Type], dtype: DType) -> Result<Vec<Type>> {
    expect_dtypes(op, x, &[DType::F32])?;
    match x[0].shape[..] {
        [outer, _, inner] => Ok(vec![Type { shape: vec![outer, inner], dtype }]),
        _ => Err(shape_error(op, "x is [outer, n, inner]", x)),
    }
}

impl Op for Sum {
    cpu!();

    fn name(&self) -> &'static str {
        "sum"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        infer_middle("sum", x, DType::F32)
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        frame::launches(class, "sum", x[0], true)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        x[0].count() as u64
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        let all = g.fold_stack(x.x[0], 0)?;
        let y = g.apply(Sum, &[all])?;
        Ok(Some(vec![g.unfold_stack(y, 0, x.k)?]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![ct[0].map(|ct| g.along(ct, at.x[0])).transpose()?])
    }

    fn jvp(&self, g: &mut Graph, _: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.apply(Sum, &[dx])).transpose()?])
    }
}

impl Graph {
    /// `y = Σ x` over some axes, which the result does not have. The order of summation depends on the shape alone.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when an axis does not exist.
    pub fn sum(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let (middle, rest) = self.middle("sum", x, axes)?;
        match self.shape(middle)[1] {
            1 => self.reshape(x, &rest),
            _ => {
                let y = self.apply(Sum, &[middle])?;
                self.reshape(y, &rest)
            }
        }
    }

    /// Sums `x` to a shape that broadcasts to its own: the transpose of [`Graph::broadcast`].
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `shape` does not broadcast to that of `x`.
    pub fn sum_to(&mut self, x: Var, shape: &[usize]) -> Result<Var> {
        let own = self.shape(x).to_vec();
        if shape::broadcast(shape, &own).is_none_or(|all| shape::count(&all) != shape::count(&own)) {
            return Err(shape_error("sum_to", format!("{shape:?} broadcasts to it"), &[self.ty(x)]));
        }
        if own.len() < shape.len() {
            return self.reshape(x, shape);
        }
        let y = self.sum(x, &shape::broadcast_axes(shape, &own))?;
        self.reshape(y, shape)
    }

    /// `y = Σ x / n` over some axes.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when an axis does not exist.
    pub fn mean(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let y = self.sum(x, axes)?;
        let n = self.ty(x).count() / self.ty(y).count();
        self.affine(y, 1.0 / n as f64, 0.0)
    }

    /// `y = Σ (x − mean)² / n` over some axes: the biased variance, from deviations, never as `E x² − (E x)²`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when an axis does not exist.
    pub fn variance(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let (middle, rest) = self.middle("variance", x, axes)?;
        let mean = self.mean(middle, &[1])?;
        let mean = self.unsqueeze(mean, &[1])?;
        let deviation = self.sub(middle, mean)?;
        let square = self.mul(deviation, deviation)?;
        let y = self.mean(square, &[1])?;
        self.reshape(y, &rest)
    }
}

/// Shapes and axes on which reductions are tried.
pub(crate) const REDUCED: &[(&[usize], &[usize])] = &[
    (&[1], &[0]),
    (&[257], &[0]),
    (&[3, 67], &[1]),
    (&[67, 3], &[0]),
    (&[5, 3, 33], &[1]),
    (&[3, 5, 7], &[0, 2]),
    (&[2, 9, 5, 65], &[0, 1, 2]),
    (&[2999, 5], &[0]),
    (&[10007], &[0]),
];

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for &(shape, axes) in REDUCED {
        all.push(Case::new(format!("sum {shape:?} {axes:?}"), vec![unit(shape)], move |g, x| {
            Ok(vec![g.sum(x[0], axes)?])
        }));
    }
    let variance = |shift: f64| {
        move |g: &mut Graph, x: &[Var]| {
            let x = g.affine(x[0], 1.0, shift)?;
            Ok(vec![g.variance(x, &[0, 2])?])
        }
    };
    all.push(Case::new("variance", vec![unit(&[3, 5, 67])], variance(0.0)));
    all.push(Case::new("variance far from zero", vec![unit(&[3, 5, 67])], variance(1000.0)).tolerance(1e-4).order(0));
    let to = |from: Shape, to: Shape| {
        Case::new(format!("sum_to {from:?} {to:?}"), vec![unit(&from)], move |g, x| Ok(vec![g.sum_to(x[0], &to)?]))
    };
    all.extend([to(vec![3, 5, 7], vec![5, 1]), to(vec![3, 5, 7], vec![3, 1, 7]), to(vec![3, 5], vec![])]);
    all
}

/// Shapes and axes on which reductions are timed: everything, rows, columns, the middle.
pub(crate) const TIMED: [(&[usize], &[usize]); 4] =
    [(&[1_048_583], &[0]), (&[2049, 515], &[1]), (&[16_387, 67], &[0]), (&[33, 253, 129], &[1])];

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let case = |(shape, axes): (&[usize], &'static [usize])| {
        let build = |g: &mut Graph, x: &[Var]| Ok(vec![g.sum(x[0], axes)?]);
        Case::new(format!("{shape:?} over {axes:?}"), vec![range(shape, 0.0, 1.0)], build).tolerance(5e-6)
    };
    TIMED.map(case).into()
}

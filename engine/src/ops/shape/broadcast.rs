//! Repeats a value along axes.

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
    ops::shape::strided::Strided,
    tensor::{
        dtype::{Type, shape_error},
        shape::{self, Shape, signed},
    },
    testing::cases::{Case, unit},
};

/// The op of [`Graph::broadcast`].
#[derive(Debug)]
pub struct Broadcast {
    shape: Shape,
}

impl Broadcast {
    fn view(&self, x: &[usize]) -> Strided {
        Strided { base: 0, strides: signed(&shape::broadcast_strides(x, &self.shape)) }
    }

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        self.view(x[0].shape()).eval(&self.shape, &x[0], &mut y[0]);
    }
}

impl Op for Broadcast {
    cpu!();

    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        if shape::broadcast(&x[0].shape, &self.shape).as_deref() != Some(&self.shape) {
            return Err(shape_error("broadcast", format!("broadcasts to {:?}", self.shape), x));
        }
        Ok(vec![Type { shape: self.shape.clone(), dtype: x[0].dtype }])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        self.view(&x[0].shape).launch(y[0])
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        let stack = g.align(x.x[0], self.shape.len())?;
        Ok(Some(vec![g.broadcast(stack, &[&[x.k], &self.shape[..]].concat())?]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let shape = g.shape(at.x[0]).to_vec();
        Ok(vec![ct[0].map(|ct| g.sum_to(ct, &shape)).transpose()?])
    }

    fn jvp(&self, g: &mut Graph, _: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.broadcast(dx, &self.shape)).transpose()?])
    }
}

impl Graph {
    /// `x` repeated to `shape`: aligned at the last axis, extents equal or 1. Linear; its transpose is [`Graph::sum_to`].
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `x` does not broadcast to `shape`.
    pub fn broadcast(&mut self, x: Var, shape: &[usize]) -> Result<Var> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        let fits = shape::broadcast(self.shape(x), shape).as_deref() == Some(shape);
        if fits && self.ty(x).count() == shape::count(shape) {
            return self.reshape(x, shape);
        }
        self.apply(Broadcast { shape: shape.to_vec() }, &[x])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    [(vec![], vec![257]), (vec![5, 1], vec![3, 5, 7]), (vec![3, 1, 7], vec![3, 5, 7]), (vec![7], vec![2, 7])]
        .into_iter()
        .map(|(from, to): (Shape, Shape)| {
            Case::new(format!("broadcast {from:?} {to:?}"), vec![unit(&from)], move |g, x| {
                Ok(vec![g.broadcast(x[0], &to)?])
            })
        })
        .collect()
}

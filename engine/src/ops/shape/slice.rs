//! A stretch of one axis.

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
        shape::{self, signed},
    },
    testing::cases::{Case, unit},
};

/// The op of [`Graph::slice`].
#[derive(Debug)]
pub struct Slice {
    axis: usize,
    start: usize,
    len: usize,
}

impl Slice {
    fn view(&self, x: &[usize]) -> Strided {
        let strides = shape::strides(x);
        Strided { base: self.start * strides[self.axis], strides: signed(&strides) }
    }

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let mut shape = x[0].shape().to_vec();
        shape[self.axis] = self.len;
        self.view(x[0].shape()).eval(&shape, &x[0], &mut y[0]);
    }
}

impl Op for Slice {
    cpu!();

    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let mut shape = x[0].shape.clone();
        match shape.get_mut(self.axis) {
            Some(extent) if self.len > 0 && self.start + self.len <= *extent => *extent = self.len,
            _ => {
                let rule = format!("axis {} holds {}..{}", self.axis, self.start, self.start + self.len);
                return Err(shape_error("slice", rule, x));
            }
        }
        Ok(vec![Type { shape, dtype: x[0].dtype }])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        self.view(&x[0].shape).launch(y[0])
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        Ok(Some(vec![g.slice(x.x[0], self.axis + 1, self.start, self.len)?]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let shape = g.shape(at.x[0]);
        let mut margins = vec![[0, 0]; shape.len()];
        margins[self.axis] = [self.start, shape[self.axis] - self.start - self.len];
        Ok(vec![ct[0].map(|ct| g.pad(ct, &margins, 0.0)).transpose()?])
    }

    fn jvp(&self, g: &mut Graph, _: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.slice(dx, self.axis, self.start, self.len)).transpose()?])
    }
}

impl Graph {
    /// `x` restricted to `start..start + len` along one axis. Linear; its transpose is [`Graph::pad`].
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the axis does not hold the stretch, or it is empty.
    pub fn slice(&mut self, x: Var, axis: usize, start: usize, len: usize) -> Result<Var> {
        if start == 0 && self.shape(x).get(axis) == Some(&len) {
            return Ok(x);
        }
        self.apply(Slice { axis, start, len }, &[x])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    [(0, 1, 2), (1, 0, 65), (1, 66, 1), (2, 1, 3)]
        .into_iter()
        .map(|(axis, start, len)| {
            Case::new(format!("slice {axis} {start} {len}"), vec![unit(&[3, 67, 5])], move |g, x| {
                Ok(vec![g.slice(x[0], axis, start, len)?])
            })
        })
        .collect()
}

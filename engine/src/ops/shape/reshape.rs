//! The same elements under another shape, and values that derivatives do not see.

use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
    },
    error::{Error, Result},
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{launch::Launches, target::Class},
    tensor::{
        dtype::{Type, shape_error},
        shape::{self, DIMS, Shape},
    },
    testing::cases::{Case, unit},
};

/// The op of [`Graph::reshape`].
#[derive(Debug)]
pub struct Reshape {
    shape: Shape,
}

impl Reshape {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        y[0].copy_from(x[0].data);
    }
}

impl Op for Reshape {
    cpu!();

    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        if shape::count(&self.shape) != x[0].count() || self.shape.len() > DIMS {
            let rule = format!("{:?} has as many elements, and at most {DIMS} axes", self.shape);
            return Err(shape_error("reshape", rule, x));
        }
        Ok(vec![Type { shape: self.shape.clone(), dtype: x[0].dtype }])
    }

    fn launch(&self, _: Class, _: &[&Type], _: &[&Type]) -> Launches {
        Launches::default()
    }

    fn is_view(&self) -> bool {
        true
    }

    fn flops(&self, _: &[&Type], _: &[&Type]) -> u64 {
        0
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        Ok(Some(vec![g.reshape(x.x[0], &[&[x.k], &self.shape[..]].concat())?]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let shape = g.shape(at.x[0]).to_vec();
        Ok(vec![ct[0].map(|ct| g.reshape(ct, &shape)).transpose()?])
    }

    fn jvp(&self, g: &mut Graph, _: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.reshape(dx, &self.shape)).transpose()?])
    }
}

impl Graph {
    /// The same elements in the same order under another shape; no dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when the numbers of elements differ or there are more than eight axes.
    pub fn reshape(&mut self, x: Var, shape: &[usize]) -> Result<Var> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.apply(Reshape { shape: shape.to_vec() }, &[x])
    }

    /// Inserts axes of extent 1, at these places of the result.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when a place lies beyond the result.
    pub fn unsqueeze(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let mut shape = self.shape(x).to_vec();
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        for axis in axes {
            if axis > shape.len() {
                let rule = format!("axis {axis} exists in the result");
                return Err(Error::Shape { op: "unsqueeze", rule, got: format!("{:?}", self.shape(x)) });
            }
            shape.insert(axis, 1);
        }
        self.reshape(x, &shape)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("reshape", vec![unit(&[3, 10])], |g, x| {
        let y = g.reshape(x[0], &[2, 5, 3])?;
        Ok(vec![g.mul(y, y)?])
    })]
}

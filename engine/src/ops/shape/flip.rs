//! Reverses axes.

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

/// The op of [`Graph::flip`].
#[derive(Debug)]
pub struct Flip {
    axes: Vec<usize>,
}

impl Flip {
    fn view(&self, x: &[usize]) -> Strided {
        let mut strides = signed(&shape::strides(x));
        let mut base = 0;
        for &axis in &self.axes {
            base += (x[axis] - 1) * strides[axis] as usize;
            strides[axis] = -strides[axis];
        }
        Strided { base, strides }
    }

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        self.view(x[0].shape()).eval(x[0].shape(), &x[0], &mut y[0]);
    }
}

impl Op for Flip {
    cpu!();

    fn name(&self) -> &'static str {
        "flip"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let twice = (1..self.axes.len()).any(|i| self.axes[..i].contains(&self.axes[i]));
        if twice || self.axes.iter().any(|&a| a >= x[0].shape.len()) {
            return Err(shape_error("flip", format!("{:?} are axes, each once", self.axes), x));
        }
        Ok(vec![x[0].clone()])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        self.view(&x[0].shape).launch(y[0])
    }

    fn vjp(&self, g: &mut Graph, _: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![ct[0].map(|ct| g.flip(ct, &self.axes)).transpose()?])
    }

    fn jvp(&self, g: &mut Graph, _: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.flip(dx, &self.axes)).transpose()?])
    }
}

impl Graph {
    /// `x` with these axes reversed. Linear, and its own transpose.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when an axis does not exist or is named twice.
    pub fn flip(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        self.apply(Flip { axes: axes.to_vec() }, &[x])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    [vec![0], vec![1], vec![2, 0]]
        .into_iter()
        .map(|axes: Vec<usize>| {
            Case::new(format!("flip {axes:?}"), vec![unit(&[3, 17, 5])], move |g, x| Ok(vec![g.flip(x[0], &axes)?]))
        })
        .collect()
}

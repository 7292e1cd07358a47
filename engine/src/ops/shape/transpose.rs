//! Permutes axes.

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
        shape::{self, Shape},
    },
    testing::cases::{Case, unit},
};

/// The op of [`Graph::transpose`].
#[derive(Debug)]
pub struct Transpose {
    axes: Vec<usize>,
}

impl Transpose {
    fn view(&self, x: &[usize]) -> (Shape, Strided) {
        let strides = shape::strides(x);
        (
            self.axes.iter().map(|&a| x[a]).collect(),
            Strided { base: 0, strides: self.axes.iter().map(|&a| strides[a] as isize).collect() },
        )
    }

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let (shape, view) = self.view(x[0].shape());
        view.eval(&shape, &x[0], &mut y[0]);
    }
}

impl Op for Transpose {
    cpu!();

    fn name(&self) -> &'static str {
        "transpose"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x[0].shape.len()) {
            return Err(shape_error("transpose", format!("{:?} is a permutation of the axes", self.axes), x));
        }
        Ok(vec![Type { shape: self.view(&x[0].shape).0, dtype: x[0].dtype }])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        self.view(&x[0].shape).1.launch(y[0])
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        let axes: Vec<usize> = [0].into_iter().chain(self.axes.iter().map(|a| a + 1)).collect();
        Ok(Some(vec![g.transpose(x.x[0], &axes)?]))
    }

    fn vjp(&self, g: &mut Graph, _: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let mut inverse = vec![0; self.axes.len()];
        for (i, &axis) in self.axes.iter().enumerate() {
            inverse[axis] = i;
        }
        Ok(vec![ct[0].map(|ct| g.transpose(ct, &inverse)).transpose()?])
    }

    fn jvp(&self, g: &mut Graph, _: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.transpose(dx, &self.axes)).transpose()?])
    }
}

impl Graph {
    /// Axis `i` of the result is axis `axes[i]` of `x`. Linear; its transpose is the inverse permutation.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `axes` is no permutation.
    pub fn transpose(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        if axes.iter().copied().eq(0..self.shape(x).len()) {
            return Ok(x);
        }
        self.apply(Transpose { axes: axes.to_vec() }, &[x])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    [
        (vec![3, 67], vec![1, 0]),
        (vec![2, 3, 5], vec![2, 0, 1]),
        (vec![2, 3, 5, 7], vec![0, 2, 1, 3]),
        (vec![2, 1, 3, 2, 5], vec![4, 2, 0, 3, 1]),
    ]
    .into_iter()
    .map(|(shape, axes): (Shape, Vec<usize>)| {
        Case::new(format!("transpose {shape:?} {axes:?}"), vec![unit(&shape)], move |g, x| {
            Ok(vec![g.transpose(x[0], &axes)?])
        })
    })
    .collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let all: [(&[usize], &'static [usize]); 2] = [(&[1031, 1027], &[1, 0]), (&[16, 129, 8, 64], &[0, 2, 1, 3])];
    let case = |(shape, axes): (&[usize], &'static [usize])| {
        Case::new(format!("{shape:?} as {axes:?}"), vec![unit(shape)], |g, x| Ok(vec![g.transpose(x[0], axes)?]))
    };
    all.map(case).into()
}

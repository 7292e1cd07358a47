//! A margin of one value around an array.

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
    launch::{
        launch::{Bind, Launch, Launches, word},
        target::Class,
    },
    tensor::{
        dtype::{DType, Type, expect_dtypes, shape_error},
        shape::{self, DIMS, Loops, Shape, signed},
    },
    testing::cases::{Case, unit},
};

/// The op of [`Graph::pad`].
#[derive(Debug)]
pub struct Pad {
    margins: Vec<[usize; 2]>,
    value: f64,
}

impl Pad {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let from = x[0].shape();
        let to: Shape = from.iter().zip(&self.margins).map(|(n, [a, b])| n + a + b).collect();
        let strides = shape::strides(&to);
        let base: usize = strides.iter().zip(&self.margins).map(|(s, [before, _])| s * before).sum();
        let y = y[0].floats_mut();
        y.fill(F::of(self.value));
        let loops = Loops::new(from, [&signed(&shape::strides(from)), &signed(&strides)]);
        let run = loops.run();
        loops.each_run(0, loops.runs(), |_, [source, target]| {
            let source = &x[0].floats()[source as usize..];
            let stride = loops.strides[loops.strides.len() - 1];
            for i in 0..run {
                y[base + target as usize + i * stride[1] as usize] = source[i * stride[0] as usize];
            }
        });
    }
}

impl Op for Pad {
    cpu!();

    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("pad", x, &[DType::F32])?;
        if self.margins.len() != x[0].shape.len() || x[0].shape.len() > DIMS {
            return Err(shape_error("pad", format!("{} axes have a margin", self.margins.len()), x));
        }
        Ok(vec![Type::f32(x[0].shape.iter().zip(&self.margins).map(|(n, [a, b])| n + a + b).collect::<Shape>())])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let len = y[0].count();
        let strides = shape::strides(&x[0].shape);
        let mut words = vec![word(len), (self.value as f32).to_bits(), word(x[0].shape.len()), 0];
        for (axis, &stride) in strides.iter().enumerate() {
            words.extend([y[0].shape[axis], self.margins[axis][0], x[0].shape[axis], stride].map(word));
        }
        words.resize(4 + 4 * DIMS, 0);
        Launch::new("pad", len.div_ceil(256)).params(words).bind([Bind::In(0), Bind::Out(0)]).into()
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        let margins = [&[[0, 0]], &self.margins[..]].concat();
        Ok(Some(vec![g.pad(x.x[0], &margins, self.value)?]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let Some(mut ct) = ct[0] else { return Ok(vec![None]) };
        for (axis, margin) in self.margins.iter().enumerate() {
            ct = g.slice(ct, axis, margin[0], g.shape(at.x[0])[axis])?;
        }
        Ok(vec![Some(ct)])
    }

    fn jvp(&self, g: &mut Graph, _: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.pad(dx, &self.margins, 0.0)).transpose()?])
    }
}

impl Graph {
    /// `x` inside a margin of `value`: `margins[axis]` elements before and after it. Its transpose is [`Graph::slice`].
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when there is not one margin for each axis.
    pub fn pad(&mut self, x: Var, margins: &[[usize; 2]], value: f64) -> Result<Var> {
        self.apply(Pad { margins: margins.to_vec(), value }, &[x])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    [vec![[1, 2], [0, 0], [3, 0]], vec![[0, 0], [5, 7], [0, 1]], vec![[0, 1], [0, 0], [0, 0]]]
        .into_iter()
        .map(|margins: Vec<[usize; 2]>| {
            Case::new(format!("pad {margins:?}"), vec![unit(&[2, 17, 3])], move |g, x| {
                Ok(vec![g.pad(x[0], &margins, 0.5)?])
            })
        })
        .collect()
}

//! Arrays one after the other along an axis.

use crate::{
    cpu::{
        buffer::{In, Operand, OutMut},
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
        dtype::{Type, shape_error},
        shape,
    },
    testing::cases::{Case, unit},
};

/// The op of [`Graph::concat`].
#[derive(Debug)]
pub struct Concat {
    axis: usize,
}

impl Concat {
    fn run(&self, x: &[usize]) -> usize {
        shape::count(&x[self.axis..])
    }

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let runs: Vec<usize> = x.iter().map(|x| self.run(x.shape())).collect();
        let stride: usize = runs.iter().sum();
        let mut offset = 0;
        for (x, run) in x.iter().zip(runs) {
            match (x.data, &mut y[0]) {
                (In::Float(x), OutMut::Float(y)) => place(x, y, run, stride, offset),
                (In::Index(x), OutMut::Index(y)) => place(x, y, run, stride, offset),
                _ => unreachable!("the shape rule admits one type"),
            }
            offset += run;
        }
    }
}

fn place<T: Copy>(x: &[T], y: &mut [T], run: usize, stride: usize, offset: usize) {
    for (x, y) in x.chunks(run).zip(y.chunks_mut(stride)) {
        y[offset..offset + run].copy_from_slice(x);
    }
}

impl Op for Concat {
    cpu!();

    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let rule = || shape_error("concat", format!("types are equal but for axis {}", self.axis), x);
        let mut y = (*x.first().ok_or_else(rule)?).clone();
        for x in &x[1..] {
            let equal =
                (0..y.shape.len().max(x.shape.len())).all(|i| i == self.axis || y.shape.get(i) == x.shape.get(i));
            if !equal || x.dtype != y.dtype || self.axis >= x.shape.len() {
                return Err(rule());
            }
            y.shape[self.axis] += x.shape[self.axis];
        }
        if self.axis >= y.shape.len() {
            return Err(rule());
        }
        Ok(vec![y])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let stride = self.run(&y[0].shape);
        let mut launches = Launches::default();
        let mut offset = 0;
        for (i, x) in x.iter().enumerate() {
            let run = self.run(&x.shape);
            let launch = Launch::new("concat", x.count().div_ceil(64))
                .params([x.count(), run, stride, offset].map(word))
                .bind([Bind::In(i), Bind::Out(0)]);
            launches.list.push(launch);
            offset += run;
        }
        launches
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        let each = x.x.iter().zip(x.is).map(|(&v, &stacked)| if stacked { Ok(v) } else { g.repeat(v, x.k) });
        let all = each.collect::<Result<Vec<_>>>()?;
        Ok(Some(vec![g.concat(&all, self.axis + 1)?]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let Some(ct) = ct[0] else { return Ok(vec![None; at.x.len()]) };
        let mut start = 0;
        at.x.iter()
            .map(|&x| {
                let len = g.shape(x)[self.axis];
                start += len;
                g.slice(ct, self.axis, start - len, len).map(Some)
            })
            .collect()
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let dx =
            at.x.iter()
                .zip(dx)
                .map(|(&x, &dx)| dx.map_or_else(|| g.fill_like(x, 0.0), Ok))
                .collect::<Result<Vec<_>>>()?;
        Ok(vec![Some(g.concat(&dx, self.axis)?)])
    }
}

impl Graph {
    /// The operands one after the other along an axis. Linear; its transpose is [`Graph::slice`].
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when other extents differ, or there is no operand.
    pub fn concat(&mut self, x: &[Var], axis: usize) -> Result<Var> {
        self.apply(Concat { axis }, x)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    [0, 1, 2]
        .into_iter()
        .map(|axis| {
            let shapes = [1, 4, 67].map(|n| {
                let mut shape = [3, 5, 2];
                shape[axis] = n;
                unit(&shape)
            });
            Case::new(format!("concat {axis}"), shapes.to_vec(), move |g, x| Ok(vec![g.concat(x, axis)?]))
        })
        .collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let x = vec![unit(&[4099, 129]), unit(&[4099, 131])];
    vec![Case::new("[4099, 129] [4099, 131] along 1", x, |g, x| Ok(vec![g.concat(x, 1)?]))]
}

//! Concatenation along an axis.

use crate::ops::shape::stacks::all_stacked;
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Graph::concat`].
#[derive(Debug, PartialEq)]
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

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        let all = all_stacked(x)?;
        Ok(Some(vec![all[0].graph().concat(&all, self.axis + 1)]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let Some(ct) = ct[0] else { return Ok(Some(vec![None; at.x.len()])) };
        let mut start = 0;
        let part = |x: &Tensor<'g>| {
            let len = x.shape()?[self.axis];
            start += len;
            Ok(Some(ct.slice(self.axis, start - len, len)))
        };
        at.x.iter().map(part).collect::<Result<_>>().map(Some)
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let dx: Vec<_> = at.x.iter().zip(dx).map(|(x, dx)| dx.unwrap_or_else(|| x.fill_like(0.0))).collect();
        Ok(Some(vec![Some(dx[0].graph().concat(&dx, self.axis))]))
    }
}

impl Graph {
    /// The operands one after the other along an axis. Linear; its transpose is [`Tensor::slice`].
    ///
    /// Broken by other extents that differ, and by no operand at all ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn concat<'g>(&'g self, x: &[Tensor<'g>], axis: usize) -> Tensor<'g> {
        let [y] = self.apply(Concat { axis }, x);
        y
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |axis: usize| {
        let shapes = [1, 4, 67].map(|n| {
            let mut shape = [3, 5, 2];
            shape[axis] = n;
            unit(&shape)
        });
        TestCase::one(format!("concat {axis}"), shapes.to_vec(), move |x| x[0].graph().concat(x, axis))
    };
    [0, 1, 2].map(case).into()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let x = vec![unit(&[4099, 129]), unit(&[4099, 131])];
    vec![TestCase::one("[4099, 129] [4099, 131] along 1", x, |x| x[0].graph().concat(x, 1))]
}

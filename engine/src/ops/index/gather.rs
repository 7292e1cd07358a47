//! Rows by index.

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
        shape,
    },
    testing::cases::{Case, Sample, unit},
};

/// The op of [`Graph::gather`].
#[derive(Debug)]
pub struct Gather;

impl Gather {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let run = shape::count(&x[0].shape()[1..]);
        for (&row, y) in x[1].indices().iter().zip(y[0].floats_mut().chunks_mut(run)) {
            match x[0].floats().get(row as usize * run..(row as usize + 1) * run) {
                Some(x) => y.copy_from_slice(x),
                None => y.fill(F::zero()),
            }
        }
    }
}

impl Op for Gather {
    cpu!();

    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("gather", x, &[DType::F32, DType::U32])?;
        let Some((_, row)) = x[0].shape.split_first() else {
            return Err(shape_error("gather", "x has rows", x));
        };
        Ok(vec![Type::f32([&x[1].shape, row].concat())])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let (len, run) = (y[0].count(), shape::count(&x[0].shape[1..]));
        Launch::new("gather", len.div_ceil(64))
            .params([len, run, x[0].shape[0]].map(word))
            .bind([Bind::In(0), Bind::In(1), Bind::Out(0)])
            .into()
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let rows = g.shape(at.x[0])[0];
        Ok(vec![ct[0].map(|ct| g.scatter_add(ct, at.x[1], rows)).transpose()?, None])
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.gather(dx, at.x[1])).transpose()?])
    }
}

impl Graph {
    /// `y[i, …] = x[index[i], …]`, zeros where there is no such row. Linear in `x`; its transpose is
    /// [`Graph::scatter_add`].
    ///
    /// | | shape |
    /// |---|---|
    /// | x | `[rows, …]` |
    /// | index | any, u32 |
    /// | y | that of `index`, then `…` |
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `x` is a scalar, [`Error::DType`](crate::Error::DType) for floats as index.
    pub fn gather(&mut self, x: Var, index: Var) -> Result<Var> {
        self.apply(Gather, &[x, index])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let case = |rows: usize, row: &[usize], index: &[usize]| {
        let x = [&[rows], row].concat();
        Case::new(
            format!("gather {x:?} {index:?}"),
            vec![unit(&x), Sample::Below(index.to_vec(), rows as u32 + 1)],
            |g, x| Ok(vec![g.gather(x[0], x[1])?]),
        )
    };
    vec![case(5, &[7], &[13]), case(3, &[], &[67]), case(11, &[2, 3], &[5, 4])]
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let x = vec![unit(&[10_007, 129]), Sample::Below(vec![4099], 10_007)];
    vec![Case::new("[10007, 129] [4099]", x, |g, x| Ok(vec![g.gather(x[0], x[1])?]))]
}

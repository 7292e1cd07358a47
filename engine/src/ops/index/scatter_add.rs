//! Sums rows by index.

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
    tensor::dtype::{DType, Type, expect_dtypes, shape_error},
    testing::cases::{Case, Sample, unit},
};

/// The op of [`Graph::scatter_add`].
#[derive(Debug)]
pub struct ScatterAdd {
    rows: usize,
}

impl ScatterAdd {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let y = y[0].floats_mut();
        let run = y.len() / self.rows;
        y.fill(F::zero());
        for (&row, x) in x[1].indices().iter().zip(x[0].floats().chunks(run)) {
            if let Some(y) = y.get_mut(row as usize * run..(row as usize + 1) * run) {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y += x;
                }
            }
        }
    }
}

impl Op for ScatterAdd {
    cpu!();

    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("scatter_add", x, &[DType::F32, DType::U32])?;
        match x[0].shape.strip_prefix(x[1].shape.as_slice()) {
            Some(row) if self.rows > 0 => Ok(vec![Type::f32([&[self.rows], row].concat())]),
            _ => Err(shape_error("scatter_add", "x has a row for each index, and y has rows", x)),
        }
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        Launch::new("scatter_add", self.rows)
            .params([self.rows, y[0].count() / self.rows, x[1].count()].map(word))
            .bind([Bind::In(0), Bind::In(1), Bind::Out(0)])
            .into()
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![ct[0].map(|ct| g.gather(ct, at.x[1])).transpose()?, None])
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.scatter_add(dx, at.x[1], self.rows)).transpose()?])
    }
}

impl Graph {
    /// `y[r, …] = Σ x[i, …]` over the `i` with `index[i] = r`, summed in the order of `i`; an index without a row is
    /// ignored. Linear in `x`; its transpose is [`Graph::gather`].
    ///
    /// | | shape |
    /// |---|---|
    /// | x | that of `index`, then `…` |
    /// | index | any, u32 |
    /// | y | `[rows, …]` |
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `x` does not begin with the shape of `index`.
    pub fn scatter_add(&mut self, x: Var, index: Var, rows: usize) -> Result<Var> {
        self.apply(ScatterAdd { rows }, &[x, index])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let case = |index: &[usize], row: &[usize], rows: usize| {
        let x = [index, row].concat();
        Case::new(
            format!("scatter_add {x:?} {rows}"),
            vec![unit(&x), Sample::Below(index.to_vec(), rows as u32 + 1)],
            move |g, x| Ok(vec![g.scatter_add(x[0], x[1], rows)?]),
        )
    };
    // One piece of the index, a bit more, many rows that nothing goes to.
    let sizes = [(2048, 3, 5), (2081, 65, 3), (13, 130, 1031)];
    let mut all = vec![case(&[13], &[7], 5), case(&[67], &[], 3), case(&[5, 4], &[2, 3], 11)];
    all.extend(sizes.map(|(n, run, rows)| case(&[n], &[run], rows)));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let x = vec![unit(&[4099, 129]), Sample::Below(vec![4099], 257)];
    vec![Case::new("[4099, 129] to 257 rows", x, |g, x| Ok(vec![g.scatter_add(x[0], x[1], 257)?]))]
}

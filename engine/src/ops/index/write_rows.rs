//! Rows written over others in place, as a key-value cache takes them.

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::write_rows`].
#[derive(Debug, PartialEq)]
pub struct WriteRows;

impl WriteRows {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let (rows, y) = (x[2].floats(), y[0].floats_mut());
        let run = rows.len() / x[2].shape()[0];
        let start = (x[1].indices()[0] as usize).saturating_mul(run).min(y.len());
        let len = rows.len().min(y.len() - start);
        y[start..start + len].copy_from_slice(&rows[..len]);
    }
}

impl Op for WriteRows {
    cpu!();

    fn name(&self) -> &'static str {
        "write_rows"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("write_rows", x, &[DType::F32, DType::U32, DType::F32])?;
        let (all, at, rows) = (&x[0].shape, &x[1].shape, &x[2].shape);
        match !all.is_empty() && at[..] == [1] && !rows.is_empty() && all[1..] == rows[1..] && rows[0] <= all[0] {
            true => Ok(vec![x[0].clone()]),
            false => Err(shape_error("write_rows", "x is [m, …], at [1], rows [k, …] with k ≤ m", x)),
        }
    }

    fn launch(&self, _: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let len = x[2].count();
        Launch::new("write_rows", len.div_ceil(64))
            .params([len, len / x[2].shape[0], x[0].shape[0]].map(word))
            .bind([Bind::Out(0), Bind::In(1), Bind::In(2)])
            .into()
    }

    fn in_place(&self, _: usize) -> Vec<usize> {
        vec![0]
    }

    fn flops(&self, _: &[&Type], _: &[&Type]) -> u64 {
        0
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        if dx[0].is_none() && dx[2].is_none() {
            return Ok(Some(vec![None]));
        }
        let [x, rows] = [0, 2].map(|i| dx[i].unwrap_or_else(|| at.x[i].fill_like(0.0)));
        Ok(Some(vec![Some(x.write_rows(at.x[1], rows))]))
    }
}

impl<'g> Tensor<'g> {
    /// `x` with the rows from `at[0]` on replaced by `rows`; what would lie behind the last row is dropped.
    ///
    /// | | shape |
    /// |---|---|
    /// | x, y | `[m, …]` |
    /// | at | `[1]`, u32 |
    /// | rows | `[k, …]`, `k ≤ m` |
    ///
    /// Where `y` is [assigned](crate::Graph::assign) to the state that `x` is, nothing else is copied.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn write_rows(self, at: Tensor<'g>, rows: Tensor<'g>) -> Tensor<'g> {
        let [y] = self.graph().apply(WriteRows, &[self, at, rows]);
        y
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |(m, k, at, row): (usize, usize, u32, Vec<usize>)| {
        let shape = |n: usize| [&[n], &row[..]].concat();
        let x = vec![unit(&shape(m)), Generator::Words(vec![at]), unit(&shape(k))];
        TestCase::one(format!("write_rows {m} {k} {at} {row:?}"), x, |x| x[0].write_rows(x[1], x[2])).order(0)
    };
    [(5, 2, 3, vec![7]), (67, 1, 66, vec![3, 5]), (3, 3, 2, vec![]), (1, 1, 0, vec![129])].map(case).into()
}

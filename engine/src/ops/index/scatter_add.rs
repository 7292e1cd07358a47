//! Scatter-add: sums of rows by index.

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::scatter_add`].
#[derive(Debug, PartialEq)]
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

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![ct[0].map(|ct| ct.gather(at.x[1])), None]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.scatter_add(at.x[1], self.rows))]))
    }
}

impl<'g> Tensor<'g> {
    /// `y[r, …] = Σ x[i, …]` over the `i` with `index[i] = r`, summed in the order of `i`; an index without a row is
    /// ignored. Linear in `x`; its transpose is [`Tensor::gather`].
    ///
    /// | | shape |
    /// |---|---|
    /// | x | that of `index`, then `…` |
    /// | index | any, u32 |
    /// | y | `[rows, …]` |
    ///
    /// Broken by an `x` that does not begin with the shape of `index`, and by no rows ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn scatter_add(self, index: Tensor<'g>, rows: usize) -> Tensor<'g> {
        self.apply2(ScatterAdd { rows }, index)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |index: &[usize], row: &[usize], rows: usize| {
        let x = [index, row].concat();
        let samples = vec![unit(&x), Generator::Below(index.to_vec(), rows as u32 + 1)];
        TestCase::one(format!("scatter_add {x:?} {rows}"), samples, move |x| x[0].scatter_add(x[1], rows))
    };
    // One piece of the index, a bit more, many rows that nothing goes to.
    let sizes = [(2048, 3, 5), (2081, 65, 3), (13, 130, 1031)];
    let mut all = vec![case(&[13], &[7], 5), case(&[67], &[], 3), case(&[5, 4], &[2, 3], 11)];
    all.extend(sizes.map(|(n, run, rows)| case(&[n], &[run], rows)));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let x = vec![unit(&[4099, 129]), Generator::Below(vec![4099], 257)];
    vec![TestCase::one("[4099, 129] to 257 rows", x, |x| x[0].scatter_add(x[1], 257))]
}

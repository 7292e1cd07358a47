//! Scatter-add: sums of rows by index.

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// Lanes of a workgroup, and indices that these mark at once.
const LANES: usize = 64;
const PIECE: usize = 32 * LANES;

/// Columns of a row that a workgroup makes, and indices that it goes through, on a software adapter, of which it ends an
/// invocation's loops after 65,535 passes in all: as if all indices were one.
fn pieces(run: usize) -> (usize, usize) {
    const MOST: usize = 60_000;
    let columns = run.min(27 * LANES);
    let passes = 35 + columns.div_ceil(LANES) * (2 * LANES + PIECE + 2);
    (columns, MOST / passes * PIECE)
}

/// The op of [`Tensor::scatter_add`].
#[derive(Debug, PartialEq)]
pub struct ScatterAdd {
    rows: usize,
}

impl ScatterAdd {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let (y, index) = (y[0].floats_mut(), x[1].indices());
        let run = y.len() / self.rows;
        y.fill(F::zero());
        // Rows of many terms are added up in f64: floats would drift.
        let mut wide = self.long_rows(index, run);
        for (&row, x) in index.iter().zip(x[0].floats().chunks(run)) {
            let row = row as usize;
            match wide.get_mut(row) {
                Some(sums) if !sums.is_empty() => sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x.wide()),
                _ if row < self.rows => y[row * run..][..run].iter_mut().zip(x).for_each(|(y, &x)| *y += x),
                _ => {}
            }
        }
        for (y, sums) in y.chunks_mut(run).zip(&wide) {
            y.iter_mut().zip(sums).for_each(|(y, &sum)| *y = F::of(sum));
        }
    }

    /// For each row zeros if many terms go to it, and else nothing; no rows if there are few terms.
    fn long_rows(&self, index: &[u32], run: usize) -> Vec<Vec<f64>> {
        const MANY: u32 = 128;
        if index.len() <= MANY as usize {
            return Vec::new();
        }
        let mut terms = vec![0; self.rows];
        for &row in index {
            if let Some(n) = terms.get_mut(row as usize) {
                *n += 1;
            }
        }
        terms.iter().map(|&n| if n > MANY { vec![0.0; run] } else { Vec::new() }).collect()
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

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let (run, n) = (y[0].count() / self.rows, x[1].count());
        let (columns, most) = match class {
            Class::Gpu(_) => (run, n),
            Class::Software { .. } => pieces(run),
        };
        let launch = |first: usize| {
            Launch::new("scatter_add", self.rows * run.div_ceil(columns))
                .constant("COLUMNS", columns as f64)
                .params([self.rows, run, first, (first + most).min(n)].map(word))
                .bind([Bind::In(0), Bind::In(1), Bind::Out(0)])
        };
        Launches { scratch: Vec::new(), list: (0..n).step_by(most).map(launch).collect() }
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
    // One piece of the index, a bit more, many rows that nothing goes to, and several workgroups to a row.
    let sizes = [(2048, 3, 5), (2081, 65, 3), (13, 130, 1031), (5000, 1801, 2)];
    let mut all = vec![case(&[13], &[7], 5), case(&[67], &[], 3), case(&[5, 4], &[2, 3], 11)];
    all.extend(sizes.map(|(n, run, rows)| case(&[n], &[run], rows)));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let x = vec![unit(&[4099, 129]), Generator::Below(vec![4099], 257)];
    vec![TestCase::one("[4099, 129] to 257 rows", x, |x| x[0].scatter_add(x[1], 257))]
}

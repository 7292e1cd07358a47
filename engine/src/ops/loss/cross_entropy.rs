//! Softmax cross-entropy with integer labels, and the losses beside it.

use rayon::prelude::*;

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// Classes above which rows are long.
const LONG: usize = 1 << 17;

/// The op of [`Tensor::cross_entropy`].
#[derive(Debug, PartialEq)]
pub struct CrossEntropy;

impl CrossEntropy {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [loss, lse] = y else { unreachable!("cross_entropy has two results") };
        let classes = x[0].shape()[1];
        let rows = SERIAL.div_ceil(classes);
        let labels = x[1].indices().par_chunks(rows);
        let results = loss.floats_mut().par_chunks_mut(rows).zip(lse.floats_mut().par_chunks_mut(rows));
        x[0].floats().par_chunks(rows * classes).zip(labels).zip(results).for_each(
            |((logits, labels), (loss, lse))| {
                let mut powers = logits.to_vec();
                let most = powers.chunks_mut(classes).zip(&mut *lse);
                most.for_each(|(powers, most)| *most = less_largest(powers));
                exponentials(&mut powers, F::one(), [F::zero(); 2]);
                let rows = logits.chunks(classes).zip(powers.chunks(classes)).zip(labels);
                for (((logits, powers), &label), (loss, lse)) in rows.zip(loss.iter_mut().zip(lse)) {
                    let (most, log_sum) = (*lse, F::of(total(powers)).ln());
                    *loss = logits.get(label as usize).map_or(F::zero(), |&z| (most - z) + log_sum);
                    *lse = most + log_sum;
                }
            },
        );
    }
}

/// Takes the largest of a row off all of it, which returns it.
pub(crate) fn less_largest<F: Real>(row: &mut [F]) -> F {
    let most = largest(row);
    row.iter_mut().for_each(|z| *z -= most);
    most
}

/// A launch of a kernel that imports `logits`.
pub(crate) fn launch(class: Class, kernel: &'static str, logits: &Type) -> Launch {
    let [rows, classes] = [logits.shape[0], logits.shape[1]];
    // Of long rows a lane's part is short enough for a loop of a software adapter, of which it ends those after 65,535 passes.
    // There a lane that has a row for itself needs no barriers.
    let (lanes, width) = match class {
        _ if classes > LONG => (256, 256),
        Class::Gpu(_) => (64, classes.div_ceil(4).next_power_of_two().min(64)),
        Class::Software { .. } => (8, if classes < 128 { 1 } else { 8 }),
    };
    Launch::new(kernel, rows.div_ceil(lanes / width))
        .constant("LANES", lanes as f64)
        .constant("WIDTH", width as f64)
        .params([rows, classes].map(word))
}

/// Logits `[n, classes]` and labels `[n]`.
pub(crate) fn check(op: &'static str, x: &[&Type]) -> Result<[usize; 2]> {
    match x[0].shape[..] {
        [n, classes] if x[1].shape == [n] => Ok([n, classes]),
        _ => Err(shape_error(op, "logits [n, classes], labels [n]", x)),
    }
}

impl Op for CrossEntropy {
    cpu!();

    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("cross_entropy", x, &[DType::F32, DType::U32])?;
        let [n, _] = check("cross_entropy", x)?;
        Ok(vec![Type::f32([n]); 2])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        launch(class, "cross_entropy", x[0]).bind([Bind::In(0), Bind::In(1), Bind::Out(0), Bind::Out(1)]).into()
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        3 * x[0].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let (logits, hot) = (x[0], x[1].one_hot(x[0].shape()?[1]));
        let lse = logits.logsumexp(&[1]);
        Ok(Some(vec![hot.sum(&[1]) * lse - (hot * logits).sum(&[1]), lse]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(match *ct {
            [Some(ct), None] => Some(vec![Some(at.x[0].cross_entropy_grad(at.x[1], at.y[1], ct)), None]),
            _ => None,
        })
    }
}

impl<'g> Tensor<'g> {
    /// `loss[i] = log Σⱼ e^logits[i, j] − logits[i, labels[i]]`; also returns the first term.
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | logits | `[n, classes]` | any finite; the loss is exact to rounding at ±1e4 |
    /// | labels | `[n]`, u32 | below `classes`; a row with any other label has loss 0 and gradient 0 |
    /// | loss, lse | `[n]` | |
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn cross_entropy(self, labels: Tensor<'g>) -> [Tensor<'g>; 2] {
        self.graph().apply(CrossEntropy, &[self, labels])
    }

    /// `Σ (a − b)² / n`, the mean over all elements.
    ///
    /// Broken by operands that do not broadcast ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn mean_squared_error(self, b: Tensor<'g>) -> Tensor<'g> {
        let difference = self - b;
        (difference * difference).mean_all()
    }
}

/// Rows of ±1e4 and their labels.
pub(crate) fn large() -> [Generator; 2] {
    let logits = vec![1e4, -1e4, 9999.0, -1e4, 1e4, 9998.5, -1e4, -1e4, -9999.0];
    [Generator::Exact(vec![3, 3], logits), Generator::Words(vec![2, 1, 0])]
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |[n, classes]: [usize; 2]| {
        let x = vec![range(&[n, classes], -3.0, 3.0), Generator::Below(vec![n], classes as u32 + 1)];
        TestCase::new(format!("cross_entropy {n} {classes}"), x, |x| Ok(x[0].cross_entropy(x[1]).to_vec()))
    };
    let mut all: Vec<TestCase> = [[1, 2], [7, 10], [67, 131]].map(case).into();
    all.push(TestCase::one("cross_entropy ±1e4", large().to_vec(), |x| x[0].cross_entropy(x[1])[0]).order(0));
    let pair = vec![unit(&[5, 13]), unit(&[5, 13])];
    all.push(TestCase::one("mean_squared_error", pair, |x| x[0].mean_squared_error(x[1])));
    all
}

/// Rows and classes on which the family is timed.
pub(crate) const TIMED: [[usize; 2]; 2] = [[32_771, 10], [259, 10_007]];

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let case = |[n, classes]: [usize; 2]| {
        let x = vec![range(&[n, classes], -3.0, 3.0), Generator::Below(vec![n], classes as u32)];
        TestCase::new(format!("[{n}, {classes}]"), x, |x| Ok(x[0].cross_entropy(x[1]).to_vec()))
    };
    TIMED.map(case).into()
}

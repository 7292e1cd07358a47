//! The backward of softmax cross-entropy.

use rayon::prelude::*;

use crate::ops::loss::cross_entropy::{TIMED, check, large, launch, less_largest};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The largest logarithm by which probabilities are as good as by the sum itself: rounding takes 2⁻²¹ of them. A larger one
/// has too few digits.
const SMALL: f64 = 16.0;

/// The op of [`Tensor::cross_entropy_grad`].
#[derive(Debug, PartialEq)]
pub struct CrossEntropyGrad;

impl CrossEntropyGrad {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let classes = x[0].shape()[1];
        let rows = x[0].floats().par_chunks(classes).zip(y[0].floats_mut().par_chunks_mut(classes));
        rows.enumerate().with_min_len(SERIAL.div_ceil(classes)).for_each(|(i, (z, y))| {
            let (label, lse, ct) = (x[1].indices()[i] as usize, x[2].floats()[i], x[3].floats()[i]);
            if label >= classes {
                return y.fill(F::zero());
            }
            if lse.abs() <= F::of(SMALL) {
                for (y, &z) in y.iter_mut().zip(z) {
                    *y = ct * (z - lse).exponential();
                }
            } else {
                y.copy_from_slice(z);
                less_largest(y);
                exponentials(y, F::one(), [F::zero(); 2]);
                let scale = ct / F::of(total(y));
                y.iter_mut().for_each(|y| *y *= scale);
            }
            y[label] -= ct;
        });
    }
}

impl Op for CrossEntropyGrad {
    cpu!();

    fn name(&self) -> &'static str {
        "cross_entropy_grad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("cross_entropy_grad", x, &[DType::F32, DType::U32, DType::F32, DType::F32])?;
        let [n, classes] = check("cross_entropy_grad", x)?;
        if x[2].shape != [n] || x[3].shape != [n] {
            return Err(shape_error("cross_entropy_grad", "lse and ct are [n]", x));
        }
        Ok(vec![Type::f32([n, classes])])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        launch(class, "cross_entropy_grad", x[0])
            .bind([Bind::In(0), Bind::In(1), Bind::In(2), Bind::In(3), Bind::Out(0)])
            .into()
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        3 * x[0].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let [n, classes] = x[0].dims()?;
        let hot = x[1].one_hot(classes);
        let [counts, ct] = [hot.sum(&[1]), x[3]].map(|v| v.reshape(&[n, 1]));
        Ok(Some(vec![(x[0].softmax(1) * counts - hot) * ct]))
    }
}

impl<'g> Tensor<'g> {
    /// The cotangent of the logits in [`Tensor::cross_entropy`] from that of the losses: `ct (softmax − one_hot)`.
    ///
    /// `lse` is the second result of that op for these very logits: a saved part of the computation, not an operand, which
    /// an executor may do without.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn cross_entropy_grad(self, labels: Tensor<'g>, lse: Tensor<'g>, ct: Tensor<'g>) -> Tensor<'g> {
        let [y] = self.graph().apply(CrossEntropyGrad, &[self, labels, lse, ct]);
        y
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    fn build<'g>(x: &[Tensor<'g>]) -> Tensor<'g> {
        let [_, lse] = x[0].cross_entropy(x[1]);
        x[0].cross_entropy_grad(x[1], lse, x[2])
    }
    let case = |[n, classes]: [usize; 2]| {
        let labels = Generator::Below(vec![n], classes as u32 + 1);
        let x = vec![range(&[n, classes], -3.0, 3.0), labels, unit(&[n])];
        TestCase::one(format!("cross_entropy_grad {n} {classes}"), x, build).tolerance(1e-5)
    };
    let mut all: Vec<TestCase> = [[1, 2], [7, 10], [67, 131]].map(case).into();
    let [logits, labels] = large();
    all.push(
        TestCase::one("cross_entropy_grad ±1e4", vec![logits, labels, unit(&[3])], build).tolerance(1e-3).order(0),
    );
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let case = |[n, classes]: [usize; 2]| {
        let (logits, labels) = (range(&[n, classes], -3.0, 3.0), Generator::Below(vec![n], classes as u32));
        // Of these very logits, as the op asks for.
        let lse = match logits.draw(0) {
            OperandData::Float(z) => z.chunks(classes).map(|z| z.iter().map(|z| z.exp()).sum::<f32>().ln()).collect(),
            OperandData::Index(_) => Vec::new(),
        };
        let x = vec![logits, labels, Generator::Exact(vec![n], lse), unit(&[n])];
        TestCase::one(format!("[{n}, {classes}]"), x, |x| x[0].cross_entropy_grad(x[1], x[2], x[3])).tolerance(1e-5)
    };
    TIMED.map(case).into()
}

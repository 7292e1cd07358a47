//! The backward of softmax cross-entropy.

use rayon::prelude::*;

use crate::ops::loss::cross_entropy::{check, large};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::{Real, SERIAL},
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{Op, cpu},
    },
    launch::{
        launch::{Bind, Launch, Launches, word},
        target::Class,
    },
    tensor::dtype::{DType, Type, expect_dtypes, shape_error},
    testing::cases::{Case, Sample, range, unit},
};

/// The op of [`Graph::cross_entropy_grad`].
#[derive(Debug)]
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
            for (y, &z) in y.iter_mut().zip(z) {
                *y = ct * (z - lse).exponential();
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

    fn launch(&self, _: Class, x: &[&Type], _: &[&Type]) -> Launches {
        Launch::new("cross_entropy_grad", x[0].count().div_ceil(64))
            .params([x[0].count(), x[0].shape[1]].map(word))
            .bind([Bind::In(0), Bind::In(1), Bind::In(2), Bind::In(3), Bind::Out(0)])
            .into()
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        3 * x[0].count() as u64
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let [n, classes] = [g.shape(x[0])[0], g.shape(x[0])[1]];
        let hot = g.one_hot(x[1], classes)?;
        let counts = g.sum(hot, &[1]).and_then(|c| g.reshape(c, &[n, 1]))?;
        let softmax = g.softmax(x[0], 1)?;
        let counted = g.mul(softmax, counts)?;
        let slope = g.sub(counted, hot)?;
        let ct = g.reshape(x[3], &[n, 1])?;
        Ok(Some(vec![g.mul(slope, ct)?]))
    }
}

impl Graph {
    /// The cotangent of the logits in [`Graph::cross_entropy`] from that of the losses: `ct (softmax − one_hot)`.
    ///
    /// `lse` is the second result of that op for these very logits: a saved part of the computation, not an operand.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn cross_entropy_grad(&mut self, logits: Var, labels: Var, lse: Var, ct: Var) -> Result<Var> {
        self.apply(CrossEntropyGrad, &[logits, labels, lse, ct])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let build = |g: &mut Graph, x: &[Var]| {
        let [_, lse] = g.cross_entropy(x[0], x[1])?;
        Ok(vec![g.cross_entropy_grad(x[0], x[1], lse, x[2])?])
    };
    let mut all: Vec<Case> = [[1, 2], [7, 10], [67, 131]]
        .into_iter()
        .map(|[n, classes]| {
            let labels = Sample::Below(vec![n], classes as u32 + 1);
            let x = vec![range(&[n, classes], -3.0, 3.0), labels, unit(&[n])];
            Case::new(format!("cross_entropy_grad {n} {classes}"), x, build).tolerance(1e-5)
        })
        .collect();
    let [logits, labels] = large();
    all.push(Case::new("cross_entropy_grad ±1e4", vec![logits, labels, unit(&[3])], build).tolerance(1e-3).order(0));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let case = |[n, classes]: [usize; 2]| {
        let labels = Sample::Below(vec![n], classes as u32);
        let x = vec![range(&[n, classes], -3.0, 3.0), labels, range(&[n], 4.0, 9.0), unit(&[n])];
        let build = |g: &mut Graph, x: &[Var]| Ok(vec![g.cross_entropy_grad(x[0], x[1], x[2], x[3])?]);
        Case::new(format!("[{n}, {classes}]"), x, build).tolerance(1e-5)
    };
    super::cross_entropy::TIMED.map(case).into()
}

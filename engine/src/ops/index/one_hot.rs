//! Indices as unit vectors.

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
    tensor::dtype::{DType, Type, expect_dtypes},
    testing::cases::{Case, Sample},
};

/// The op of [`Graph::one_hot`].
#[derive(Debug)]
pub struct OneHot {
    classes: usize,
}

impl OneHot {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        for (&index, y) in x[0].indices().iter().zip(y[0].floats_mut().chunks_mut(self.classes)) {
            y.fill(F::zero());
            if let Some(y) = y.get_mut(index as usize) {
                *y = F::one();
            }
        }
    }
}

impl Op for OneHot {
    cpu!();

    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("one_hot", x, &[DType::U32])?;
        Ok(vec![Type::f32([x[0].shape.as_slice(), &[self.classes]].concat())])
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        let len = y[0].count();
        Launch::new("one_hot", len.div_ceil(64))
            .params([len, self.classes].map(word))
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    fn vjp(&self, _: &mut Graph, _: At, _: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }
}

impl Graph {
    /// `y[…, j] = 1` where `index[…] = j`, else 0; all zeros for an index beyond the classes.
    ///
    /// # Errors
    ///
    /// [`Error::DType`](crate::Error::DType) for floats as index.
    pub fn one_hot(&mut self, index: Var, classes: usize) -> Result<Var> {
        self.apply(OneHot { classes }, &[index])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    [(67, 10), (5, 1), (1, 131)]
        .into_iter()
        .map(|(n, classes)| {
            Case::new(
                format!("one_hot {n} {classes}"),
                vec![Sample::Below(vec![n], classes as u32 + 1)],
                move |g, x| Ok(vec![g.one_hot(x[0], classes)?]),
            )
            .order(0)
        })
        .collect()
}

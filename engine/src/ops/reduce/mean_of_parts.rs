//! The mean over the parts of a batch, each by its share of the samples.

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
    testing::cases::{Case, unit},
};

/// The op of [`Graph::mean_of_parts`].
#[derive(Debug)]
pub struct MeanOfParts;

impl MeanOfParts {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        y[0].copy_from(x[0].data);
    }
}

impl Op for MeanOfParts {
    cpu!();

    fn name(&self) -> &'static str {
        "mean_of_parts"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("mean_of_parts", x, &[DType::F32])?;
        Ok(vec![x[0].clone()])
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        let len = y[0].count();
        Launch::new("affine", len.div_ceil(4 * 64))
            .params([word(len), 1f32.to_bits(), 0f32.to_bits(), 1])
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    fn flops(&self, _: &[&Type], _: &[&Type]) -> u64 {
        0
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        Ok(Some(vec![g.mean_of_parts(x.x[0])?]))
    }

    fn vjp(&self, g: &mut Graph, _: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![ct[0].map(|ct| g.mean_of_parts(ct)).transpose()?])
    }

    fn jvp(&self, g: &mut Graph, _: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dx[0].map(|dx| g.mean_of_parts(dx)).transpose()?])
    }
}

impl Graph {
    /// `y = Σ wₚ xₚ` over the parts `p` of a batch that go through the graph one after the other, `wₚ` their shares of the
    /// samples. A run of the graph knows its own part alone: there `y = x`, the mean of a batch in one part. Who has several
    /// puts the mean in its place, as the values `y` for all parts.
    ///
    /// It is its own tangent, and its own transpose: where the loss is `Σ wₚ lₚ` and cotangents are those of `lₚ`, that of
    /// `xₚ` is `Σ wₚ ctₚ`.
    ///
    /// # Errors
    ///
    /// [`Error::DType`](crate::Error::DType) for indices.
    pub fn mean_of_parts(&mut self, x: Var) -> Result<Var> {
        self.apply(MeanOfParts, &[x])
    }

    /// [`Graph::batch_norm`] of a batch of which the graph has a part, with the statistics of all parts.
    ///
    /// The variance is `E (x − s)² − (E (x − s))²` for the mean `s`, held constant. The second term is zero but for rounding;
    /// with it mean and variance have derivatives that need none of each other, so that in every derivative the parts
    /// wait for one another once.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn batch_norm_of_parts(&mut self, x: Var, [gamma, beta]: [Var; 2], eps: f64) -> Result<Var> {
        let axes: Vec<usize> = (0..self.shape(x).len().saturating_sub(1)).collect();
        let mean_over = |g: &mut Graph, x: Var| {
            let own = g.mean(x, &axes)?;
            g.mean_of_parts(own)
        };
        let center = mean_over(self, x)?;
        let center = self.stop_gradient(center)?;
        let deviation = self.sub(x, center)?;
        let square = self.mul(deviation, deviation)?;
        let (rest, square) = (mean_over(self, deviation)?, mean_over(self, square)?);
        let excess = self.mul(rest, rest)?;
        let variance = self.sub(square, excess)?;
        let shifted = self.affine(variance, 1.0, eps)?;
        let rstd = self.rsqrt(shifted)?;
        let mean = self.add(center, rest)?;
        let centred = self.sub(x, mean)?;
        let scale = self.mul(rstd, gamma)?;
        let scaled = self.mul(centred, scale)?;
        self.add(scaled, beta)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = [vec![7], vec![3, 5, 67]]
        .into_iter()
        .map(|shape| {
            Case::new(format!("mean_of_parts {shape:?}"), vec![unit(&shape)], |g, x| Ok(vec![g.mean_of_parts(x[0])?]))
        })
        .collect();
    let x = vec![unit(&[5, 3, 7]), unit(&[7]), unit(&[7])];
    all.push(
        Case::new("batch_norm_of_parts", x, |g, x| Ok(vec![g.batch_norm_of_parts(x[0], [x[1], x[2]], 1e-2)?]))
            .tolerance(1e-5),
    );
    all
}

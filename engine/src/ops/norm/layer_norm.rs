//! Normalization over the last axis: by mean and standard deviation, or by the root of the mean square alone.

use crate::ops::norm::{
    frame::{self, all_or_zeros},
    layer_norm_grad::LayerNormGrad,
    layer_norm_tangent::LayerNormTangent,
    rows::{self, LayerNorm, on_rows, timed_rows},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

impl LayerNorm {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [_, n] = frame::rows(x[0].shape());
        let [data, gamma] = [0, 1].map(|i| x[i].floats());
        let (moments, _) = rows::write_rows(y[0].floats_mut(), n, 0, |row, y, [normed, ..], _| {
            let m = self.normalize(&data[row * n..][..n], normed);
            for ((y, &normed), &gamma) in y.iter_mut().zip(&*normed).zip(gamma) {
                *y = normed * gamma;
            }
            if self.centred {
                y.iter_mut().zip(x[2].floats()).for_each(|(y, &beta)| *y += beta);
            }
            m
        });
        rows::write_moments(y, &moments, |m| [m.mean, m.rstd]);
    }
}

impl Op for LayerNorm {
    cpu!();

    fn name(&self) -> &'static str {
        if self.centred { "layer_norm" } else { "rms_norm" }
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        self.row_types(self.name(), x, &[0])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size @ [rows, _] = frame::rows(&x[0].shape);
        let ([mean, rstd], scratch) = self.moments_out(rows);
        let beta = Bind::In(x.len() - 1);
        let bind = [Bind::In(0), Bind::In(1), beta, Bind::Out(0), mean, rstd];
        Launches { scratch, list: vec![self.launch_rows(class, "layer_norm", size, &bind)] }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        7 * x[0].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        self.definition(x).map(Some)
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        match *ct {
            [Some(ct), None] | [Some(ct), None, None] => {
                let d = ct.graph().apply_all(LayerNormGrad(*self), &[at.x[0], at.x[1], ct])?;
                Ok(Some(d.into_iter().map(Some).collect()))
            }
            _ => Ok(None),
        }
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let x = [&at.x[..2], &all_or_zeros(dx, at.x)].concat();
        let dy = x[0].graph().apply_all(LayerNormTangent(*self), &x)?;
        Ok(Some(dy.into_iter().map(Some).collect()))
    }
}

impl<'g> Tensor<'g> {
    /// `y = γ (x − mean)/√(variance + ε) + β` over the last axis (Ba, Kiros and Hinton 2016); also returns the mean and
    /// `rstd = 1/√(variance + ε)` of each row.
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | x, y | `[…, c]` | |
    /// | gamma, beta | `[c]` | |
    /// | mean, rstd | `[…]` | |
    /// | eps | | `> 0` |
    ///
    /// The variance is the biased one, summed from deviations; a constant row has `rstd = 1/√ε`. Gradient, tangent and
    /// the gradient's tangent are fused ops too; higher derivatives come from the plain graph.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn layer_norm(self, gamma: Tensor<'g>, beta: Tensor<'g>, eps: f64) -> [Tensor<'g>; 3] {
        self.graph().apply(LayerNorm { eps, centred: true }, &[self, gamma, beta])
    }

    /// `y = γ x/√(mean(x²) + ε)` over the last axis (Zhang and Sennrich 2019); also returns `1/√(mean(x²) + ε)` of each
    /// row. Shapes and derivatives are those of [`Tensor::layer_norm`].
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn rms_norm(self, gamma: Tensor<'g>, eps: f64) -> [Tensor<'g>; 2] {
        self.graph().apply(LayerNorm { eps, centred: false }, &[self, gamma])
    }
}

fn all_results<'g>(x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
    Ok(x[0].layer_norm(x[1], x[2], 1e-5).into())
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = on_rows("layer_norm", |norm| norm, "b", 3e-6);
    let far = vec![range(&[7, 131], 999.0, 1001.0), range(&[131], 0.5, 1.5), unit(&[131])];
    all.push(TestCase::new("layer_norm far from zero", far, all_results).tolerance(2e-4).order(0));
    let constant = vec![range(&[5, 3], 2.0, 2.0), range(&[3], 0.5, 1.5), unit(&[3])];
    all.push(TestCase::new("layer_norm of constants", constant, all_results).order(0));
    let zero = vec![range(&[5, 1], 0.0, 0.0), range(&[1], 0.5, 1.5)];
    all.push(TestCase::new("rms_norm of zeros", zero, |x| Ok(x[0].rms_norm(x[1], 1e-5).into())).order(0));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_rows(|norm| norm, "b", 3e-6)
}

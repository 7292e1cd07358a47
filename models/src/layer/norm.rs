//! Normalizations.

use hillshade_engine::{Conv, Var};

use super::{Builder, Mode};
use crate::{Init, Result};

/// PyTorch's ε of batch normalization.
const EPS: f64 = 1e-5;

/// PyTorch's momentum of running statistics.
const MOMENTUM: f64 = 0.1;

/// What follows a convolution. Either way its weights begin as those of He et al. 2015; without normalization the
/// variance of a residual network's features doubles from block to block at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Norm {
    /// Batch normalization.
    #[default]
    Batch,
    /// A bias.
    None,
}

impl Builder {
    /// A convolution and what follows it, under these two names; the bias goes by the convolution's.
    ///
    /// # Errors
    ///
    /// The engine's, when the window does not fit.
    pub fn conv2d_norm(
        &mut self,
        [name, norm]: [&str; 2],
        kind: Norm,
        x: Var,
        outs: usize,
        kernel: usize,
        conv: Conv,
    ) -> Result<Var> {
        match kind {
            Norm::Batch => {
                let y = self.conv2d(name, x, outs, kernel, conv)?;
                self.batch_norm(norm, y)
            }
            Norm::None => self.conv2d_bias(name, x, outs, kernel, conv),
        }
    }

    /// Batch normalization over all axes but the last: batch statistics in training, which move the running ones
    /// (momentum 0.1, ε 1e-5, as PyTorch), and the running ones in evaluation.
    ///
    /// # Errors
    ///
    /// The engine's, for a training batch with a single number for each channel.
    pub fn batch_norm(&mut self, name: &str, x: Var) -> Result<Var> {
        self.scope(name, |b| {
            let c = [b.g.shape(x).last().copied().unwrap_or(1)];
            let gamma = b.param("weight", &c, Init::Ones)?;
            let beta = b.param("bias", &c, Init::Zeros)?;
            let mean = b.state("running_mean", &c, Init::Zeros, false, false)?;
            let variance = b.state("running_var", &c, Init::Ones, false, false)?;
            if b.mode == Mode::Eval {
                return Ok(b.g.batch_norm_eval(x, [gamma, beta], [mean, variance], EPS)?);
            }
            let [y, batch_mean, rstd] = b.g.batch_norm(x, gamma, beta, EPS)?;
            let running = b.g.batch_norm_running(x, [batch_mean, rstd], [mean, variance], MOMENTUM, EPS)?;
            b.g.assign(mean, running[0])?;
            b.g.assign(variance, running[1])?;
            Ok(y)
        })
    }
}

//! Normalizations.

use hillshade_engine::{Conv, Var};

use super::{Builder, Mode};
use crate::{Init, Result};

/// PyTorch's ε of normalizations.
const EPS: f64 = 1e-5;

/// PyTorch's momentum of running statistics.
const MOMENTUM: f64 = 0.1;

/// What follows a convolution. In any case its weights begin as those of He et al. 2015; without normalization the
/// variance of a residual network's features doubles from block to block at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Norm {
    /// [`Builder::batch_norm`].
    #[default]
    Batch,
    /// A bias.
    None,
    /// [`Builder::group_norm`] with as many groups, up to the paper's 32, as divide the channels by a power of two and
    /// leave two or more in each.
    Group,
    /// [`Builder::layer_norm`].
    Layer,
    /// [`Builder::instance_norm`].
    Instance,
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
        if kind == Norm::None {
            return self.conv2d_bias(name, x, outs, kernel, conv);
        }
        let y = self.conv2d(name, x, outs, kernel, conv)?;
        self.norm(norm, kind, y)
    }

    /// A normalization of images `[n, h, w, c]`; nothing for [`Norm::None`].
    ///
    /// # Errors
    ///
    /// The engine's, for a training batch with a single number for each channel.
    pub fn norm(&mut self, name: &str, kind: Norm, x: Var) -> Result<Var> {
        let channels = self.g.shape(x).last().copied().unwrap_or(1);
        let fits = |groups: &usize| channels.is_multiple_of(*groups) && channels / groups >= 2;
        match kind {
            Norm::Batch => self.batch_norm(name, x),
            Norm::None => Ok(x),
            Norm::Group => self.group_norm(name, x, [32, 16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)),
            Norm::Layer => self.layer_norm(name, x, EPS),
            Norm::Instance => self.instance_norm(name, x),
        }
    }

    /// Gain and offset of a normalization, `[c]`.
    fn affine_params(&mut self, x: Var) -> Result<[Var; 2]> {
        let c = [self.g.shape(x).last().copied().unwrap_or(1)];
        Ok([self.param("weight", &c, Init::Ones)?, self.param("bias", &c, Init::Zeros)?])
    }

    /// Batch normalization over all axes but the last: batch statistics in training, which move the running ones
    /// (momentum 0.1, ε 1e-5, as PyTorch), and the running ones in evaluation.
    ///
    /// # Errors
    ///
    /// The engine's, for a training batch with a single number for each channel.
    pub fn batch_norm(&mut self, name: &str, x: Var) -> Result<Var> {
        self.layer(name, |b| {
            let [gamma, beta] = b.affine_params(x)?;
            let c = b.g.shape(gamma).to_vec();
            let mean = b.state("running_mean", &c, Init::Zeros, false, false)?;
            let variance = b.state("running_var", &c, Init::Ones, false, false)?;
            if b.mode == Mode::Eval {
                return Ok(b.g.batch_norm_eval(x, [gamma, beta], [mean, variance], EPS)?);
            }
            if b.parted {
                return Ok(b.g.batch_norm_of_parts(x, [gamma, beta], EPS)?);
            }
            let [y, batch_mean, rstd] = b.g.batch_norm(x, gamma, beta, EPS)?;
            let running = b.g.batch_norm_running(x, [batch_mean, rstd], [mean, variance], MOMENTUM, EPS)?;
            b.g.assign(mean, running[0])?;
            b.g.assign(variance, running[1])?;
            Ok(y)
        })
    }

    /// Each image by itself, over its pixels and the channels of a group (Wu and He 2018): PyTorch's `GroupNorm`.
    ///
    /// # Errors
    ///
    /// The engine's, when the groups do not divide the channels of `x`, `[n, h, w, c]`.
    pub fn group_norm(&mut self, name: &str, x: Var, groups: usize) -> Result<Var> {
        self.layer(name, |b| {
            let own = b.g.shape(x).to_vec();
            let channels = own.last().copied().unwrap_or(1);
            let pixels = b.g.ty(x).count() / (own[0] * channels);
            // A row of the fused normalization is an image's group.
            let apart = b.g.reshape(x, &[own[0], pixels, groups, channels / groups.max(1)])?;
            let seen = b.g.transpose(apart, &[0, 2, 1, 3])?;
            let together = b.g.shape(seen).to_vec();
            let length = [together[2] * together[3]];
            let rows = b.g.reshape(seen, &[own[0], groups, length[0]])?;
            let (ones, zeros) = (b.g.fill(&length, 1.0)?, b.g.fill(&length, 0.0)?);
            let [y, ..] = b.g.layer_norm(rows, ones, zeros, EPS)?;
            let y = b.g.reshape(y, &together)?;
            let y = b.g.transpose(y, &[0, 2, 1, 3])?;
            let y = b.g.reshape(y, &own)?;
            let [gamma, beta] = b.affine_params(x)?;
            let y = b.g.mul(y, gamma)?;
            Ok(b.g.add(y, beta)?)
        })
    }

    /// Each image and channel by itself, over the pixels (Ulyanov et al. 2016): PyTorch's `InstanceNorm2d` with gain and
    /// offset.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn instance_norm(&mut self, name: &str, x: Var) -> Result<Var> {
        self.group_norm(name, x, self.g.shape(x).last().copied().unwrap_or(1))
    }

    /// Each place by itself, over the last axis, the channels (Ba et al. 2016): PyTorch's `LayerNorm`.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn layer_norm(&mut self, name: &str, x: Var, eps: f64) -> Result<Var> {
        self.layer(name, |b| {
            let [gamma, beta] = b.affine_params(x)?;
            Ok(b.g.layer_norm(x, gamma, beta, eps)?[0])
        })
    }

    /// The same by the root of the mean square, without mean and offset (Zhang and Sennrich 2019): PyTorch's `RMSNorm`.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn rms_norm(&mut self, name: &str, x: Var, eps: f64) -> Result<Var> {
        self.layer(name, |b| {
            let gamma = b.param("weight", &[b.g.shape(x).last().copied().unwrap_or(1)], Init::Ones)?;
            Ok(b.g.rms_norm(x, gamma, eps)?[0])
        })
    }

    /// `(x − mean)/√(variance + ε)` with mean and biased variance over axes.
    pub(super) fn standardize(&mut self, x: Var, axes: &[usize], eps: f64) -> Result<Var> {
        let mean = self.mean_along(x, axes)?;
        let deviation = self.g.sub(x, mean)?;
        let square = self.g.mul(deviation, deviation)?;
        let variance = self.mean_along(square, axes)?;
        let shifted = self.g.affine(variance, 1.0, eps)?;
        let rstd = self.g.rsqrt(shifted)?;
        Ok(self.g.mul(deviation, rstd)?)
    }

    /// The mean over axes, which stay with extent 1; one after the other, so that nothing is moved.
    fn mean_along(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let mut shape = self.g.shape(x).to_vec();
        axes.iter().for_each(|&axis| shape[axis] = 1);
        let mut y = x;
        for &axis in axes.iter().rev() {
            y = self.g.mean(y, &[axis])?;
        }
        Ok(self.g.reshape(y, &shape)?)
    }
}

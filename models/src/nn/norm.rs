//! Normalization layers: batch, group, instance, layer, RMS.

use hillshade_engine::{Result, Tensor};

use crate::nn::{builder::*, init::Init};

/// PyTorch's ε of normalizations.
pub(crate) const EPS: f64 = 1e-5;

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

impl<'g> Builder<'g> {
    /// A normalization of images `[n, h, w, c]`; nothing for [`Norm::None`].
    #[track_caller]
    pub fn norm(&mut self, name: &str, kind: Norm, x: Tensor<'g>) -> Tensor<'g> {
        let channels = features(x).unwrap_or(1);
        let fits = |groups: &usize| channels.is_multiple_of(*groups) && channels / groups >= 2;
        match kind {
            Norm::Batch => self.batch_norm(name, x),
            Norm::None => x,
            Norm::Group => self.group_norm(name, x, [32, 16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)),
            Norm::Layer => self.layer_norm(name, x, EPS),
            Norm::Instance => self.instance_norm(name, x),
        }
    }

    /// Gain and offset of a normalization, `[c]`.
    fn affine_params(&mut self, x: Tensor<'g>) -> Result<[Tensor<'g>; 2]> {
        let c = [features(x)?];
        Ok([self.param("weight", &c, Init::Ones), self.param("bias", &c, Init::Zeros)])
    }

    /// Batch normalization over all axes but the last: batch statistics in training, which move the running ones
    /// (momentum 0.1, ε 1e-5, as PyTorch), and the running ones in evaluation.
    ///
    /// Broken by a training batch with a single number for each channel.
    #[track_caller]
    pub fn batch_norm(&mut self, name: &str, x: Tensor<'g>) -> Tensor<'g> {
        self.layer(name, |b| {
            let affine @ [gamma, beta] = b.affine_params(x)?;
            let c = gamma.shape()?;
            let running = [b.state("running_mean", c, Init::Zeros), b.state("running_var", c, Init::Ones)];
            if b.mode() == Mode::Eval {
                return Ok(x.batch_norm_eval(affine, running, EPS));
            }
            if b.parted {
                return Ok(x.batch_norm_cross_batch(affine, EPS));
            }
            let [y, mean, rstd] = x.batch_norm(gamma, beta, EPS);
            let moved = x.batch_norm_running([mean, rstd], running, MOMENTUM, EPS);
            running.into_iter().zip(moved).for_each(|(state, value)| b.g.assign(state, value));
            Ok(y)
        })
    }

    /// Each image by itself, over its pixels and the channels of a group (Wu and He 2018): PyTorch's `GroupNorm`.
    ///
    /// Broken when the groups do not divide the channels of `x`, `[n, h, w, c]`.
    #[track_caller]
    pub fn group_norm(&mut self, name: &str, x: Tensor<'g>, groups: usize) -> Tensor<'g> {
        self.layer(name, |b| {
            let (own, channels) = (x.shape()?, features(x)?);
            let pixels = x.count()? / (own[0] * channels);
            // A row of the fused normalization is an image's group.
            let apart = x.reshape(&[own[0], pixels, groups, channels / groups.max(1)]).transpose(&[0, 2, 1, 3]);
            let together = apart.shape()?;
            let length = [together[2] * together[3]];
            let rows = apart.reshape(&[own[0], groups, length[0]]);
            let [y, ..] = rows.layer_norm(b.g.fill(&length, 1.0), b.g.fill(&length, 0.0), EPS);
            let y = y.reshape(together).transpose(&[0, 2, 1, 3]).reshape(own);
            let [gamma, beta] = b.affine_params(x)?;
            Ok(y * gamma + beta)
        })
    }

    /// Each image and channel by itself, over the pixels (Ulyanov et al. 2016): PyTorch's `InstanceNorm2d` with gain and
    /// offset.
    #[track_caller]
    pub fn instance_norm(&mut self, name: &str, x: Tensor<'g>) -> Tensor<'g> {
        self.group_norm(name, x, features(x).unwrap_or(1))
    }

    /// Each place by itself, over the last axis, the channels (Ba et al. 2016): PyTorch's `LayerNorm`.
    #[track_caller]
    pub fn layer_norm(&mut self, name: &str, x: Tensor<'g>, eps: f64) -> Tensor<'g> {
        self.layer(name, |b| {
            let [gamma, beta] = b.affine_params(x)?;
            Ok(x.layer_norm(gamma, beta, eps)[0])
        })
    }

    /// The same by the root of the mean square, without mean and offset (Zhang and Sennrich 2019): PyTorch's `RMSNorm`.
    #[track_caller]
    pub fn rms_norm(&mut self, name: &str, x: Tensor<'g>, eps: f64) -> Tensor<'g> {
        self.layer(name, |b| {
            let gamma = b.param("weight", &[features(x)?], Init::Ones);
            Ok(x.rms_norm(gamma, eps)[0])
        })
    }
}

/// `(x − mean)/√(variance + ε)` with mean and biased variance over axes.
pub(crate) fn standardize<'g>(x: Tensor<'g>, axes: &[usize], eps: f64) -> Result<Tensor<'g>> {
    let deviation = x - mean_along(x, axes)?;
    let variance = mean_along(deviation * deviation, axes)?;
    Ok(deviation * (variance + eps).rsqrt())
}

/// The mean over axes, which stay with extent 1; one after the other, so that nothing is moved.
fn mean_along<'g>(x: Tensor<'g>, axes: &[usize]) -> Result<Tensor<'g>> {
    let mut shape = x.shape()?.to_vec();
    axes.iter().for_each(|&axis| shape[axis] = 1);
    Ok(axes.iter().rev().fold(x, |y, &axis| y.mean(&[axis])).reshape(&shape))
}

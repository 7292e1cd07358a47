//! Layers: dense ones, convolutions, dropout, pooling.

use hillshade_engine::{Conv, Pool, Result, Tensor};

use crate::nn::{builder::*, init::Init, norm::*, weight::Reparametrization};

impl<'g> Builder<'g> {
    /// A weight whose last axis is that of the filters. With [`Reparametrization::Norm`] its parameters are PyTorch's
    /// `weight_g` and `weight_v`, else `weight`.
    fn weight(&mut self, shape: &[usize], init: Init, image: Option<[usize; 3]>) -> Result<Tensor<'g>> {
        let name = if self.reparametrization == Reparametrization::Norm { "weight_v" } else { "weight" };
        let v = self.param(name, shape, init);
        self.params.last_mut().into_iter().for_each(|p| p.image = image);
        let axes: Vec<usize> = (0..shape.len() - 1).collect();
        match self.reparametrization {
            Reparametrization::Standardized if shape.len() >= 4 => standardize(v, &axes, EPS),
            Reparametrization::None | Reparametrization::Standardized => Ok(v),
            Reparametrization::Norm => {
                let length = self.param("weight_g", &shape[axes.len()..], Init::Constant(init.length(shape)));
                Ok(v * (length * (v * v).sum(&axes).rsqrt()))
            }
        }
    }

    /// `y = x w + b`, from the last axis of `x` to `outs`.
    #[track_caller]
    pub fn dense(&mut self, name: &str, x: Tensor<'g>, outs: usize) -> Tensor<'g> {
        self.dense_from(name, x, outs, [Init::KaimingUniform, Init::Zeros])
    }

    /// [`Builder::dense`] with other initializers of weight and bias.
    #[track_caller]
    pub fn dense_from(&mut self, name: &str, x: Tensor<'g>, outs: usize, [weight, bias]: [Init; 2]) -> Tensor<'g> {
        let image = self.flattened.filter(|&(flat, _)| flat == x).map(|(_, image)| image);
        self.layer(name, |b| {
            let w = b.weight(&[features(x)?, outs], weight, image)?;
            Ok(x.linear(w, b.param("bias", &[outs], bias)))
        })
    }

    /// A convolution without bias, as before a normalization: `x` `[n, h, w, c]` to `outs` channels. Broken by a window
    /// that does not fit.
    #[track_caller]
    pub fn conv(&mut self, name: &str, x: Tensor<'g>, outs: usize, kernel: usize, conv: Conv) -> Tensor<'g> {
        self.layer(name, |b| b.convolved(x, outs, kernel, conv))
    }

    /// A convolution with a bias.
    #[track_caller]
    pub fn conv_bias(&mut self, name: &str, x: Tensor<'g>, outs: usize, kernel: usize, conv: Conv) -> Tensor<'g> {
        self.layer(name, |b| Ok(b.convolved(x, outs, kernel, conv)? + b.param("bias", &[outs], Init::Zeros)))
    }

    fn convolved(&mut self, x: Tensor<'g>, outs: usize, kernel: usize, conv: Conv) -> Result<Tensor<'g>> {
        let ins = features(x)? / conv.groups.max(1);
        let w = self.weight(&[kernel, kernel, ins, outs], self.convolutions, None)?;
        Ok(x.conv2d(w, conv))
    }

    /// A convolution and what follows it, under these two names; the bias goes by the convolution's.
    #[track_caller]
    pub fn conv_norm(
        &mut self, [name, norm]: [&str; 2], kind: Norm, x: Tensor<'g>, outs: usize, kernel: usize, conv: Conv,
    ) -> Tensor<'g> {
        if kind == Norm::None {
            return self.conv_bias(name, x, outs, kernel, conv);
        }
        let y = self.conv(name, x, outs, kernel, conv);
        self.norm(norm, kind, y)
    }

    /// The transpose of a convolution with this geometry, from its results to images of `[h, w]` pixels and `outs`
    /// channels, with a bias: PyTorch's `ConvTranspose2d`. The weight is the convolution's, `[kernel, kernel, outs, c]`.
    ///
    /// Broken when `x` is no result of such a convolution.
    #[track_caller]
    pub fn conv_transposed(
        &mut self, name: &str, x: Tensor<'g>, [height, width, outs]: [usize; 3], kernel: usize, conv: Conv,
    ) -> Tensor<'g> {
        self.layer(name, |b| {
            // What comes in here is what the convolution gives.
            let w = b.param("weight", &[kernel, kernel, outs, features(x)?], Init::KaimingNormalOut);
            let bias = b.param("bias", &[outs], Init::Zeros);
            Ok(x.conv2d_input_grad(w, conv, [height, width]) + bias)
        })
    }

    /// Zeros each element with probability `p` and scales the others by `1/(1 − p)` (Srivastava et al. 2014); in
    /// evaluation, nothing. The mask is drawn from the input `seed`, u32 `[3]`: the seed's two words and the step.
    #[track_caller]
    pub fn dropout(&mut self, x: Tensor<'g>, p: f32) -> Tensor<'g> {
        let Ok(shape) = x.shape() else { return x };
        if self.mode() == Mode::Eval || p == 0.0 {
            return x;
        }
        let seed = *self.seed.get_or_insert_with(|| self.g.input_u32("seed", &[3]));
        self.streams += 1;
        x * seed.bernoulli(self.streams, shape, 1.0 - p) * (1.0 / (1.0 - f64::from(p)))
    }

    /// The largest of each square window, side by side. Broken by a window that does not fit.
    #[track_caller]
    pub fn max_pool(&mut self, x: Tensor<'g>, size: usize) -> Tensor<'g> {
        x.max_pool(Pool::square(size))[0]
    }

    /// Images as vectors: `[n, …]` to `[n, features]`.
    #[track_caller]
    pub fn flatten(&mut self, x: Tensor<'g>) -> Tensor<'g> {
        let Ok(shape @ [n, rest @ ..]) = x.shape() else { return x };
        let y = x.reshape(&[*n, rest.iter().product()]);
        if let &[_, h, w, c] = shape {
            self.flattened = Some((y, [h, w, c]));
        }
        y
    }
}

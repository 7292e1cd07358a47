//! Layers: functions that add ops and named parameters to a graph.

mod norm;
mod sequence;
mod weight;

pub use norm::Norm;
pub use sequence::Rotation;
pub use weight::Reparametrization;

use hillshade_engine::{Conv, Graph, Pool, Session, Source, Type, Var};

use crate::{Init, Result};

/// What a network is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, which also move the running ones; dropout drops.
    Train,
    /// Running statistics; dropout does nothing.
    Eval,
}

/// A parameter of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name, the path of its layer first: `stem.conv.weight`.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// How it begins.
    pub init: Init,
    /// Whether optimizers train it; running statistics are not trained.
    pub trained: bool,
    /// Whether weight decay acts on it: on weights, not on biases and normalization gains.
    pub decayed: bool,
    /// Height, width and channels of the images whose values the rows of a dense weight belong to, if to any.
    pub image: Option<[usize; 3]>,
    /// Its value in the graph.
    pub var: Var,
}

/// A layer as it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its path, the beginning of its parameters' names.
    pub name: String,
    /// Extents of its result.
    pub shape: Vec<usize>,
    /// Floating-point operations of its ops.
    pub flops: u64,
}

/// A graph under construction, and the parameters met so far.
#[derive(Debug)]
pub struct Builder {
    /// The graph.
    pub g: Graph,
    /// Parameters and running statistics, in the order of the layers.
    pub params: Vec<Param>,
    /// Layers with parameters, in their order.
    pub layers: Vec<Layer>,
    mode: Mode,
    prefix: &'static str,
    path: Vec<String>,
    seed: Option<Var>,
    streams: u32,
    convolutions: Init,
    reparametrization: Reparametrization,
    flattened: Option<(Var, [usize; 3])>,
    decoding: Option<sequence::Decoding>,
    parted: bool,
}

impl Builder {
    /// An empty graph.
    pub fn new(mode: Mode) -> Self {
        Builder {
            g: Graph::new(),
            params: Vec::new(),
            layers: Vec::new(),
            mode,
            prefix: "",
            path: Vec::new(),
            seed: None,
            streams: 0,
            convolutions: Init::KaimingNormal,
            reparametrization: Reparametrization::None,
            flattened: None,
            decoding: None,
            parted: false,
        }
    }

    /// For a part of a training batch: batch normalization takes the statistics of all parts, by
    /// [`Graph::mean_of_parts`], and leaves the running ones.
    pub fn of_part() -> Self {
        Builder { parted: true, ..Builder::new(Mode::Train) }
    }

    /// The same, with other states for its parameters: those whose names begin with `prefix`.
    pub(crate) fn with_prefix(mode: Mode, prefix: &'static str) -> Self {
        Builder { prefix, ..Builder::new(mode) }
    }

    /// What the network is built for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How the weights of the convolutions to come begin; [`Init::KaimingNormal`] where it is not said.
    pub fn begin_convolutions(&mut self, init: Init) {
        self.convolutions = init;
    }

    /// What stands for the weights of the layers to come.
    pub fn reparametrize(&mut self, how: Reparametrization) {
        self.reparametrization = how;
    }

    /// Layers under a common name.
    ///
    /// # Errors
    ///
    /// Those of the layers.
    pub fn scope<T>(&mut self, name: &str, layers: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.path.push(name.into());
        let done = layers(self);
        self.path.pop();
        done
    }

    /// A layer: what is built under this name is listed in [`Builder::layers`].
    ///
    /// # Errors
    ///
    /// Those of what is built.
    pub fn layer(&mut self, name: &str, build: impl FnOnce(&mut Self) -> Result<Var>) -> Result<Var> {
        let first = self.g.nodes().len();
        let y = self.scope(name, build)?;
        let types = |x: &[Var]| x.iter().map(|&x| self.g.ty(x).clone()).collect::<Vec<Type>>();
        let flops = self.g.nodes()[first..].iter().map(|node| match &node.source {
            Source::Op(op) => {
                op.flops(&types(&node.x).iter().collect::<Vec<_>>(), &types(&node.y).iter().collect::<Vec<_>>())
            }
            _ => 0,
        });
        let (flops, shape) = (flops.sum(), self.g.shape(y).to_vec());
        let name = self.name(name);
        self.layers.push(Layer { name, shape, flops });
        Ok(y)
    }

    fn name(&self, name: &str) -> String {
        self.path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
    }

    fn state(&mut self, name: &str, shape: &[usize], init: Init, trained: bool, decayed: bool) -> Result<Var> {
        let name = format!("{}{}", self.prefix, self.name(name));
        let var = self.g.state(&name, shape)?;
        self.params.push(Param { name, shape: shape.to_vec(), init, trained, decayed, image: None, var });
        Ok(var)
    }

    /// A trained parameter; weight decay acts on it where it has two axes or more.
    ///
    /// # Errors
    ///
    /// The engine's, when the name is taken.
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Var> {
        self.state(name, shape, init, true, shape.len() > 1)
    }

    /// Parameters that optimizers train.
    pub fn trained(&self) -> impl Iterator<Item = &Param> {
        self.params.iter().filter(|p| p.trained)
    }

    /// Sets every parameter that the session does not have to its initial value.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn initialize(&self, session: &mut Session, seed: u64) -> Result<()> {
        for p in self.params.iter().filter(|p| session.shape_of(&p.name).is_none()).collect::<Vec<_>>() {
            session.set(&p.name, &p.shape, &p.init.draw(&p.shape, seed, &p.name))?;
        }
        Ok(())
    }

    /// `y = x w + b`, from the last axis of `x` to `outs`.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn dense(&mut self, name: &str, x: Var, outs: usize) -> Result<Var> {
        self.dense_from(name, x, outs, [Init::KaimingUniform, Init::Zeros])
    }

    /// [`Builder::dense`] whose weights and biases begin otherwise.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn dense_from(&mut self, name: &str, x: Var, outs: usize, [weight, bias]: [Init; 2]) -> Result<Var> {
        let image = self.flattened.filter(|&(flat, _)| flat == x).map(|(_, image)| image);
        self.layer(name, |b| {
            let ins = b.g.shape(x).last().copied().unwrap_or(1);
            let w = b.weight(&[ins, outs], weight, image)?;
            let bias = b.param("bias", &[outs], bias)?;
            Ok(b.g.linear(x, w, bias)?)
        })
    }

    /// A convolution without bias, as before a normalization: `x` `[n, h, w, c]` to `outs` channels.
    ///
    /// # Errors
    ///
    /// The engine's, when the window does not fit.
    pub fn conv2d(&mut self, name: &str, x: Var, outs: usize, kernel: usize, conv: Conv) -> Result<Var> {
        self.convolution(name, x, outs, kernel, conv, false)
    }

    /// A convolution with a bias.
    ///
    /// # Errors
    ///
    /// The engine's, when the window does not fit.
    pub fn conv2d_bias(&mut self, name: &str, x: Var, outs: usize, kernel: usize, conv: Conv) -> Result<Var> {
        self.convolution(name, x, outs, kernel, conv, true)
    }

    fn convolution(&mut self, name: &str, x: Var, outs: usize, kernel: usize, conv: Conv, bias: bool) -> Result<Var> {
        self.layer(name, |b| {
            let ins = b.g.shape(x).last().copied().unwrap_or(1) / conv.groups.max(1);
            let w = b.weight(&[kernel, kernel, ins, outs], b.convolutions, None)?;
            let y = b.g.conv2d(x, w, conv)?;
            if !bias {
                return Ok(y);
            }
            let bias = b.param("bias", &[outs], Init::Zeros)?;
            Ok(b.g.add(y, bias)?)
        })
    }

    /// The transpose of a convolution with this geometry, from its results to images of `[h, w]` pixels and `outs`
    /// channels, with a bias: PyTorch's `ConvTranspose2d`. The weight is the convolution's, `[kernel, kernel, outs, c]`.
    ///
    /// # Errors
    ///
    /// The engine's, when `x` is no result of such a convolution.
    pub fn conv2d_transposed(
        &mut self,
        name: &str,
        x: Var,
        [height, width, outs]: [usize; 3],
        kernel: usize,
        conv: Conv,
    ) -> Result<Var> {
        self.layer(name, |b| {
            let ins = b.g.shape(x).last().copied().unwrap_or(1);
            // What comes in here is what the convolution gives.
            let w = b.param("weight", &[kernel, kernel, outs, ins], Init::KaimingNormalOut)?;
            let bias = b.param("bias", &[outs], Init::Zeros)?;
            let y = b.g.conv2d_input_grad(x, w, conv, [height, width])?;
            Ok(b.g.add(y, bias)?)
        })
    }

    /// Zeros each element with probability `p` and scales the others by `1/(1 − p)` (Srivastava et al. 2014); in
    /// evaluation, nothing. The mask is drawn from the input `seed`, u32 `[3]`: the seed's two words and the step.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn dropout(&mut self, x: Var, p: f32) -> Result<Var> {
        if self.mode == Mode::Eval || p == 0.0 {
            return Ok(x);
        }
        let seed = match self.seed {
            Some(seed) => seed,
            None => self.g.input_u32("seed", &[3])?,
        };
        self.seed = Some(seed);
        self.streams += 1;
        let shape = self.g.shape(x).to_vec();
        let mask = self.g.bernoulli(seed, self.streams, &shape, 1.0 - p)?;
        let kept = self.g.mul(x, mask)?;
        Ok(self.g.affine(kept, 1.0 / (1.0 - f64::from(p)), 0.0)?)
    }

    /// The largest of each square window, side by side.
    ///
    /// # Errors
    ///
    /// The engine's, when the window does not fit.
    pub fn max_pool(&mut self, x: Var, size: usize) -> Result<Var> {
        Ok(self.g.max_pool(x, Pool::square(size))?[0])
    }

    /// Images as vectors: `[n, …]` to `[n, features]`.
    ///
    /// # Errors
    ///
    /// None for a value with a first axis.
    pub fn flatten(&mut self, x: Var) -> Result<Var> {
        let n = self.g.shape(x)[0];
        let features = self.g.ty(x).count() / n;
        let y = self.g.reshape(x, &[n, features])?;
        if let &[_, h, w, c] = self.g.shape(x) {
            self.flattened = Some((y, [h, w, c]));
        }
        Ok(y)
    }
}

//! Layers: functions that add ops and named parameters to a graph.

mod norm;
mod plain;
mod sequence;

pub use norm::Norm;
pub use sequence::Rotation;

use hillshade_engine::{Conv, Graph, Pool, Session, Var};

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
    /// Its value in the graph.
    pub var: Var,
}

/// A graph under construction, and the parameters met so far.
#[derive(Debug)]
pub struct Builder {
    /// The graph.
    pub g: Graph,
    /// Parameters and running statistics, in the order of the layers.
    pub params: Vec<Param>,
    mode: Mode,
    path: Vec<String>,
    seed: Option<Var>,
    streams: u32,
    decoding: Option<sequence::Decoding>,
}

impl Builder {
    /// An empty graph.
    pub fn new(mode: Mode) -> Self {
        let (g, params, path) = (Graph::new(), Vec::new(), Vec::new());
        Builder { g, params, mode, path, seed: None, streams: 0, decoding: None }
    }

    /// What the network is built for.
    pub fn mode(&self) -> Mode {
        self.mode
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

    /// A name with the path of its layer.
    fn named(&self, name: &str) -> String {
        self.path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
    }

    fn state(&mut self, name: &str, shape: &[usize], init: Init, trained: bool, decayed: bool) -> Result<Var> {
        let name = self.named(name);
        let var = self.g.state(&name, shape)?;
        self.params.push(Param { name, shape: shape.to_vec(), init, trained, decayed, var });
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
        self.dense_from(name, x, outs, Init::KaimingUniform)
    }

    /// [`Builder::dense`] whose weights begin otherwise.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn dense_from(&mut self, name: &str, x: Var, outs: usize, init: Init) -> Result<Var> {
        self.scope(name, |b| {
            let ins = b.g.shape(x).last().copied().unwrap_or(1);
            let w = b.param("weight", &[ins, outs], init)?;
            let bias = b.param("bias", &[outs], Init::Zeros)?;
            Ok(b.g.linear(x, w, bias)?)
        })
    }

    /// A convolution without bias, as before a normalization: `x` `[n, h, w, c]` to `outs` channels.
    ///
    /// # Errors
    ///
    /// The engine's, when the window does not fit.
    pub fn conv2d(&mut self, name: &str, x: Var, outs: usize, kernel: usize, conv: Conv) -> Result<Var> {
        self.scope(name, |b| {
            let ins = b.g.shape(x).last().copied().unwrap_or(1) / conv.groups.max(1);
            let w = b.param("weight", &[kernel, kernel, ins, outs], Init::KaimingNormal)?;
            Ok(b.g.conv2d(x, w, conv)?)
        })
    }

    /// A convolution with a bias.
    ///
    /// # Errors
    ///
    /// The engine's, when the window does not fit.
    pub fn conv2d_bias(&mut self, name: &str, x: Var, outs: usize, kernel: usize, conv: Conv) -> Result<Var> {
        let y = self.conv2d(name, x, outs, kernel, conv)?;
        self.scope(name, |b| {
            let bias = b.param("bias", &[outs], Init::Zeros)?;
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
        Ok(self.g.reshape(x, &[n, features])?)
    }
}

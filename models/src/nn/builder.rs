//! `Builder`: a network under construction: its graph, and the parameters and layers so far.

use hillshade_engine::{Graph, Node, Result as EngineResult, Session, Source, Tensor, Type, Var};

use crate::{
    error::Result,
    nn::{init::Init, weight::Reparametrization},
};

/// What a network is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, which also move the running ones; dropout drops.
    Train,
    /// Running statistics; dropout does nothing.
    Eval,
}

/// A parameter of a network, or a state beside its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name, the path of its layer first: `stem.conv.weight`.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its initializer.
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

impl Param {
    /// Its value in the graph that it was added to.
    pub fn value<'g>(&self, g: &'g Graph) -> Tensor<'g> {
        g.tensor(self.var)
    }

    /// Adds a state that is not trained.
    #[track_caller]
    pub(crate) fn state(g: &Graph, name: String, shape: &[usize], init: Init) -> Self {
        let var = g.state(&name, shape).var();
        Param { name, shape: shape.to_vec(), init, trained: false, decayed: false, image: None, var }
    }
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

/// What a network is built for that continues a text: one sequence whose keys, values and hidden states are kept as states
/// of the session, so that a step takes one token more and not all tokens again.
#[derive(Debug)]
pub(crate) struct Decoding<'g> {
    /// Places of the tokens in the sequence, `[t]`.
    pub positions: Tensor<'g>,
    /// The first of them, `[1]`.
    pub start: Tensor<'g>,
    /// Which of the tokens the logits are asked for, `[1]`.
    pub last: Tensor<'g>,
    /// Tokens that the sequence has with this one, `[1]`, in a step; `None` at its beginning.
    pub length: Option<Tensor<'g>>,
    /// Most tokens of the sequence.
    pub context: usize,
    /// The states, by name and type.
    pub kept: Vec<(String, Type)>,
}

/// A graph under construction, and the parameters met so far.
#[derive(Debug)]
pub struct Builder<'g> {
    /// The graph.
    pub g: &'g Graph,
    /// Parameters and running statistics, in the order of the layers.
    pub params: Vec<Param>,
    /// States beside them, such as an optimizer's.
    pub states: Vec<Param>,
    /// Layers with parameters, in their order.
    pub layers: Vec<Layer>,
    mode: Mode,
    prefix: &'static str,
    path: Vec<String>,
    /// The input and the streams of dropout's masks.
    pub(crate) seed: Option<Tensor<'g>>,
    pub(crate) streams: u32,
    pub(crate) convolutions: Init,
    pub(crate) reparametrization: Reparametrization,
    pub(crate) flattened: Option<(Tensor<'g>, [usize; 3])>,
    pub(crate) decoding: Option<Decoding<'g>>,
    pub(crate) parted: bool,
}

impl<'g> Builder<'g> {
    /// A network to be added to a graph.
    pub fn new(g: &'g Graph, mode: Mode) -> Self {
        Builder {
            g,
            params: Vec::new(),
            states: Vec::new(),
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
    /// [`Tensor::cross_batch_mean`], and leaves the running ones.
    pub fn of_micro_batch(g: &'g Graph) -> Self {
        Builder { parted: true, ..Builder::new(g, Mode::Train) }
    }

    /// The same, with other states for its parameters: those whose names begin with `prefix`.
    pub(crate) fn with_prefix(g: &'g Graph, mode: Mode, prefix: &'static str) -> Self {
        Builder { prefix, ..Builder::new(g, mode) }
    }

    /// What the network is built for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The initializer of the convolutions to come; [`Init::KaimingNormal`] where it is not said.
    pub fn begin_convolutions(&mut self, init: Init) {
        self.convolutions = init;
    }

    /// What stands for the weights of the layers to come.
    pub fn reparametrize(&mut self, how: Reparametrization) {
        self.reparametrization = how;
    }

    /// Layers under a common name.
    pub fn scope<T>(&mut self, name: &str, layers: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(name.into());
        let done = layers(self);
        self.path.pop();
        done
    }

    /// A layer: what is built under this name is listed in [`Builder::layers`].
    #[track_caller]
    pub fn layer(&mut self, name: &str, build: impl FnOnce(&mut Self) -> EngineResult<Tensor<'g>>) -> Tensor<'g> {
        let first = self.g.nodes().len();
        let built = self.scope(name, build);
        let y = self.g.wait(built);
        if let Ok(shape) = y.shape() {
            let flops = (first..self.g.nodes().len()).map(|n| flops(self.g, self.g.node(n))).sum();
            self.layers.push(Layer { name: self.name(name), shape: shape.to_vec(), flops });
        }
        y
    }

    /// The full name of what has this one here.
    pub(crate) fn name(&self, name: &str) -> String {
        self.path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
    }

    #[track_caller]
    pub(crate) fn state(&mut self, name: &str, shape: &[usize], init: Init) -> Tensor<'g> {
        let name = format!("{}{}", self.prefix, self.name(name));
        self.params.push(Param::state(self.g, name, shape, init));
        self.params[self.params.len() - 1].value(self.g)
    }

    /// A trained parameter; weight decay acts on it where it has two axes or more. Broken by a name that is taken.
    #[track_caller]
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) -> Tensor<'g> {
        let value = self.state(name, shape, init);
        self.params.last_mut().into_iter().for_each(|p| (p.trained, p.decayed) = (true, shape.len() > 1));
        value
    }

    /// Parameters that optimizers train.
    pub fn trained(&self) -> impl Iterator<Item = &Param> {
        self.params.iter().filter(|p| p.trained)
    }

    /// Their values, in the same order.
    pub fn trained_values(&self) -> Vec<Tensor<'g>> {
        self.trained().map(|p| p.value(self.g)).collect()
    }

    /// Sets every parameter, and every state beside them, that the session does not have to its initial value.
    pub fn initialize(&self, session: &mut Session, seed: u64) -> Result<()> {
        for p in self.params.iter().chain(&self.states) {
            if session.shape_of(&p.name).is_none() {
                session.set(&p.name, &p.shape, &p.init.draw(&p.shape, seed, &p.name))?;
            }
        }
        Ok(())
    }
}

/// Floating-point operations of a node.
fn flops(g: &Graph, node: &Node) -> u64 {
    let types = |x: &[Var]| g.tensors(x).into_iter().flat_map(Tensor::ty).collect::<Vec<&Type>>();
    match &node.source {
        Source::Op(op) => op.flops(&types(&node.x), &types(&node.y)),
        _ => 0,
    }
}

/// The extent of the last axis; 1 of a scalar.
pub(crate) fn features(x: Tensor) -> EngineResult<usize> {
    Ok(x.shape()?.last().copied().unwrap_or(1))
}

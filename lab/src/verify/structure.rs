//! What a loss is made of, as far as its symmetries go: layers, what each of them feeds, and ops with kinks.

use std::collections::{BTreeSet, HashMap};

use hillshade_engine::{Graph, Node, Source, Tensor, Var, ops};
use hillshade_models::{Builder, Param};

use crate::operator::live;

/// Where the output of a layer goes, and nowhere else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Feeds {
    /// Into a batch normalization with batch statistics.
    Norm,
    /// Through positively homogeneous ops (ReLU, max pooling, reshapes) into the layer with this weight.
    Layer(String),
    /// Into a softmax cross-entropy.
    Softmax,
    /// Elsewhere, or to several places.
    Other,
}

/// A convolution or dense layer whose parameters have no other part in the loss.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    /// Its weight, with a filter for each place of the last axis.
    pub weight: String,
    /// Its bias, a number for each filter.
    pub bias: Option<String>,
    /// Where its output goes.
    pub feeds: Feeds,
}

/// What a loss is made of.
#[derive(Debug)]
pub(crate) struct Structure {
    pub layers: Vec<Layer>,
    /// Ops at which the loss has kinks.
    pub kinks: Vec<&'static str>,
}

/// Ops whose slopes jump.
const KINKS: [&str; 11] =
    ["relu", "leaky_relu", "max_pool", "max_over", "abs", "max", "min", "clamp", "sign", "select", "relu_mask"];

/// A graph as far as a loss depends on it.
struct Walk<'a> {
    g: &'a Graph,
    /// The nodes that take a value, each as often as it takes it.
    uses: HashMap<Var, Vec<&'a Node>>,
    params: HashMap<Var, &'a Param>,
    live: Vec<&'a Node>,
}

fn op(node: &Node) -> &'static str {
    if let Source::Op(op) = &node.source { op.name() } else { "" }
}

impl<'a> Walk<'a> {
    fn new(b: &'a Builder<'a>, losses: Tensor<'a>) -> Self {
        let live = live(&[losses]);
        let mut uses: HashMap<Var, Vec<&Node>> = HashMap::new();
        for &node in &live {
            node.x.iter().for_each(|&x| uses.entry(x).or_default().push(node));
        }
        Walk { g: b.g, uses, params: b.trained().map(|p| (p.var, p)).collect(), live }
    }

    /// The only node that takes a value.
    fn only_use(&self, v: Var) -> Option<&'a Node> {
        let [node] = self.uses.get(&v)?[..] else { return None };
        Some(node)
    }

    /// The trained parameter that a value is in another shape, if it is used here alone.
    fn param(&self, mut v: Var) -> Option<&'a Param> {
        loop {
            self.only_use(v)?;
            if let Some(p) = self.params.get(&v) {
                return Some(p);
            }
            let node = self.g.tensor(v).node().ok()?;
            v = *node.x.first().filter(|_| ["reshape", "broadcast"].contains(&op(node)))?;
        }
    }

    /// The weight of a node that is a layer.
    fn weight(&self, node: &Node) -> Option<&'a Param> {
        let plain = match (&node.source, op(node)) {
            (_, "conv2d") => true,
            // Stored transposed, its last axis would not be that of the filters.
            (Source::Op(op), _) => op.as_any().downcast_ref::<ops::Matmul>().is_some_and(|op| !op.ta && !op.tb),
            _ => false,
        };
        let w = self.param(*node.x.get(1).filter(|_| plain)?)?;
        (w.shape.len() >= 2 && w.shape.last() == self.channels(node.y[0])).then_some(w)
    }

    /// The last axis of a value.
    fn channels(&self, v: Var) -> Option<&'a usize> {
        self.g.tensor(v).shape().ok()?.last()
    }

    fn layer(&self, node: &Node) -> Option<Layer> {
        let weight = self.weight(node)?;
        let mut layer = Layer { weight: weight.name.clone(), bias: None, feeds: Feeds::Other };
        let (mut at, mut linear) = (node.y[0], true);
        while let Some(next) = self.only_use(at) {
            let first = next.x[0] == at;
            match op(next) {
                "reshape" => {}
                "relu" | "leaky_relu" | "max_pool" => linear = false,
                "add" if linear && layer.bias.is_none() => {
                    let Some(bias) = self.param(next.x[usize::from(first)]) else { break };
                    let outs = weight.shape.last();
                    if bias.shape.len() != 1 || bias.shape.last() != outs || self.channels(at) != outs {
                        break;
                    }
                    layer.bias = Some(bias.name.clone());
                }
                "batch_norm" if first && linear => layer.feeds = Feeds::Norm,
                "cross_entropy" if first && linear => layer.feeds = Feeds::Softmax,
                "conv2d" | "matmul" if first => match self.weight(next) {
                    Some(w) => layer.feeds = Feeds::Layer(w.name.clone()),
                    None => break,
                },
                _ => break,
            }
            if layer.feeds != Feeds::Other {
                break;
            }
            at = next.y[0];
        }
        Some(layer)
    }
}

impl Structure {
    /// Of the losses of a graph.
    pub fn new<'g>(b: &'g Builder<'g>, losses: Tensor<'g>) -> Self {
        let walk = Walk::new(b, losses);
        let layers = walk.live.iter().filter_map(|node| walk.layer(node)).collect();
        let kinks: BTreeSet<_> = walk.live.iter().map(|n| op(n)).filter(|op| KINKS.contains(op)).collect();
        Structure { layers, kinks: kinks.into_iter().collect() }
    }
}

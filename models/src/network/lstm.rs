//! Recurrent language models.

use std::sync::Arc;

use hillshade_engine::Var;

use super::{Architecture, Family, Setting, Takes, vocabulary};
use crate::{Builder, Init, Result};

pub(super) const FAMILY: Family = Family {
    names: &["lstm"],
    about: "a recurrent language model, unrolled",
    source: "Hochreiter and Schmidhuber 1997",
    takes: Takes::Tokens,
    size: [64, 1, 1],
    classes: 256,
    has: |name| name == "lstm",
    settings: || {
        vec![
            Setting::size("layers", "2", "layers"),
            Setting::size("width", "256", "features"),
            Setting::size("context", "64", "tokens of a training sequence"),
            Setting::size_or_auto("vocab", "tokens that there are; auto as many as the data have"),
            Setting::share("dropout", "0", "share of features dropped in training, before each layer and the head"),
        ]
    },
    make: |_, values| {
        Ok(Arc::new(Lstm {
            layers: values.size("layers")?,
            width: values.size("width")?,
            context: values.size("context")?,
            vocab: values.size_or_auto("vocab")?,
            dropout: values.share("dropout")?,
        }))
    },
};

/// Layers of long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gates of Gers et al. 2000), unrolled
/// over a sequence. Names are those of PyTorch's `Embedding`, `LSTM` and `Linear` as `encoder`, `rnn` and `decoder`.
#[derive(Debug)]
struct Lstm {
    layers: usize,
    width: usize,
    context: usize,
    vocab: Option<usize>,
    dropout: f32,
}

impl Architecture for Lstm {
    fn build(&self, b: &mut Builder, tokens: Var, vocab: usize) -> Result<Var> {
        let (n, t) = (b.g.shape(tokens)[0], b.g.shape(tokens)[1]);
        let vocab = vocabulary(self.vocab, vocab)?;
        let [x, _] = b.embedding("encoder", tokens, [vocab, self.width], Init::Uniform { fan_in: self.width })?;
        // Features place by place: a product for each is what recurrence asks for anyway.
        let mut all = Vec::with_capacity(t);
        for place in 0..t {
            let x = b.g.slice(x, 1, place, 1)?;
            all.push(b.g.reshape(x, &[n, self.width])?);
        }
        for layer in 0..self.layers {
            b.scope("rnn", |b| self.layer(b, &mut all, layer))?;
        }
        for x in &mut all {
            *x = b.g.reshape(*x, &[n, 1, self.width])?;
        }
        let x = b.g.concat(&all, 1)?;
        let x = b.dropout(x, self.dropout)?;
        let x = b.asked(x)?;
        b.dense_from("decoder", x, vocab, [Init::Uniform { fan_in: self.width }; 2])
    }

    fn context(&self) -> Option<usize> {
        Some(self.context)
    }
}

impl Lstm {
    /// `c = σ(f) c + σ(i) tanh(g)`, `h = σ(o) tanh(c)` with gates `i, f, g, o = x w + h u` and biases, from place to place.
    fn layer(&self, b: &mut Builder, x: &mut [Var], layer: usize) -> Result<()> {
        let (n, width) = (b.g.shape(x[0])[0], self.width);
        let begin = Init::Uniform { fan_in: width };
        let w = b.param(&format!("weight_ih_l{layer}"), &[width, 4 * width], begin)?;
        let u = b.param(&format!("weight_hh_l{layer}"), &[width, 4 * width], begin)?;
        let biases = [format!("bias_ih_l{layer}"), format!("bias_hh_l{layer}")];
        let [first, second] = biases.map(|name| b.param(&name, &[4 * width], begin));
        let bias = b.g.add(first?, second?)?;
        let names = [format!("h{layer}"), format!("c{layer}")];
        let before = [b.kept_before(&names[0], &[n, width])?, b.kept_before(&names[1], &[n, width])?];
        let [mut h, mut c] = before;
        for x in x {
            let driven = b.dropout(*x, self.dropout)?;
            let g = &mut b.g;
            let mut gates = g.matmul(driven, w)?;
            if let Some(h) = h {
                let back = g.matmul(h, u)?;
                gates = g.add(gates, back)?;
            }
            gates = g.add(gates, bias)?;
            let before = c.map_or_else(|| g.fill(&[n, width], 0.0), Ok)?;
            let [hidden, cell, _] = g.lstm_cell(gates, before)?;
            *x = hidden;
            (h, c) = (Some(*x), Some(cell));
        }
        for ((name, before), value) in names.iter().zip(before).zip([h, c]) {
            if let Some(value) = value {
                b.keep(name, before, value)?;
            }
        }
        Ok(())
    }
}

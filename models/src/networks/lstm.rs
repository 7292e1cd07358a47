//! LSTM language models.

use hillshade_engine::Tensor;

use crate::networks::{family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["lstm"],
    about: "a recurrent language model, unrolled",
    source: "Hochreiter and Schmidhuber 1997",
    takes: Takes::Tokens,
    size: [64, 1, 1],
    classes: 256,
    ..Family::of::<Lstm>()
};

options! {
    /// Layers of long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gates of Gers et al. 2000), unrolled
    /// over a sequence. Names are those of PyTorch's `Embedding`, `LSTM` and `Linear` as `encoder`, `rnn` and `decoder`.
    Lstm {
        layers: usize = "2", "layers";
        width: usize = "256", "features";
        context: usize = "64", "tokens of a training sequence";
        vocab: Option<usize> = "auto", "tokens that there are; auto as many as the data have";
        dropout: f32 = "0", "share of features dropped in training, before each layer and the head";
    }
}

impl Architecture for Lstm {
    fn build<'g>(&self, b: &mut Builder<'g>, tokens: Tensor<'g>, vocab: usize) -> Result<Tensor<'g>> {
        let ([n, t], width, vocab) = (tokens.dims()?, self.width, vocabulary(self.vocab, vocab)?);
        let begin = Init::Uniform { fan_in: width };
        let [x, _] = b.embedding("encoder", tokens, [vocab, width], begin);
        // Features place by place: a product for each is what recurrence asks for anyway.
        let mut all: Vec<Tensor> = (0..t).map(|place| x.slice(1, place, 1).reshape(&[n, width])).collect();
        for layer in 0..self.layers {
            b.scope("rnn", |b| self.layer(b, &mut all, layer, [n, width]));
        }
        let all: Vec<Tensor> = all.iter().map(|x| x.reshape(&[n, 1, width])).collect();
        let x = b.dropout(b.g.concat(&all, 1), self.dropout);
        let x = b.asked(x);
        Ok(b.dense_from("decoder", x, vocab, [begin; 2]))
    }

    fn context(&self) -> Option<usize> {
        Some(self.context)
    }
}

impl Lstm {
    /// `c = σ(f) c + σ(i) tanh(g)`, `h = σ(o) tanh(c)` with gates `i, f, g, o = x w + h u` and biases, from place to place;
    /// features and hidden states are `[n, width]`.
    fn layer<'g>(&self, b: &mut Builder<'g>, x: &mut [Tensor<'g>], layer: usize, hidden: [usize; 2]) {
        let begin = Init::Uniform { fan_in: self.width };
        let [w, u] =
            ["ih", "hh"].map(|name| b.param(&format!("weight_{name}_l{layer}"), &[self.width, 4 * self.width], begin));
        let [first, second] =
            ["ih", "hh"].map(|name| b.param(&format!("bias_{name}_l{layer}"), &[4 * self.width], begin));
        let bias = first + second;
        let names = ["h", "c"].map(|name| format!("{name}{layer}"));
        let before = [b.kept_before(&names[0], &hidden), b.kept_before(&names[1], &hidden)];
        let [mut h, mut c] = before;
        for x in x {
            let driven = b.dropout(*x, self.dropout).matmul(w);
            let gates = h.map_or(driven, |h| driven + h.matmul(u)) + bias;
            let [y, cell, _] = gates.lstm_cell(c.unwrap_or_else(|| b.g.fill(&hidden, 0.0)));
            *x = y;
            (h, c) = (Some(y), Some(cell));
        }
        for ((name, before), value) in names.iter().zip(before).zip([h, c]) {
            value.into_iter().for_each(|value| b.keep(name, before, value));
        }
    }
}

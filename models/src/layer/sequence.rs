//! Layers on sequences of tokens: embeddings, positions, attention, and what decoding keeps.

use hillshade_engine::{Attention, Type, Var};

use super::Builder;
use crate::{Error, Init, Result};

/// What a network is built for that continues a text: one sequence whose keys, values and hidden states are kept as states
/// of the session, so that a step takes one token more and not all tokens again.
#[derive(Debug)]
pub(super) struct Decoding {
    /// Places of the tokens in the sequence, `[t]`.
    positions: Var,
    /// The first of them, `[1]`.
    start: Var,
    /// Which of the tokens the logits are asked for, `[1]`.
    last: Var,
    /// Tokens that the sequence has with this one, `[1]`, in a step; `None` at its beginning.
    length: Option<Var>,
    /// Most tokens of the sequence.
    context: usize,
    /// The states, by name and type.
    kept: Vec<(String, Type)>,
}

/// By how much rotary positions turn the pairs of a head's features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base of the wavelengths.
    pub theta: f64,
    /// What angles are divided by, so that a longer sequence turns no farther than one that was trained on (Chen et al. 2023).
    pub stretch: f64,
    /// Where that is so of long wavelengths alone.
    pub bands: Option<RopeBands>,
}

/// Which wavelengths are stretched, as in Llama 3.1 (Grattafiori et al. 2024): those of fewer turns than `low` in the
/// original context, not those of more than `high`, and in part those between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeBands {
    /// Tokens of a sequence before.
    pub original: usize,
    /// Turns up to which a wavelength is stretched.
    pub low: f64,
    /// Turns from which on it is not.
    pub high: f64,
}

impl Rope {
    /// The angle from place to place of pair `i` of a head of `d` features: `θ^(−2i/d)`, stretched.
    fn angle(&self, i: usize, d: usize) -> f64 {
        let angle = self.theta.powf(-((2 * i) as f64) / d as f64);
        let kept = self.bands.map_or(0.0, |RopeBands { original, low, high }| {
            let turns = original as f64 * angle / std::f64::consts::TAU;
            ((turns - low) / (high - low)).clamp(0.0, 1.0)
        });
        angle * (kept + (1.0 - kept) / self.stretch)
    }
}

/// Cosines and sines of the angles by which [`Builder::rotate`] turns, `[t, 1, d/2]`.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    cos: Var,
    sin: Var,
}

impl Builder {
    /// From here on the network is one that decodes: inputs `positions`, `start`, `last` and, in a step, `length`.
    pub(crate) fn decode(&mut self, tokens: usize, context: usize, step: bool) -> Result<()> {
        let [positions, start, last] =
            [("positions", tokens), ("start", 1), ("last", 1)].map(|(name, len)| self.g.input_u32(name, &[len]));
        let length = step.then(|| self.g.input_u32("length", &[1])).transpose()?;
        let kept = Vec::new();
        self.decoding = Some(Decoding { positions: positions?, start: start?, last: last?, length, context, kept });
        Ok(())
    }

    /// The states that decoding keeps.
    pub(crate) fn kept(&self) -> &[(String, Type)] {
        self.decoding.as_ref().map_or(&[], |d| &d.kept)
    }

    /// Of features `[n, t, …]` those of the tokens whose logits are asked for: all, or in decoding the last one's.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn asked(&mut self, x: Var) -> Result<Var> {
        let Some(decoding) = &self.decoding else { return Ok(x) };
        let shape = self.g.shape(x).to_vec();
        if shape[1] == 1 {
            return Ok(x);
        }
        let rows = self.g.reshape(x, &shape[1..])?;
        let row = self.g.gather(rows, decoding.last)?;
        Ok(self.g.unsqueeze(row, &[0])?)
    }

    /// Rows of a table of `count` by token, `[n, t]` to `[n, t, width]`, and the table, which a head may share.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn embedding(&mut self, name: &str, tokens: Var, [count, width]: [usize; 2], init: Init) -> Result<[Var; 2]> {
        let mut table = tokens;
        let y = self.layer(name, |b| {
            table = b.param("weight", &[count, width], init)?;
            Ok(b.g.gather(table, tokens)?)
        })?;
        Ok([y, table])
    }

    /// A learned vector for each of the `t` places, `[t, width]`, from a table of `context` of them.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when there are fewer than `t`.
    pub fn positions(&mut self, name: &str, t: usize, [context, width]: [usize; 2], init: Init) -> Result<Var> {
        within(t, context)?;
        self.layer(name, |b| {
            let table = b.param("weight", &[context, width], init)?;
            Ok(match &b.decoding {
                Some(decoding) => b.g.gather(table, decoding.positions)?,
                None => b.g.slice(table, 0, 0, t)?,
            })
        })
    }

    /// The angles of place `m` and pair `i`, `m` times those of [`Rope`], for heads of `d` features.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for an odd `d`, and when there are fewer places than `t`.
    pub fn rotation(&mut self, t: usize, d: usize, rope: Rope, context: usize) -> Result<Rotation> {
        within(t, context)?;
        if !d.is_multiple_of(2) {
            let (what, expected) = ("width of a head".into(), "an even number, for rotary positions".into());
            return Err(Error::Argument { what, expected, found: d.to_string() });
        }
        let (half, places) = (d / 2, if self.decoding.is_some() { context } else { t });
        let angle = |i: usize| (i / half) as f64 * rope.angle(i % half, d);
        let mut table = |of: fn(f64) -> f64| -> Result<Var> {
            let values: Vec<f32> = (0..places * half).map(|i| of(angle(i)) as f32).collect();
            let mut table = self.g.literal(&[places, half], &values)?;
            if let Some(decoding) = &self.decoding {
                table = self.g.gather(table, decoding.positions)?;
            }
            Ok(self.g.unsqueeze(table, &[1])?)
        };
        Ok(Rotation { cos: table(f64::cos)?, sin: table(f64::sin)? })
    }

    /// Turns the pairs `(x[i], x[i + d/2])` of every head's features, `x` `[n, t, heads, d]`, by the angle of their place, so
    /// that the product of a query and a key depends on how far apart they are (Su et al. 2021; the pairs are those of
    /// Llama in Hugging Face's layout).
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn rotate(&mut self, x: Var, Rotation { cos, sin }: Rotation) -> Result<Var> {
        let (half, g) = (self.g.shape(x)[3] / 2, &mut self.g);
        let [a, b] = [g.slice(x, 3, 0, half)?, g.slice(x, 3, half, half)?];
        let [ac, bs, bc, as_] = [g.mul(a, cos)?, g.mul(b, sin)?, g.mul(b, cos)?, g.mul(a, sin)?];
        let [first, second] = [g.sub(ac, bs)?, g.add(bc, as_)?];
        Ok(g.concat(&[first, second], 3)?)
    }

    /// `y = x w`, from the last axis of `x` to `outs`.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn projection(&mut self, name: &str, x: Var, outs: usize, init: Init) -> Result<Var> {
        self.layer(name, |b| {
            let ins = b.g.shape(x).last().copied().unwrap_or(1);
            let w = b.param("weight", &[ins, outs], init)?;
            Ok(b.g.matmul(x, w)?)
        })
    }

    /// Features as heads: `[n, t, heads d]` to `[n, t, heads, d]`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the heads do not divide the features.
    pub fn heads(&mut self, x: Var, heads: usize) -> Result<Var> {
        let [n, t, width] = <[usize; 3]>::try_from(self.g.shape(x)).unwrap_or([1, 1, 0]);
        if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
            let expected = format!("a number that divides the width, {width}");
            return Err(Error::Argument { what: "heads".into(), expected, found: heads.to_string() });
        }
        Ok(self.g.reshape(x, &[n, t, heads, width / heads])?)
    }

    /// Attention of heads to heads: queries `[n, t, heads, d]`, keys and values `[n, t, kv_heads, d]`, to features
    /// `[n, t, heads d]`. With `causal`, no query sees a key behind it; with `lengths`, `[n]` of u32, none sees a key of a
    /// sequence from there on, which is padding. In decoding, keys and values are kept, and a step's query sees all that were.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the heads of keys do not divide those of queries, and the engine's.
    pub fn attention(&mut self, [q, k, v]: [Var; 3], causal: bool, lengths: Option<Var>) -> Result<Var> {
        let (shape, keys) = (self.g.shape(q).to_vec(), self.g.shape(k).to_vec());
        if !shape[2].is_multiple_of(keys[2]) {
            let expected = format!("a number that divides the heads, {}", shape[2]);
            return Err(Error::Argument { what: "kv-heads".into(), expected, found: keys[2].to_string() });
        }
        let all = [self.keep_rows("keys", k)?, self.keep_rows("values", v)?];
        let ([q, k, v], causal, lengths) = match (all, self.decoding.as_ref().and_then(|d| d.length)) {
            ([Some(k), Some(v)], Some(length)) => ([q, k, v], false, Some(length)),
            _ => ([q, k, v], causal, lengths),
        };
        let how = Attention { causal, scale: 1.0 / (shape[3] as f64).sqrt() };
        let y = self.g.attention(q, k, v, how, lengths)?[0];
        Ok(self.g.reshape(y, &[shape[0], shape[1], shape[2] * shape[3]])?)
    }

    /// In decoding, rows `[1, t, …]` of a state of as many as the context has, and all of them, `[1, context, …]`.
    fn keep_rows(&mut self, name: &str, rows: Var) -> Result<Option<Var>> {
        let Some((start, context)) = self.decoding.as_ref().map(|d| (d.start, d.context)) else { return Ok(None) };
        let row = self.g.shape(rows)[2..].to_vec();
        let rows = self.g.reshape(rows, &[&[self.g.shape(rows)[1]], &row[..]].concat())?;
        let state = self.kept_state(name, &[&[context], &row[..]].concat())?;
        let all = self.g.write_rows(state, start, rows)?;
        self.g.assign(state, all)?;
        Ok(Some(self.g.unsqueeze(all, &[0])?))
    }

    /// In decoding, a state of one value, as it is before a step, or `None` at the beginning; [`Builder::keep`] follows.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub(crate) fn kept_before(&mut self, name: &str, shape: &[usize]) -> Result<Option<Var>> {
        match self.decoding.as_ref().and_then(|d| d.length) {
            Some(_) => self.kept_state(name, shape).map(Some),
            None => Ok(None),
        }
    }

    /// In decoding, keeps a value for the next step.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub(crate) fn keep(&mut self, name: &str, before: Option<Var>, value: Var) -> Result<()> {
        if self.decoding.is_some() {
            let shape = self.g.shape(value).to_vec();
            let state = before.map_or_else(|| self.kept_state(name, &shape), Ok)?;
            self.g.assign(state, value)?;
        }
        Ok(())
    }

    fn kept_state(&mut self, name: &str, shape: &[usize]) -> Result<Var> {
        let name = format!("kept/{}", self.name(name));
        let state = self.g.state(&name, shape)?;
        if let Some(decoding) = &mut self.decoding {
            decoding.kept.push((name, Type::f32(shape)));
        }
        Ok(state)
    }
}

fn within(t: usize, context: usize) -> Result<()> {
    if t <= context {
        return Ok(());
    }
    let expected = format!("at most {context} tokens, the network's context");
    Err(Error::Argument { what: "sequence".into(), expected, found: t.to_string() })
}

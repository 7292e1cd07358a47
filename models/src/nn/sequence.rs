//! Layers on sequences of tokens: embeddings, positions, attention, and what decoding keeps.

use hillshade_engine::{Attention, Result as EngineResult, Tensor, Type};

use crate::error::*;
use crate::nn::{builder::*, init::Init};

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
pub struct Rotation<'g> {
    cos: Tensor<'g>,
    sin: Tensor<'g>,
}

impl<'g> Builder<'g> {
    /// From here on the network is one that decodes: inputs `positions`, `start`, `last` and, in a step, `length`.
    pub(crate) fn decode(&mut self, tokens: usize, context: usize, step: bool) {
        let [positions, start, last] =
            [("positions", tokens), ("start", 1), ("last", 1)].map(|(name, len)| self.g.input_u32(name, &[len]));
        let length = step.then(|| self.g.input_u32("length", &[1]));
        self.decoding = Some(Decoding { positions, start, last, length, context, kept: Vec::new() });
    }

    /// The states that decoding keeps.
    pub(crate) fn kept(&self) -> &[(String, Type)] {
        self.decoding.as_ref().map_or(&[], |d| &d.kept)
    }

    /// Of features `[n, t, …]` those of the tokens whose logits are asked for: all, or in decoding the last one's.
    #[track_caller]
    pub fn asked(&mut self, x: Tensor<'g>) -> Tensor<'g> {
        let (Some(decoding), Ok(shape @ [_, (2..), ..])) = (&self.decoding, x.shape()) else { return x };
        x.reshape(&shape[1..]).gather(decoding.last).unsqueeze(&[0])
    }

    /// Rows of a table of `count` by token, `[n, t]` to `[n, t, width]`, and the table, which a head may share.
    #[track_caller]
    pub fn embedding(
        &mut self, name: &str, tokens: Tensor<'g>, [count, width]: [usize; 2], init: Init,
    ) -> [Tensor<'g>; 2] {
        let mut table = tokens;
        let y = self.layer(name, |b| {
            table = b.param("weight", &[count, width], init);
            Ok(table.gather(tokens))
        });
        [y, table]
    }

    /// A learned vector for each of the `t` places, `[t, width]`, from a table of `context` of them.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when there are fewer than `t`.
    pub fn positions(&mut self, name: &str, t: usize, [context, width]: [usize; 2], init: Init) -> Result<Tensor<'g>> {
        within(t, context)?;
        Ok(self.layer(name, |b| {
            let table = b.param("weight", &[context, width], init);
            Ok(b.decoding.as_ref().map_or_else(|| table.slice(0, 0, t), |decoding| table.gather(decoding.positions)))
        }))
    }

    /// The angles of place `m` and pair `i`, `m` times those of [`Rope`], for heads of `d` features.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for an odd `d`, and when there are fewer places than `t`.
    pub fn rotation(&mut self, t: usize, d: usize, rope: Rope, context: usize) -> Result<Rotation<'g>> {
        within(t, context)?;
        if !d.is_multiple_of(2) {
            return Err(Error::argument("width of a head", "an even number, for rotary positions", d));
        }
        let (half, places) = (d / 2, if self.decoding.is_some() { context } else { t });
        let angle = |i: usize| (i / half) as f64 * rope.angle(i % half, d);
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = (0..places * half).map(|i| of(angle(i)) as f32).collect();
            let table = self.g.literal(&[places, half], &values);
            self.decoding.as_ref().map_or(table, |decoding| table.gather(decoding.positions)).unsqueeze(&[1])
        };
        Ok(Rotation { cos: table(f64::cos), sin: table(f64::sin) })
    }

    /// Turns the pairs `(x[i], x[i + d/2])` of every head's features, `x` `[n, t, heads, d]`, by the angle of their place, so
    /// that the product of a query and a key depends on how far apart they are (Su et al. 2021; the pairs are those of
    /// Llama in Hugging Face's layout).
    #[track_caller]
    pub fn rotate(&mut self, x: Tensor<'g>, Rotation { cos, sin }: Rotation<'g>) -> Tensor<'g> {
        let half = features(x).unwrap_or(0) / 2;
        let [a, b] = [x.slice(3, 0, half), x.slice(3, half, half)];
        self.g.concat(&[a * cos - b * sin, b * cos + a * sin], 3)
    }

    /// `y = x w`, from the last axis of `x` to `outs`.
    #[track_caller]
    pub fn projection(&mut self, name: &str, x: Tensor<'g>, outs: usize, init: Init) -> Tensor<'g> {
        self.layer(name, |b| Ok(x.matmul(b.param("weight", &[features(x)?, outs], init))))
    }

    /// Features as heads: `[n, t, heads d]` to `[n, t, heads, d]`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the heads do not divide the features.
    pub fn heads(&mut self, x: Tensor<'g>, heads: usize) -> Result<Tensor<'g>> {
        let [n, t, width] = x.dims()?;
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(Error::argument("heads", format!("a number that divides the width, {width}"), heads));
        }
        Ok(x.reshape(&[n, t, heads, width / heads]))
    }

    /// Attention of heads to heads: queries `[n, t, heads, d]`, keys and values `[n, t, kv_heads, d]`, to features
    /// `[n, t, heads d]`. With `causal`, no query sees a key behind it; with `lengths`, `[n]` of u32, none sees a key of a
    /// sequence from there on, which is padding. In decoding, keys and values are kept, and a step's query sees all that were.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the heads of keys do not divide those of queries, and the engine's.
    pub fn attention(
        &mut self, [q, k, v]: [Tensor<'g>; 3], causal: bool, lengths: Option<Tensor<'g>>,
    ) -> Result<Tensor<'g>> {
        let ([n, t, heads, d], [_, _, kv_heads, _]) = (q.dims()?, k.dims()?);
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::argument("kv-heads", format!("a number that divides the heads, {heads}"), kv_heads));
        }
        let all = [self.keep_rows("keys", k)?, self.keep_rows("values", v)?];
        let (k, v, causal, lengths) = match (all, self.decoding.as_ref().and_then(|d| d.length)) {
            ([Some(k), Some(v)], Some(length)) => (k, v, false, Some(length)),
            _ => (k, v, causal, lengths),
        };
        let how = Attention { causal, scale: 1.0 / (d as f64).sqrt() };
        Ok(q.attention(k, v, how, lengths)[0].reshape(&[n, t, heads * d]))
    }

    /// In decoding, rows `[1, t, …]` of a state of as many as the context has, and all of them, `[1, context, …]`.
    fn keep_rows(&mut self, name: &str, rows: Tensor<'g>) -> EngineResult<Option<Tensor<'g>>> {
        let Some((start, context)) = self.decoding.as_ref().map(|d| (d.start, d.context)) else { return Ok(None) };
        let shape = rows.shape()?;
        let state = self.kept_state(name, &[&[context], &shape[2..]].concat());
        let all = state.write_rows(start, rows.reshape(&shape[1..]));
        self.g.assign(state, all);
        Ok(Some(all.unsqueeze(&[0])))
    }

    /// In decoding, a state of one value, as it is before a step, or `None` at the beginning; [`Builder::keep`] follows.
    pub(crate) fn kept_before(&mut self, name: &str, shape: &[usize]) -> Option<Tensor<'g>> {
        self.decoding.as_ref()?.length.map(|_| self.kept_state(name, shape))
    }

    /// In decoding, keeps a value for the next step.
    pub(crate) fn keep(&mut self, name: &str, before: Option<Tensor<'g>>, value: Tensor<'g>) {
        if let (Some(_), Ok(shape)) = (&self.decoding, value.shape()) {
            let state = before.unwrap_or_else(|| self.kept_state(name, shape));
            self.g.assign(state, value);
        }
    }

    fn kept_state(&mut self, name: &str, shape: &[usize]) -> Tensor<'g> {
        let name = format!("kept/{}", self.name(name));
        let state = self.g.state(&name, shape);
        self.decoding.iter_mut().for_each(|decoding| decoding.kept.push((name.clone(), Type::f32(shape))));
        state
    }
}

fn within(t: usize, context: usize) -> Result<()> {
    match t <= context {
        true => Ok(()),
        false => Err(Error::argument("sequence", format!("at most {context} tokens, the network's context"), t)),
    }
}

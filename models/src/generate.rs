//! Continuing a text, token by token.

use std::collections::HashMap;

use hillshade_engine::{Data, Program, Session, Var, philox};

use crate::{Builder, Error, Mode, Network, Param, Result, Takes};

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; at 0 the likeliest token is taken.
    pub temperature: f64,
    /// From how many of the likeliest tokens; all where it is not said.
    pub top_k: Option<usize>,
    /// From the fewest of the likeliest tokens whose probabilities add up to this (Holtzman et al. 2020); all at 1.
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Sampling {
    /// The token that follows, given the logits; the draw depends on the seed and the token's place alone.
    pub fn choose(&self, logits: &[f32], place: u64) -> u32 {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let z = |token: u32| f64::from(logits[token as usize]);
        // Of equals the first goes before, so that the order is the same everywhere.
        order.sort_by(|&a, &b| z(b).total_cmp(&z(a)));
        if self.temperature <= 0.0 || order.is_empty() {
            return order.first().copied().unwrap_or(0);
        }
        order.truncate(self.top_k.unwrap_or(order.len()).max(1));
        let weights: Vec<f64> = order.iter().map(|&t| ((z(t) - z(order[0])) / self.temperature).exp()).collect();
        let (total, mut sum, mut kept) = (weights.iter().sum::<f64>(), 0.0, 0);
        while kept < weights.len() && (kept == 0 || sum < self.top_p * total) {
            sum += weights[kept];
            kept += 1;
        }
        const PURPOSE: u32 = u32::from_be_bytes(*b"samp");
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let word = philox([place as u32, (place >> 32) as u32, 0, PURPOSE], key)[0];
        let mut rest = (f64::from(word) + 0.5) / 4_294_967_296.0 * sum;
        let found = weights[..kept].iter().position(|w| {
            rest -= w;
            rest < 0.0
        });
        order[found.unwrap_or(kept - 1)]
    }
}

/// A language model at work on one text.
///
/// With a cache, keys, values and hidden states of the text so far are states of the session, and a token costs one pass of
/// one token; without, every token costs a pass of the whole text. Either way no more than the network's context is seen:
/// when it is full, its last half goes on alone.
#[derive(Debug)]
pub struct Generator {
    network: Network,
    classes: usize,
    context: usize,
    cached: bool,
    session: Session,
    step: Option<Pass>,
    /// Passes from the beginning, by the number of tokens.
    beginnings: HashMap<usize, Pass>,
    tokens: Vec<u32>,
    /// The first token that is seen.
    first: usize,
    /// Tokens from there on that the cache has.
    kept: usize,
}

/// A program for so many tokens.
#[derive(Debug)]
struct Pass {
    program: Program,
    logits: Var,
}

impl Generator {
    /// The parameters that a network of tokens has.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a network that takes no tokens, and those of [`Network::build`].
    pub fn params(network: &Network, classes: usize) -> Result<Vec<Param>> {
        context(network)?;
        let mut b = Builder::new(Mode::Eval);
        let tokens = b.g.input_u32("tokens", &[1, 1])?;
        network.build(&mut b, tokens, classes)?;
        Ok(b.params)
    }

    /// On a session that has the parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a network that takes no tokens.
    pub fn new(network: Network, classes: usize, session: Session, cached: bool) -> Result<Self> {
        let context = context(&network)?;
        let (beginnings, tokens) = (HashMap::new(), Vec::new());
        Ok(Generator { network, classes, context, cached, session, step: None, beginnings, tokens, first: 0, kept: 0 })
    }

    /// The text so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Adds to the text.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a token that the network does not have.
    pub fn push(&mut self, tokens: &[u32]) -> Result<()> {
        if let Some(token) = tokens.iter().find(|&&t| t as usize >= self.classes) {
            let expected = format!("tokens below {}, the network's vocabulary", self.classes);
            return Err(Error::Argument { what: "text".into(), expected, found: token.to_string() });
        }
        self.tokens.extend(tokens);
        Ok(())
    }

    /// Where it runs.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The logits of the token that follows the text.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for no text, and the engine's.
    pub async fn logits(&mut self) -> Result<Vec<f32>> {
        if self.tokens.is_empty() {
            let expected = "a token or more to continue".into();
            return Err(Error::Argument { what: "text".into(), expected, found: "none".into() });
        }
        if self.tokens.len() - self.first > self.context {
            self.first = self.tokens.len() - (self.context / 2).max(1);
            self.kept = 0;
        }
        let seen = self.tokens.len() - self.first;
        if !self.cached || self.kept == 0 {
            return self.begin(seen).await;
        }
        let mut step = match self.step.take() {
            Some(step) => step,
            None => self.pass(1, true)?,
        };
        while self.kept < seen {
            let (token, place) = ([self.tokens[self.first + self.kept]], [self.kept as u32]);
            let length = [self.kept as u32 + 1];
            step.run(&mut self.session, &token, &place, &[("length", Data::U32(&length)), ("last", Data::U32(&[0]))])?;
            self.kept += 1;
        }
        let logits = step.program.read(&self.session, step.logits).await;
        self.step = Some(step);
        Ok(logits?)
    }

    /// A pass over all that is seen. Without a cache it is filled up behind, so that few sizes serve a whole text.
    async fn begin(&mut self, seen: usize) -> Result<Vec<f32>> {
        let size = if self.cached { seen } else { seen.next_power_of_two().min(self.context) };
        let mut pass = match self.beginnings.remove(&size) {
            Some(pass) => pass,
            None => self.pass(size, false)?,
        };
        let mut tokens = self.tokens[self.first..].to_vec();
        tokens.resize(size, 0);
        let places: Vec<u32> = (0..size as u32).collect();
        let last = [seen as u32 - 1];
        pass.run(&mut self.session, &tokens, &places, &[("last", Data::U32(&last))])?;
        self.kept = seen;
        let logits = pass.program.read(&self.session, pass.logits).await;
        self.beginnings.insert(size, pass);
        Ok(logits?)
    }

    fn pass(&mut self, size: usize, step: bool) -> Result<Pass> {
        let mut b = Builder::new(Mode::Eval);
        b.decode(size, self.context, step)?;
        let tokens = b.g.input_u32("tokens", &[1, size])?;
        let logits = self.network.build(&mut b, tokens, self.classes)?;
        for (name, ty) in b.kept() {
            self.session.reserve(name, ty)?;
        }
        Ok(Pass { program: self.session.compile(&b.g, &[logits])?, logits })
    }
}

impl Pass {
    fn run(&mut self, session: &mut Session, tokens: &[u32], places: &[u32], more: &[(&str, Data)]) -> Result<()> {
        let own = [("tokens", Data::U32(tokens)), ("positions", Data::U32(places)), ("start", Data::U32(&places[..1]))];
        Ok(self.program.run(session, &[&own, more].concat())?)
    }
}

fn context(network: &Network) -> Result<usize> {
    match (network.takes(), network.context()) {
        (Takes::Tokens, Some(context)) => Ok(context),
        _ => {
            let expected = "a network that takes tokens".into();
            Err(Error::Argument { what: "model".into(), expected, found: network.to_string() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: None, top_p: 1.0, seed: 3 };

    fn counts(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        (0..10_000).for_each(|place| counts[sampling.choose(logits, place) as usize] += 1);
        counts
    }

    #[test]
    fn the_likeliest_is_taken_at_temperature_zero() {
        let greedy = Sampling { temperature: 0.0, ..PLAIN };
        assert_eq!((0..9).map(|place| greedy.choose(&[1.0, 3.0, 3.0, 2.0], place)).collect::<Vec<_>>(), [1; 9]);
    }

    /// Five standard deviations of 10,000 draws are at most 250.
    #[test]
    fn tokens_are_drawn_by_their_probabilities() {
        let logits = [0.5_f32, 0.3, 0.2].map(f32::ln);
        let near = |got: Vec<usize>, want: [f64; 3]| {
            assert!(
                got.iter().zip(want).all(|(&g, w)| (g as f64 - 1e4 * w).abs() < 250.0),
                "{got:?}, expected {want:?}"
            );
        };
        near(counts(PLAIN, &logits), [0.5, 0.3, 0.2]);
        near(counts(Sampling { temperature: 0.5, ..PLAIN }, &logits), [25.0 / 38.0, 9.0 / 38.0, 4.0 / 38.0]);
        near(counts(Sampling { top_k: Some(2), ..PLAIN }, &logits), [0.625, 0.375, 0.0]);
        near(counts(Sampling { top_p: 0.6, ..PLAIN }, &logits), [0.625, 0.375, 0.0]);
        near(counts(Sampling { top_p: 0.4, ..PLAIN }, &logits), [1.0, 0.0, 0.0]);
        assert_ne!(counts(PLAIN, &logits), counts(Sampling { seed: 4, ..PLAIN }, &logits));
    }
}

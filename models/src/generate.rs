//! Continuing a text, token by token.

use std::collections::{HashMap, hash_map::Entry};

use hillshade_engine::{Data, Graph, Program, Session, Var, philox};

use crate::{error::*, networks::*, nn::*};

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
    /// Programs, with their logits, by the number of tokens and whether they come after others.
    programs: HashMap<(usize, bool), (Program, Var)>,
    /// Which of them ran last.
    ran: (usize, bool),
    tokens: Vec<u32>,
    /// The first token that is seen.
    first: usize,
    /// Tokens from there on that the cache has.
    kept: usize,
}

impl Generator {
    /// The parameters that a network of tokens has.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a network that takes no tokens, and those of [`Network::build`].
    pub fn params(network: &Network, classes: usize) -> Result<Vec<Param>> {
        context(network)?;
        let g = Graph::new();
        let mut b = Builder::new(&g, Mode::Eval);
        network.build(&mut b, g.input_u32("tokens", &[1, 1]), classes)?;
        Ok(b.params)
    }

    /// On a session that has the parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a network that takes no tokens.
    pub fn new(network: Network, classes: usize, session: Session, cached: bool) -> Result<Self> {
        let context = context(&network)?;
        let (programs, ran, tokens) = (HashMap::new(), (0, false), Vec::new());
        Ok(Generator { network, classes, context, cached, session, programs, ran, tokens, first: 0, kept: 0 })
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
            return Err(Error::argument("text", expected, token));
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
            return Err(Error::argument("text", "a token or more to continue", "none"));
        }
        if self.tokens.len() - self.first > self.context {
            self.first = self.tokens.len() - (self.context / 2).max(1);
            self.kept = 0;
        }
        let mut tokens = self.tokens[self.first..].to_vec();
        let seen = tokens.len();
        if !self.cached || self.kept == 0 {
            // Without a cache the text is filled up behind, so that few sizes serve a whole one.
            let size = if self.cached { seen } else { seen.next_power_of_two().min(self.context) };
            tokens.resize(size, 0);
            self.run(false, &tokens, 0, seen - 1)?;
            self.kept = seen;
        }
        while self.kept < seen {
            self.run(true, &[tokens[self.kept]], self.kept, 0)?;
            self.kept += 1;
        }
        let (program, logits) = &self.programs[&self.ran];
        Ok(program.read(&self.session, *logits).await?)
    }

    /// Runs the network on tokens from a place on, which come after others or do not; the logits are those of the `last`.
    fn run(&mut self, after: bool, tokens: &[u32], from: usize, last: usize) -> Result<()> {
        self.ran = (tokens.len(), after);
        let (program, _) = match self.programs.entry(self.ran) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let g = Graph::new();
                let mut b = Builder::new(&g, Mode::Eval);
                b.decode(tokens.len(), self.context, after);
                let logits = self.network.build(&mut b, g.input_u32("tokens", &[1, tokens.len()]), self.classes)?;
                for (name, ty) in b.kept() {
                    self.session.reserve(name, ty)?;
                }
                free.insert((self.session.compile(&g, &[logits])?, logits.var()))
            }
        };
        let places: Vec<u32> = (from..from + tokens.len()).map(|place| place as u32).collect();
        let (last, length) = ([last as u32], [from as u32 + 1]);
        let text =
            [("tokens", Data::U32(tokens)), ("positions", Data::U32(&places)), ("start", Data::U32(&places[..1]))];
        let ends = [("last", Data::U32(&last)), ("length", Data::U32(&length))];
        Ok(program.run(&mut self.session, &[&text[..], &ends].concat())?)
    }
}

fn context(network: &Network) -> Result<usize> {
    match (network.takes(), network.context()) {
        (Takes::Tokens, Some(context)) => Ok(context),
        _ => Err(Error::argument("model", "a network that takes tokens", network)),
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
            let is_near = got.iter().zip(want).all(|(&g, w)| (g as f64 - 1e4 * w).abs() < 250.0);
            assert!(is_near, "{got:?}, expected {want:?}");
        };
        near(counts(PLAIN, &logits), [0.5, 0.3, 0.2]);
        near(counts(Sampling { temperature: 0.5, ..PLAIN }, &logits), [25.0 / 38.0, 9.0 / 38.0, 4.0 / 38.0]);
        near(counts(Sampling { top_k: Some(2), ..PLAIN }, &logits), [0.625, 0.375, 0.0]);
        near(counts(Sampling { top_p: 0.6, ..PLAIN }, &logits), [0.625, 0.375, 0.0]);
        near(counts(Sampling { top_p: 0.4, ..PLAIN }, &logits), [1.0, 0.0, 0.0]);
        assert_ne!(counts(PLAIN, &logits), counts(Sampling { seed: 4, ..PLAIN }, &logits));
    }
}

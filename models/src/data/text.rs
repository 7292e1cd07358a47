//! Text to learn from, as sequences of tokens.

use std::path::Path;

use crate::data::{batch::shift, files::*, tokenizer::*};
use crate::error::*;

/// A text as tokens: the first nine tenths of its characters to learn from, the last tenth held out. A sample is a
/// sequence of [`context`](Text::context) tokens, each of which is to predict the next.
#[derive(Debug, Clone)]
pub struct Text {
    /// The name under which it was opened.
    pub name: String,
    /// What tokens stand for.
    pub tokenizer: Tokenizer,
    /// The tokens to learn from.
    pub train: Vec<u32>,
    /// The tokens held out.
    pub test: Vec<u32>,
    /// Tokens of a sample.
    pub context: usize,
    /// Characters of the text held out.
    characters: usize,
}

/// Sequences ready for a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequences {
    /// `[n, context]`: the tokens.
    pub tokens: Vec<u32>,
    /// `[n, context]`: after each token the next; 2³² − 1, which is no token, behind the last.
    pub next: Vec<u32>,
}

impl Text {
    /// A text in memory, split and encoded. Samples are of one token until [`cut`](Text::cut).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for text that the tokenizer does not take.
    pub fn new(name: &str, text: &str, tokenizer: Tokenizer) -> Result<Self> {
        let characters = text.chars().count();
        let at = text.char_indices().nth(characters * 9 / 10).map_or(text.len(), |(at, _)| at);
        let [train, test] = [tokenizer.encode(&text[..at], false)?, tokenizer.encode(&text[at..], false)?];
        let characters = characters - characters * 9 / 10;
        Ok(Text { name: name.into(), tokenizer, train, test, context: 1, characters })
    }

    /// Reads a file of UTF-8; without a vocabulary, its characters are the tokens.
    pub(crate) fn open(name: &str, path: &Path, vocabulary: Option<&Vocabulary>) -> Result<Self> {
        there("a text", path)?;
        let text = String::from_utf8(read(path)?).map_err(|e| Error::format(path, "UTF-8", e.utf8_error()))?;
        let vocabulary = vocabulary.cloned().unwrap_or_else(|| Vocabulary::of(&text));
        Self::new(name, &text, Tokenizer::new(vocabulary)?)
    }

    /// Makes samples of so many tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the text has not enough for two of them and one token held out.
    pub fn cut(&mut self, context: usize) -> Result<()> {
        self.context = context;
        if self.len() >= 2 && self.test.len() >= 2 {
            return Ok(());
        }
        let expected = format!("text for two sequences of {context} tokens and more, and a tenth held out");
        let found = format!("{} tokens and {} held out", self.train.len(), self.test.len());
        Err(Error::argument(&self.name, expected, found))
    }

    /// Samples of an epoch. One less than fit, so that an epoch may begin them anywhere.
    pub fn len(&self) -> usize {
        (self.train.len() / self.context.max(1)).saturating_sub(1)
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Samples that are held out; the last one may not be full.
    pub fn test_len(&self) -> usize {
        self.test.len().saturating_sub(1).div_ceil(self.context.max(1))
    }

    /// Keeps what the first `n` samples need.
    pub fn limit(&mut self, n: usize) {
        self.train.truncate(n.saturating_add(1).saturating_mul(self.context));
    }

    /// Bits that a mean loss in nats costs for each character held out.
    pub fn bits_per_character(&self, loss: f64) -> f64 {
        loss / std::f64::consts::LN_2 * self.test.len() as f64 / self.characters.max(1) as f64
    }

    /// The sequences at `index`, side by side in the text. With a seed and an epoch all begin later by a number of tokens
    /// below the context that is drawn for them, so that other epochs cut the text elsewhere.
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | of | `[m]` | tokens of this text: its `train` or `test` |
    /// | index | `[n]` | repeats allowed; what lies behind the text is filled up with tokens 0 whose next is none |
    pub fn batch(&self, of: &[u32], index: &[u32], drawn: Option<(u64, u32)>) -> Sequences {
        let begin = drawn.map_or(0, |(seed, epoch)| shift(seed, epoch, self.context));
        let places =
            || index.iter().flat_map(|&i| (0..self.context).map(move |j| begin + i as usize * self.context + j));
        let end = of.len().saturating_sub(1);
        let tokens = places().map(|at| if at < end { of[at] } else { 0 }).collect();
        Sequences { tokens, next: places().map(|at| if at < end { of[at + 1] } else { u32::MAX }).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(letters: usize) -> Text {
        let letters: String = ('a'..='z').cycle().take(letters).collect();
        let tokenizer = Tokenizer::new(Vocabulary::of(&letters)).expect("no file");
        Text::new("letters", &letters, tokenizer).expect("its own text")
    }

    #[test]
    fn nine_tenths_are_learned_from() {
        let mut data = text(105);
        assert_eq!((data.train.len(), data.test.len(), data.characters), (94, 11, 11));
        data.cut(4).expect("enough");
        assert_eq!((data.len(), data.test_len()), (22, 3));
        assert_eq!(data.bits_per_character(std::f64::consts::LN_2), 1.0);
        let told = text(30).cut(14).map_err(|e| e.to_string());
        let expected = "text for two sequences of 14 tokens and more, and a tenth held out";
        assert_eq!(told, Err(format!("letters: expected {expected}, found 27 tokens and 3 held out")));
    }

    #[test]
    fn each_token_predicts_the_next() {
        let mut data = text(105);
        data.cut(4).expect("enough");
        let got = data.batch(&data.train, &[1, 0], None);
        assert_eq!((got.tokens, got.next), (vec![4, 5, 6, 7, 0, 1, 2, 3], vec![5, 6, 7, 8, 1, 2, 3, 4]));
        // 94 is 16 after 78, three times the alphabet: 16 to 26 are held out, ten pairs of neighbours.
        let got = data.batch(&data.test, &[2, 3], None);
        assert_eq!(got.tokens, [24, 25, 0, 0, 0, 0, 0, 0]);
        assert_eq!(got.next, [25, 0, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX]);
    }

    /// Every epoch cuts elsewhere, takes each token at most once, and never leaves the text.
    #[test]
    fn epochs_cut_where_they_are_drawn() {
        let mut data = text(105);
        data.cut(4).expect("enough");
        let all: Vec<u32> = (0..data.len() as u32).collect();
        let firsts: std::collections::BTreeSet<u32> = (0..40)
            .map(|epoch| {
                let got = data.batch(&data.train, &all, Some((7, epoch)));
                assert!(got.next.iter().all(|&next| next < 26));
                assert!(got.tokens.windows(2).all(|pair| (pair[0] + 1) % 26 == pair[1]));
                got.tokens[0]
            })
            .collect();
        assert_eq!(firsts.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}

//! Text as numbers and back: by bytes, by characters, or by the tokenizer of a file.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{data::files::there, error::*};

/// What tokens stand for; enough to make a [`Tokenizer`] of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vocabulary {
    /// The 256 bytes of UTF-8.
    Bytes,
    /// These characters, whose tokens are their places in this order.
    Characters(String),
    /// What a file `tokenizer.json` of Hugging Face's library says.
    File(PathBuf),
}

impl Vocabulary {
    /// The characters of a text, sorted.
    pub fn of(text: &str) -> Self {
        let mut all: Vec<char> = text.chars().collect();
        all.sort_unstable();
        all.dedup();
        Vocabulary::Characters(all.into_iter().collect())
    }
}

/// Text to tokens and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    /// The characters by token.
    characters: Vec<char>,
    /// The tokens by character: the first one of a character that is there twice.
    tokens: HashMap<char, u32>,
    file: Option<Arc<tokenizers::Tokenizer>>,
}

impl Tokenizer {
    /// The tokenizer of a vocabulary.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] or [`Error::Format`] for a file that is not there or holds something else.
    pub fn new(vocabulary: Vocabulary) -> Result<Self> {
        let (mut characters, mut file) = (Vec::new(), None);
        match &vocabulary {
            Vocabulary::Bytes => {}
            Vocabulary::Characters(all) => characters.extend(all.chars()),
            Vocabulary::File(path) => file = Some(Arc::new(read(path)?)),
        }
        let mut tokens = HashMap::new();
        for (&c, token) in characters.iter().zip(0..) {
            tokens.entry(c).or_insert(token);
        }
        Ok(Tokenizer { vocabulary, characters, tokens, file })
    }

    /// What its tokens stand for.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        match (&self.vocabulary, &self.file) {
            (_, Some(file)) => file.get_vocab_size(true),
            (Vocabulary::Bytes, _) => 256,
            _ => self.characters.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of a text; `alone` with those that the file's model wants around a text of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a character that has no token.
    pub fn encode(&self, text: &str, alone: bool) -> Result<Vec<u32>> {
        if let Some(file) = &self.file {
            let tokens = file.encode_fast(text, alone).map_err(|e| refuse("text that the tokenizer takes", e))?;
            return Ok(tokens.get_ids().to_vec());
        }
        if self.vocabulary == Vocabulary::Bytes {
            return Ok(text.bytes().map(u32::from).collect());
        }
        let none = |c| refuse(&format!("characters among the {} of the vocabulary", self.len()), format!("{c:?}"));
        text.chars().map(|c| self.tokens.get(&c).copied().ok_or_else(|| none(c))).collect()
    }

    /// The text of tokens. What is no whole character is `U+FFFD`; tokens that there are not are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for tokens that the file's model cannot decode.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        if let Some(file) = &self.file {
            return file.decode(tokens, true).map_err(|e| refuse("tokens of the tokenizer", e));
        }
        if self.vocabulary == Vocabulary::Bytes {
            let bytes: Vec<u8> = tokens.iter().filter_map(|&t| u8::try_from(t).ok()).collect();
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(tokens.iter().filter_map(|&t| self.characters.get(t as usize)).collect())
    }
}

fn refuse(expected: &str, found: impl ToString) -> Error {
    Error::argument("text", expected, found)
}

fn read(path: &Path) -> Result<tokenizers::Tokenizer> {
    there("a tokenizer", path)?;
    tokenizers::Tokenizer::from_file(path).map_err(|e| Error::format(path, "a tokenizer.json", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let text = "naïve, 2 × 2 = 4\n";
        for vocabulary in [Vocabulary::Bytes, Vocabulary::of(text)] {
            let tokenizer = Tokenizer::new(vocabulary).expect("no file");
            let tokens = tokenizer.encode(text, true).expect("its own text");
            assert!(tokens.iter().all(|&t| (t as usize) < tokenizer.len()));
            assert_eq!(tokenizer.decode(&tokens).expect("its own tokens"), text);
        }
        assert_eq!(Tokenizer::new(Vocabulary::of("abca")).map(|t| t.len()).ok(), Some(3));
        let part = Tokenizer::new(Vocabulary::Bytes).and_then(|t| t.decode(&[0xc3, 0x41, 999]));
        assert_eq!(part.ok().as_deref(), Some("\u{fffd}A"));
    }

    #[test]
    fn characters_may_be_in_any_order() {
        let tokenizer = Tokenizer::new(Vocabulary::Characters("cabé".into())).expect("no file");
        assert_eq!(tokenizer.encode("abcé", false).expect("its characters"), [1, 2, 0, 3]);
        assert_eq!(tokenizer.decode(&[1, 2, 0, 3]).expect("its tokens"), "abcé");
        let twice = Tokenizer::new(Vocabulary::Characters("bab".into())).expect("no file");
        assert_eq!((twice.encode("ab", false).expect("its characters"), twice.len()), (vec![1, 0], 3));
    }

    #[test]
    fn characters_without_a_token_are_told() {
        let told = Tokenizer::new(Vocabulary::of("ab")).and_then(|t| t.encode("bé", false)).map_err(|e| e.to_string());
        assert_eq!(told, Err("text: expected characters among the 2 of the vocabulary, found 'é'".into()));
        let told = Tokenizer::new(Vocabulary::File("nowhere.json".into())).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(told, Err("expected a tokenizer, found nothing at nowhere.json".into()));
    }

    /// A file of the least kind: whole words.
    #[test]
    fn files_are_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("tokenizer.json");
        let words = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": {"to": 0, "be": 1, "or": 2, "?": 3}, "unk_token": "?"}}"#;
        std::fs::write(&path, words).expect("a file");
        let tokenizer = Tokenizer::new(Vocabulary::File(path.clone())).expect("a tokenizer");
        assert_eq!(tokenizer.encode("to be or not", false).expect("words"), [0, 1, 2, 3]);
        assert_eq!((tokenizer.len(), tokenizer.decode(&[1, 2]).expect("words").as_str()), (4, "be or"));
        std::fs::write(&path, "{}").expect("a file");
        let told = Tokenizer::new(Vocabulary::File(path)).expect_err("no tokenizer").to_string();
        assert!(told.contains("tokenizer.json: expected a tokenizer.json, found "), "{told}");
    }
}

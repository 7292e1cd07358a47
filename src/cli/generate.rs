//! `hillshade generate`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use hillshade::{
    engine::block_on,
    models::{
        Error, Generator, Network, Sampling,
        data::{Tokenizer, Vocabulary},
        import, pretrained,
    },
};

use super::{Result, executor, folder, say, weights};

#[derive(clap::Args)]
pub struct Options {
    /// Folder of a run, folder of Hugging Face's library, or a safetensors file of weights; a file needs --model and
    /// --tokenizer.
    #[arg(value_name = "RUN|FOLDER|WEIGHTS")]
    subject: PathBuf,
    #[command(flatten)]
    weights: weights::Choice,
    /// Network of the weights, as in `hillshade train`.
    #[arg(long)]
    model: Option<String>,
    /// Tokens of the weights: bytes, or a file tokenizer.json.
    #[arg(long, value_name = "bytes|FILE")]
    tokenizer: Option<String>,
    /// Text to continue.
    #[arg(long, default_value = "\n")]
    prompt: String,
    /// Tokens to add.
    #[arg(long, default_value_t = 200)]
    tokens: usize,
    /// Sampling temperature, by which logits are divided; 0 takes the most likely token.
    #[arg(long, default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f64,
    /// Sample from the K most likely tokens.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Nucleus sampling: from the most likely tokens that have the probability P together.
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f64,
    /// Seed of the sampling.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Recompute the whole text for every token, without a key-value cache.
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    executor: executor::Choice,
}

fn argument(what: &str, expected: &str, found: impl ToString) -> super::Error {
    Error::Argument { what: what.into(), expected: expected.into(), found: found.to_string() }.into()
}

/// A network, where its weights are, what its tokens stand for, and which of them end a text.
struct Subject {
    network: Network,
    classes: usize,
    weights: PathBuf,
    tokenizer: Tokenizer,
    ends: Vec<u32>,
}

impl Options {
    fn sampling(&self) -> Result<Sampling> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(argument("temperature", "0 or more", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(argument("top-p", "a number above 0, up to 1", self.top_p));
        }
        if self.top_k == Some(0) {
            return Err(argument("top-k", "1 or more", 0));
        }
        Ok(Sampling { temperature: self.temperature, top_k: self.top_k, top_p: self.top_p, seed: self.seed })
    }

    fn subject(&self) -> Result<Subject> {
        let path = &self.subject;
        match () {
            _ if path.join("checkpoint.safetensors").exists() => self.run(path),
            _ if path.join("config.json").exists() => self.folder(path),
            _ if path.is_file() => self.file(path),
            _ => {
                Err(Error::Missing { what: "a run, a network's folder or weights".into(), looked: vec![path.clone()] }
                    .into())
            }
        }
    }

    fn run(&self, path: &Path) -> Result<Subject> {
        self.none_beside("a run")?;
        let config = folder::load(path, None)?.config;
        let network = Network::parse(&config.model)?;
        let vocabulary = config.tokenizer.ok_or_else(|| argument("run", "one that learned a text", &config.data))?;
        let tokenizer = Tokenizer::new(vocabulary)?;
        let weights = folder::checkpoint_of(path)?;
        Ok(Subject { network, classes: tokenizer.len(), weights, tokenizer, ends: Vec::new() })
    }

    fn folder(&self, path: &Path) -> Result<Subject> {
        self.none_beside("a network's folder")?;
        let found = pretrained(path)?;
        let looked = vec![path.join("tokenizer.json")];
        let file = found.tokenizer.ok_or(Error::Missing { what: "a tokenizer".into(), looked })?;
        let tokenizer = Tokenizer::new(Vocabulary::File(file))?;
        let network = Network::parse(&found.model)?;
        Ok(Subject { network, classes: found.classes, weights: path.into(), tokenizer, ends: found.ends })
    }

    fn file(&self, path: &Path) -> Result<Subject> {
        let known = |option: &Option<String>, name: &str| {
            option.clone().ok_or_else(|| argument(name, "a name: the weights do not say", "none"))
        };
        let (model, tokenizer) = (known(&self.model, "model")?, known(&self.tokenizer, "tokenizer")?);
        let vocabulary = if tokenizer == "bytes" { Vocabulary::Bytes } else { Vocabulary::File(tokenizer.into()) };
        let (network, tokenizer) = (Network::parse(&model)?, Tokenizer::new(vocabulary)?);
        Ok(Subject { network, classes: tokenizer.len(), weights: path.into(), tokenizer, ends: Vec::new() })
    }

    fn none_beside(&self, what: &str) -> Result<()> {
        for (option, name) in [(&self.model, "model"), (&self.tokenizer, "tokenizer")] {
            if let Some(given) = option {
                return Err(argument(name, &format!("nothing beside {what}, which has its own"), given));
            }
        }
        Ok(())
    }
}

pub fn run(options: &Options) -> Result<()> {
    let (sampling, subject) = (options.sampling()?, options.subject()?);
    let mut session = options.executor.open()?;
    let params = Generator::params(&subject.network, subject.classes)?;
    import(&subject.weights, &params, &mut session, options.weights.wanted())?;
    let mut generator = Generator::new(subject.network, subject.classes, session, !options.no_cache)?;
    let prompt = subject.tokenizer.encode(&options.prompt, true)?;
    generator.push(&prompt)?;
    let mut told = Told { tokenizer: &subject.tokenizer, from: 0, shown: String::new() };
    told.show(generator.tokens(), false)?;
    let began = Instant::now();
    let mut first = began.elapsed();
    let mut made = 0;
    while made < options.tokens {
        let logits = block_on(generator.logits())?;
        let token = sampling.choose(&logits, generator.tokens().len() as u64);
        if subject.ends.contains(&token) {
            break;
        }
        generator.push(&[token])?;
        made += 1;
        told.show(generator.tokens(), made == options.tokens)?;
        if made == 1 {
            first = began.elapsed();
        }
    }
    told.show(generator.tokens(), true)?;
    write("\n")?;
    let after = (began.elapsed() - first).as_secs_f64().max(1e-9);
    say(format_args!(
        "{} tokens after {} in {:.2} s on {}: the first in {:.2} s, then {:.1} tokens/s",
        made,
        prompt.len(),
        began.elapsed().as_secs_f64(),
        generator.session().executor(),
        first.as_secs_f64(),
        made.saturating_sub(1) as f64 / after,
    ));
    Ok(())
}

/// A text as it is shown while it grows.
struct Told<'a> {
    tokenizer: &'a Tokenizer,
    /// The token from which on what is shown is decoded.
    from: usize,
    /// What is shown of it.
    shown: String,
}

/// Tokens after which decoding begins anew at a place, so that a long text is not decoded again and again.
const STRETCH: usize = 64;

impl Told<'_> {
    /// Shows what is new. The end of a character that is not whole yet waits for the rest, unless there is none.
    fn show(&mut self, tokens: &[u32], over: bool) -> Result<()> {
        let text = self.tokenizer.decode(&tokens[self.from..])?;
        let whole = if over { text.as_str() } else { text.trim_end_matches('\u{fffd}') };
        if let Some(new) = whole.strip_prefix(self.shown.as_str()) {
            write(new)?;
            self.shown = whole.into();
        }
        if whole == text && tokens.len() - self.from > STRETCH {
            // Decoding from a token on leaves out what it is written with after others, such as a space.
            self.from = tokens.len() - 8;
            self.shown = self.tokenizer.decode(&tokens[self.from..])?;
        }
        Ok(())
    }
}

/// Writes a piece of text at once.
fn write(text: &str) -> Result<()> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Io { what: "write", path: "standard output".into(), source }.into())
        }
        _ => Ok(()),
    }
}

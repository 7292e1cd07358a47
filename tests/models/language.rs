//! Text: how it is learned, how runs go on, how it is continued, and weights of Hugging Face's library.

use std::{fs, path::Path};

use hillshade::{
    engine::{Graph, Session, block_on},
    models::{
        Builder, Config, Error, Generator, Mode, Network, Optimizer, Param, Part, Sampling, Schedule, ScheduleShape,
        Task, Trainer,
        data::{Text, Tokenizer, Vocabulary},
        export, import, pretrained,
    },
};

use crate::common::{assert_close, gpu, noise};

/// A text with a pattern that is soon found.
fn text() -> Text {
    let words = ["the sun ", "a star ", "and night ", "or day "];
    let text: String = (0..800).map(|i| words[(i * i + i / 3) % 4]).collect();
    Text::new("words", &text, Tokenizer::new(Vocabulary::of(&text)).expect("no file")).expect("its own text")
}

const SMALL: &str = "gpt2:layers=2,heads=2,width=16,context=12";

fn trainer(session: Session, model: &str, batch: usize) -> Trainer {
    let schedule = Schedule { rate: 3e-3, shape: ScheduleShape::Constant, warmup: 4 };
    let config = Config {
        model: model.into(),
        data: "text:words".into(),
        epochs: 3,
        batch,
        optimizer: Optimizer::AdamW { decay: 0.1 },
        schedule,
        seed: 5,
        ..Config::default()
    };
    Trainer::new(config, text(), session).expect("a fitting configuration")
}

/// Every state after some steps.
fn after(mut t: Trainer, steps: usize) -> Vec<(String, Vec<f32>)> {
    for _ in 0..steps {
        if t.epoch_is_over() {
            t.next_epoch().expect("the session works");
        }
        t.step().expect("the step runs");
    }
    let states = block_on(t.checkpoint()).expect("finite states").states;
    states.into_iter().map(|(name, (_, data))| (name, data)).collect()
}

const MODELS: [&str; 3] = [
    "gpt2:layers=1,heads=2,width=16,context=12,dropout=0.2",
    "llama:layers=1,heads=4,kv-heads=2,width=16,context=12",
    "lstm:layers=2,width=12,context=10,dropout=0.2",
];

#[test]
fn a_step_is_the_same_on_all_executors_and_again() {
    for model in MODELS {
        let truth = after(trainer(Session::reference(), model, 8), 1);
        for session in [Session::device(gpu(false)), Session::host()] {
            let executor = session.executor();
            for ((name, got), (_, want)) in after(trainer(session, model, 8), 1).iter().zip(&truth) {
                let [got, want] = [got, want].map(|v| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
                // A first step of Adam has the size of the rate wherever a gradient is not 0, of whatever size.
                let bound = if name.contains('/') { 2e-4 } else { 2e-2 };
                assert_close(&format!("{model} on {executor}: {name}"), &got, &want, bound);
            }
        }
        let again = || after(trainer(Session::host(), model, 8), 5);
        assert_eq!(again(), again(), "{model}");
    }
}

/// The mean loss of all held-out tokens, each once, by hand and by the trainer; and training lowers it.
#[test]
fn held_out_tokens_are_scored_once_each() {
    let mut t = trainer(Session::host(), SMALL, 16);
    let before = block_on(t.test()).expect("a score");
    let Task::Text(text) = t.task().clone() else { panic!("a text") };
    assert_eq!((text.context, t.task().len(Part::Test)), (12, (text.test.len() - 1).div_ceil(12)));
    let classes = text.tokenizer.len();
    assert!((before.loss - (classes as f64).ln()).abs() < 0.1, "{before:?} of {classes}");
    let bits = t.task().bits_per_character(before.loss).expect("text");
    assert!((bits - before.loss / std::f64::consts::LN_2).abs() < 1e-9, "a token is a character: {bits}");
    while !t.is_done() {
        while !t.epoch_is_over() {
            t.step().expect("the step runs");
        }
        t.next_epoch().expect("the session works");
    }
    let score = block_on(t.test()).expect("a score");
    assert!(score.loss < 0.7 * before.loss && score.accuracy > 0.4, "{score:?} after {before:?}");

    // The same, window by window, by a generator that is fed the window so far.
    let network = t.network().clone();
    let params = Generator::params(&network, classes).expect("tokens");
    let (mut total, mut scored) = (0.0, 0);
    for window in text.test.windows(13).step_by(12).take(4) {
        let mut own = Session::host();
        for p in &params {
            let data = block_on(t.session().get(&p.name)).expect("a parameter");
            own.set(&p.name, &p.shape, &data).expect("the sizes match");
        }
        let mut generator = Generator::new(network.clone(), classes, own, true).expect("tokens");
        for pair in window.windows(2) {
            generator.push(&pair[..1]).expect("a token");
            let logits = block_on(generator.logits()).expect("logits");
            let most = logits.iter().fold(f32::MIN, |m, &z| m.max(z));
            let sum: f64 = logits.iter().map(|&z| f64::from(z - most).exp()).sum();
            total += sum.ln() + f64::from(most - logits[pair[1] as usize]);
            scored += 1;
        }
    }
    let by_hand = total / f64::from(scored);
    assert!((by_hand - score.loss).abs() < 0.5, "{by_hand} on {scored} tokens, {} on all", score.loss);
}

/// Going on from a checkpoint is bit for bit not having stopped, also within an epoch.
#[test]
fn runs_go_on_bit_for_bit() {
    for model in MODELS {
        let mut t = trainer(Session::host(), model, 64);
        let steps = t.steps_per_epoch() as usize + 2;
        assert!(steps > 4);
        for _ in 0..steps {
            if t.epoch_is_over() {
                t.next_epoch().expect("the session works");
            }
            t.step().expect("the step runs");
        }
        let half = block_on(t.checkpoint()).expect("finite states");
        let went_on = Trainer::resume(&half, Path::new("nowhere"), text(), Session::host()).expect("the same network");
        assert_eq!(after(went_on, 3), after(t, 3), "{model}");
    }
}

#[test]
fn networks_and_data_must_go_together() {
    let told = |model: &str, task: Task| {
        let config = Config { model: model.into(), batch: 4, ..Config::default() };
        Trainer::new(config, task, Session::host()).map(|_| ()).map_err(|e| e.to_string()).expect_err("no fit")
    };
    assert!(told("mlp", text().into()).starts_with("model: expected a network that takes tokens, found mlp:"));
    let digits = Task::open("digits", None, None).expect("built in");
    assert!(told(SMALL, digits).starts_with("model: expected a network that takes images, found gpt2:"));
    let long = told("gpt2:context=5000", text().into());
    assert!(long.starts_with("words: expected text for two sequences of 5000 tokens and more"), "{long}");
    assert!(
        told("gpt2:heads=5,context=12", text().into()).contains("heads: expected a number that divides the width, 768")
    );
    let few = told("gpt2:vocab=3,context=12", text().into());
    assert_eq!(few, "vocab: expected 14 or more, the tokens of the data, found 3");
    let odd = told("llama:heads=5,width=25,context=12", text().into());
    assert_eq!(odd, "width of a head: expected an even number, for rotary positions, found 5");
    let kv = told("llama:heads=4,kv-heads=3,width=16,context=12", text().into());
    assert_eq!(kv, "kv-heads: expected a number that divides the heads, 4, found 3");
}

const DRAWN: Sampling = Sampling { temperature: 0.7, top_k: None, top_p: 0.9, seed: 1 };

/// A session with a network's parameters as they begin.
fn begun(network: &Network, classes: usize, mut session: Session) -> Session {
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Eval);
    network.build(&mut b, g.input_u32("tokens", &[1, 1]), classes).expect("fitting");
    // Larger weights than at the beginning of training, so that logits differ.
    for p in &b.params {
        let count = p.shape.iter().product();
        let data: Vec<f32> = noise(count, p.name.len() as u32 + count as u32).iter().map(|&v| 0.4 * v as f32).collect();
        session.set(&p.name, &p.shape, &data).expect("the sizes match");
    }
    session
}

fn continued(network: &Network, session: Session, cached: bool, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut generator = Generator::new(network.clone(), 31, begun(network, 31, session), cached).expect("tokens");
    generator.push(prompt).expect("tokens");
    for place in 0..count {
        let logits = block_on(generator.logits()).expect("logits");
        generator.push(&[DRAWN.choose(&logits, place as u64)]).expect("a token");
    }
    generator.tokens().to_vec()
}

/// Far beyond the context, from prompts shorter and longer than it, on both executors.
#[test]
fn texts_are_the_same_with_and_without_a_cache() {
    for model in MODELS {
        let network = Network::parse(model).expect("known");
        for prompt in [vec![7, 8, 9, 10, 7], (0..30).collect()] {
            let truth = continued(&network, Session::reference(), true, &prompt, 40);
            assert_eq!(truth.len(), prompt.len() + 40);
            assert!(
                truth[prompt.len()..].iter().collect::<std::collections::BTreeSet<_>>().len() > 9,
                "{model}: {truth:?}"
            );
            for cached in [true, false] {
                assert_eq!(continued(&network, Session::host(), cached, &prompt, 40), truth, "{model} {cached}");
                assert_eq!(
                    continued(&network, Session::device(gpu(false)), cached, &prompt, 40),
                    truth,
                    "{model} {cached}"
                );
            }
        }
    }
}

#[test]
fn tokens_that_there_are_not_are_refused() {
    let network = Network::parse(SMALL).expect("known");
    let mut generator =
        Generator::new(network.clone(), 31, begun(&network, 31, Session::host()), true).expect("tokens");
    let told = |result: Result<Vec<f32>, Error>| result.expect_err("nothing to go on").to_string();
    let none = "text: expected a token or more to continue, found none";
    assert_eq!(told(block_on(generator.logits())), none);
    let told = generator.push(&[31]).expect_err("no such token").to_string();
    assert_eq!(told, "text: expected tokens below 31, the network's vocabulary, found 31");
    assert!(Generator::params(&Network::parse("cnn").expect("known"), 10).is_err());
}

/// Weights written with Hugging Face's names and layouts come back, from one file and from several.
#[test]
fn folders_of_the_library_are_read_and_written() {
    let configs = [
        r#"{"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 12, "vocab_size": 31,
            "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "n_inner": null, "eos_token_id": 30}"#,
        r#"{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "head_dim": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 12, "vocab_size": 31,
            "rms_norm_eps": 1e-5, "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"}}"#,
    ];
    let specs = [
        "gpt2:layers=1,heads=2,width=16,context=12,vocab=31,eps=0.00001",
        "llama:layers=1,heads=4,kv-heads=2,width=16,hidden=24,context=12,vocab=31,theta=100,eps=0.00001,tied=no",
    ];
    // Angles are stretched as in Llama 3.1, and as before version 5 of the library.
    let rope = r#""rope_parameters": {"rope_theta": 100.0, "rope_type": "default"}"#;
    let bands = r#""low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192"#;
    let llama3 =
        format!(r#""rope_parameters": {{"rope_theta": 100.0, "rope_type": "llama3", "factor": 8.0, {bands}}}"#);
    let linear = r#""rope_theta": 100.0, "rope_scaling": {"type": "linear", "factor": 2.5}"#;
    let stretched = [llama3.as_str(), linear].map(|new| configs[1].replace(rope, new));
    let kinds =
        ["stretch=8,original=8192,low=1,high=4,", "stretch=2.5,"].map(|s| specs[1].replace("eps", &format!("{s}eps")));
    let configs = configs.map(String::from).into_iter().chain(stretched);
    let specs = specs.map(String::from).into_iter().chain(kinds);
    for (config, spec) in configs.zip(specs) {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str| dir.path().join(name);
        fs::write(file("config.json"), config).expect("a file");
        let found = pretrained(dir.path()).expect("a network");
        assert_eq!((&found.model, found.classes, &found.tokenizer), (&spec, 31, &None));
        let network = Network::parse(&found.model).expect("a specification");
        let params = Generator::params(&network, 31).expect("tokens");
        let session = begun(&network, 31, Session::host());
        let values = |session: &Session| {
            let get = |p: &Param| block_on(session.get(&p.name)).expect("a parameter");
            params.iter().map(get).collect::<Vec<_>>()
        };
        let states = |part: &[Param]| {
            let state = |p: &Param| {
                let data = block_on(session.get(&p.name)).expect("a parameter");
                (p.name.clone(), (p.shape.clone(), data))
            };
            part.iter().map(state).collect()
        };
        let told =
            |session: &mut Session| import(dir.path(), &params, session, None).expect_err("weights amiss").to_string();
        let mut back = Session::host();
        assert!(told(&mut back).contains("expected weights, found nothing at"));
        export(&file("model.safetensors"), &params, &states(&params), "").expect("written");
        import(dir.path(), &params, &mut back, None).expect("the same network");
        assert_eq!(values(&back), values(&session));

        // In two files, by an index.
        let (first, second) = params.split_at(params.len() / 2);
        for (name, part) in [("a.safetensors", first), ("b.safetensors", second)] {
            export(&file(name), part, &states(part), "").expect("written");
        }
        fs::remove_file(file("model.safetensors")).expect("a file");
        let entry = |p: &Param, name: &str| format!("\"{}\": \"{name}\"", p.name);
        let index = |first: &[Param], second: &[Param]| {
            let all =
                first.iter().map(|p| entry(p, "a.safetensors")).chain(second.iter().map(|p| entry(p, "b.safetensors")));
            let map = all.collect::<Vec<_>>().join(", ");
            fs::write(file("model.safetensors.index.json"), format!("{{\"weight_map\": {{{map}}}}}")).expect("a file");
        };
        index(first, second);
        let mut back = Session::host();
        import(dir.path(), &params, &mut back, None).expect("the same network");
        assert_eq!(values(&back), values(&session));
        index(first, &[]);
        let missing = told(&mut back);
        assert!(second.iter().all(|p| missing.contains(&p.name)), "{missing}");
        index(&[first, first].concat(), second);
        let fewer: Vec<Param> = params[1..].to_vec();
        let extra = import(dir.path(), &fewer, &mut back, None).expect_err("one too many").to_string();
        assert!(extra.contains("with others too: ") && extra.contains(&params[0].name), "{extra}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("config.json"), r#"{"model_type": "bert"}"#).expect("a file");
    let told = || pretrained(dir.path()).expect_err("unknown").to_string();
    assert!(told().contains("as \"model_type\", found \"bert\""));
    for (scaling, what) in [
        (r#"{"rope_type": "yarn", "factor": 2.0}"#, "\"linear\" or \"llama3\" as \"rope_type\", found \"yarn\""),
        (r#"{"type": "linear"}"#, "expected a number as \"factor\" of \"rope_scaling\", found null"),
    ] {
        let sizes = r#""hidden_size": 16, "num_attention_heads": 4, "vocab_size": 31"#;
        let config = format!(r#"{{"model_type": "llama", {sizes}, "rope_scaling": {scaling}}}"#);
        fs::write(dir.path().join("config.json"), config).expect("a file");
        assert!(told().contains(what), "{}", told());
    }
}

//! Language models as their users meet them: learned from a file, gone on with, scored, measured, asked to write.

use serde_json::Value;

use crate::program::{Done, Home, checkpoint, number};

const OPTIONS: &str = "--data text:verse.txt --model gpt2:layers=1,heads=2,width=16,context=16 --batch 8 --optimizer adamw \
                       --lr 0.01 --schedule constant";

fn verse(home: &Home) {
    let lines = ["the sea, the sea – ", "a ship on the sea\n", "the wind and the ship "];
    let text: String = (0..120).map(|i| lines[(i * i + i / 4) % 3]).collect();
    home.write("verse.txt", text.as_bytes());
}

#[test]
fn a_text_is_learned_scored_and_continued() {
    let home = Home::new();
    verse(&home);
    let line = home.run(&format!("train --epochs 4 --out run --json {OPTIONS}")).ok().json();
    assert_eq!((&line["data"], &line["epochs"]), (&"text:verse.txt".into(), &4.into()));
    let metrics = home.metrics("run");
    let losses: Vec<f64> = metrics.iter().map(|m| number(m, "test_loss")).collect();
    assert!(losses.len() == 4 && losses[3] < 0.8 * losses[0] && losses[0] < 3.5, "{losses:?}");
    let bits = number(&metrics[3], "bits_per_character");
    assert!((bits - losses[3] / std::f64::consts::LN_2).abs() < 1e-9, "{bits}");
    let config: Value = serde_json::from_slice(&home.read("run/config.json")).expect("JSON");
    assert_eq!(config["tokenizer"]["characters"], "\n ,adehinopstw–");

    let eval = home.run("eval run --json").ok().json();
    assert_eq!((&eval["test_loss"], &eval["bits_per_character"]), (&metrics[3]["test_loss"], &bits.into()));
    assert_eq!(eval["test_tokens"], 236);
    let text = home.run("eval run").ok().out;
    assert!(text.contains(&format!("{bits:.4} bits per character")) && text.contains("of 236 tokens"), "{text}");

    // Gone on with, from a text that has moved.
    home.run(&format!("train --epochs 2 --out parts {OPTIONS}")).ok();
    std::fs::rename(home.path("verse.txt"), home.path("moved.txt")).expect("a file");
    home.run("train --resume parts --epochs 4").refused(2, &["expected a text, found nothing at verse.txt"]);
    home.run("train --resume parts --epochs 4 --data-dir moved.txt").ok();
    assert_eq!(home.metrics("run"), home.metrics("parts"));

    let ask = |options: &str| {
        let args = ["generate", "run", "--prompt", "the sea"].into_iter().chain(options.split_whitespace());
        let output = home.command("").args(args).output().expect("the program starts");
        Done::new(options, output).ok()
    };
    for options in ["--temperature 0 --tokens 40", "--temperature 1 --top-k 5 --top-p 0.9 --tokens 40"] {
        let (kept, anew) = (ask(options), ask(&format!("{options} --no-cache")));
        assert!(kept.out.starts_with("the sea") && kept.out.chars().count() == 7 + 40 + 1, "{}", kept.out);
        assert_eq!(kept.out, anew.out);
        assert!(kept.err.contains("40 tokens after 7 in ") && kept.err.contains(" tokens/s"), "{}", kept.err);
    }
    assert_ne!(ask("--tokens 40").out, ask("--tokens 40 --seed 1").out);
}

/// What is continued is what is tested: the averages where there are any.
#[test]
fn averaged_weights_are_continued() {
    let home = Home::new();
    verse(&home);
    home.run(&format!("train --epochs 2 --average 0.99 --out run {OPTIONS} --tokenizer bytes")).ok();
    let model = "--model gpt2:layers=1,heads=2,width=16,context=16 --tokenizer bytes";
    let ask = |what: &str| home.run(&format!("generate {what} --tokens 60 --temperature 1")).ok().out;
    let mut texts = Vec::new();
    for weights in ["average", "last"] {
        home.run(&format!("export run {weights}.safetensors --weights {weights}")).ok();
        texts.push(ask(&format!("run --weights {weights}")));
        assert_eq!(ask(&format!("{weights}.safetensors {model}")), texts[texts.len() - 1]);
    }
    assert_ne!(texts[0], texts[1]);
    assert_eq!(ask("run"), texts[0]);
    home.run(&format!("train --epochs 1 --out plain {OPTIONS}")).ok();
    for args in ["generate plain", "export plain file", "spectrum plain --samples 8"] {
        let told = ["weights: expected last, for the run keeps no averages", "found average"];
        home.run(&format!("{args} --weights average")).refused(2, &told);
    }
    let told = ["weights: expected nothing beside weights that are no run's", "found last.safetensors"];
    home.run(&format!("generate last.safetensors {model} --weights last")).refused(2, &told);
}

/// A folder as Hugging Face's library writes it, and its weights alone.
#[test]
fn weights_of_others_are_continued() {
    let home = Home::new();
    verse(&home);
    home.run(&format!("train --epochs 1 --out run {OPTIONS} --tokenizer bytes")).ok();
    let model = "--model gpt2:layers=1,heads=2,width=16,context=16 --tokenizer";
    let run = home.run("generate run --tokens 20").ok().out;
    let alone = home.run(&format!("generate {} --tokens 20 {model} bytes", checkpoint("run"))).ok().out;
    assert_eq!(run, alone);
    home.run("export run alone.safetensors").ok();
    home.write("hf/model.safetensors", &home.read("alone.safetensors"));
    home.write(
        "hf/config.json",
        br#"{"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": 256}"#,
    );
    home.run("generate hf").refused(2, &["expected a tokenizer, found nothing at hf/tokenizer.json"]);
    let words: Vec<String> = (0..256).map(|i| format!("\"w{i}\": {i}")).collect();
    let tokenizer = format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {{"type": "Whitespace"}}, "post_processor": null, "decoder": null,
        "model": {{"type": "WordLevel", "vocab": {{{}}}, "unk_token": "w0"}}}}"#,
        words.join(", ")
    );
    home.write("hf/tokenizer.json", tokenizer.as_bytes());
    home.run("generate hf --prompt w7 --tokens 5").ok();
    home.run(&format!("generate {} --prompt w7 --tokens 5 {model} hf/tokenizer.json", checkpoint("run"))).ok();
}

#[test]
fn what_does_not_go_together_is_refused() {
    let home = Home::new();
    verse(&home);
    home.write("latin1.txt", b"caf\xe9 and more text than that");
    home.run("train --out images --epochs 1 --model mlp:widths=8").ok();
    for (args, words) in [
        ("train --out run --data text:nowhere", ["expected a text, found nothing at nowhere", ""]),
        ("train --out run --data text:latin1.txt --model lstm", ["latin1.txt: expected UTF-8, found", "index 3"]),
        ("train --out run --data text:verse.txt", ["model: expected a network that takes tokens", "found cnn"]),
        ("train --out run --model gpt2", ["model: expected a network that takes images", "found gpt2"]),
        ("train --out run --tokenizer bytes", ["tokenizer: expected text to go with it", "found digits"]),
        ("train --out run --data text:verse.txt --model lstm --tokenizer x", ["expected a tokenizer", "at x"]),
        ("train --out run --data text:verse.txt --model gpt2", ["expected text for two sequences of 1024", ""]),
        ("generate images", ["run: expected one that learned a text", "found digits"]),
        ("generate nowhere", ["expected a run, a network's folder or weights", "at nowhere"]),
        ("generate images/checkpoint.safetensors", ["model: expected a name", ""]),
        ("generate images --model lstm", ["model: expected nothing beside a run", "found lstm"]),
        ("generate images --temperature -1", ["temperature: expected 0 or more", "found -1"]),
        ("generate images --top-p 0", ["top-p: expected a number above 0, up to 1", "found 0"]),
        ("generate images --top-k 0", ["top-k: expected 1 or more", "found 0"]),
    ] {
        home.run(args).refused(2, &words);
    }
}

/// The lab measures a sequence as a sample.
#[test]
fn curvature_of_a_language_model() {
    let home = Home::new();
    verse(&home);
    home.run(&format!("train --epochs 1 --out run {OPTIONS} --track sharpness=20 --track-samples 8")).ok();
    assert!(home.path("run/track.svg").exists());
    let line = home.run("spectrum run --samples 8 --json").ok().json();
    assert!(number(&line, "gradient_norm") > 0.0 && number(&line, "loss") < 3.5, "{line}");
    assert!(!line["eigenvalues"].is_null() && !line["density"].is_null(), "{line}");
    for matrix in ["ggn", "fisher", "empirical", "moment"] {
        home.run(&format!("spectrum run --samples 8 --probes 1 --steps 8 --top 1 --matrix {matrix}")).ok();
    }
}

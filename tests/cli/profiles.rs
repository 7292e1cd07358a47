//! `hillshade profile`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::program::Home;

/// The shares of the roof, in percent.
fn shares(text: &str) -> Vec<f64> {
    let table = text.lines().skip_while(|l| !l.trim_start().starts_with("calls")).skip(1);
    table.filter_map(|line| line.split_whitespace().nth(5)?.strip_suffix('%')?.parse().ok()).collect()
}

/// The rows of the table: calls, milliseconds, name.
fn rows(text: &str) -> Vec<(u64, f64, String)> {
    let table = text.lines().skip_while(|l| !l.trim_start().starts_with("calls")).skip(1);
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.first()?.parse().ok()?, words.get(1)?.parse().ok()?, words.last()?.to_string()))
    };
    table.filter_map(row).collect()
}

#[test]
fn a_step_and_a_product_are_timed_by_kernel() {
    let home = Home::new();
    let text = home.run("profile cnn --size 8x8x1 --batch 5 --rounds 1 --rows 0 --trace t.json").ok().out;
    assert!(text.contains("cnn, batch 5, on host") && text.contains("ceilings, measured now:"), "{text}");
    // Small operands stay in caches, which move more than a copy.
    let shares = shares(&text);
    assert!(shares.len() > 5 && shares.iter().all(|s| *s <= 100.0), "{text}");
    assert!(!text.contains("the roof was raised to the best rate of a row:") || shares.contains(&100.0), "{text}");
    let rows = rows(&text);
    let calls = |name: &str| rows.iter().find(|r| r.2 == name).map_or(0, |r| r.0);
    // Three convolutions with batch norm and one dense layer: forward, and back but for the images' gradient.
    assert_eq!(["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "matmul"].map(calls), [3, 2, 3, 3], "{text}");
    let trace: Value = serde_json::from_slice(&home.read("t.json")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let spans: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
    assert_eq!(spans.len() as u64, rows.iter().map(|r| r.0).sum::<u64>());
    assert!(spans.windows(2).all(|w| w[0]["ts"].as_f64() <= w[1]["ts"].as_f64()), "in order");
    let text = home.run("profile mlp:widths=7 --size 3x3x1 --batch 5 --what hvp --directions 2 --by shape --rounds 1");
    let text = text.ok().out;
    assert!(text.contains("matmul f32[1, 5, 9]"), "{text}");
}

/// Tokens of a made-up text are as many as asked for.
#[test]
fn networks_of_tokens_are_profiled() {
    let home = Home::new();
    let model = "gpt2:layers=1,heads=2,width=8,context=8";
    for (options, logits) in
        [("", "[16, 64]"), ("--classes 55000", "[16, 55000]"), ("--what hvp --classes 9", "[16, 9]")]
    {
        let text = home.run(&format!("profile {model} --batch 2 --rounds 1 --rows 0 --by shape {options}")).ok().out;
        assert!(text.contains(&format!("f32{logits}")), "{options}: {text}");
    }
}

#[test]
fn a_device_stamps_its_dispatches() {
    let home = Home::new();
    if home.adapters().is_empty() {
        return crate::common::skip_without_adapter();
    }
    let profile = |option| format!("profile cnn --size 8x8x1 --batch 5 --rounds 1 --rows 0 --adapter 0 {option}");
    let [usual, first] = ["", "--first"].map(|option| home.run(&profile(option)).ok().out);
    assert!(first.contains("first run done after "), "{first}");
    let [usual, first] = [usual, first].map(|text| rows(&text));
    assert!(
        usual.iter().any(|r| r.2.starts_with("conv2d_weight_grad")) && usual.iter().any(|r| r.1 > 0.0),
        "{usual:?}"
    );
    let calls = |rows: &[(u64, f64, String)]| rows.iter().map(|r| (r.2.clone(), r.0)).collect::<BTreeMap<_, _>>();
    assert_eq!(calls(&usual), calls(&first));
}

#[test]
fn what_cannot_be_profiled_is_refused() {
    let home = Home::new();
    for (args, told) in [
        ("profile cnn --size 8x8", "expected three positive numbers, as 32x32x3"),
        ("profile cnn --batch 0", "batch: expected 1 or more, found 0"),
        ("profile gpt2 --classes 1000001", "classes: expected at most 1000000 characters, found 1000001"),
        ("profile nothing", "expected a network among"),
    ] {
        let done = home.run(args);
        assert!(done.err.contains(told) && done.code == Some(2), "{args}: {}", done.err);
    }
}

//! Whole runs: what they leave behind, and that they can be had again, at once or in parts.

use serde_json::Value;

use crate::program::{Home, number};

#[test]
fn a_run_leaves_its_files_and_is_scored_alike_everywhere() {
    let home = Home::new();
    let line = home.run("train --epochs 2 --out run --json").ok().json();
    for (key, value) in [("model", "cnn"), ("data", "digits"), ("adapter", "host (f32 on the CPU)"), ("run", "run")] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!(line["epochs"], 2);
    assert!(number(&line, "seconds") > 0.0 && number(&line, "test_accuracy") > 0.9, "{line}");

    let config: Value = serde_json::from_slice(&home.read("run/config.json")).expect("JSON");
    assert_eq!((&config["model"], &config["epochs"], &config["seed"]), (&"cnn".into(), &2.into(), &0.into()));
    let metrics = home.metrics("run");
    assert_eq!(metrics.iter().map(|m| number(m, "epoch")).collect::<Vec<_>>(), [1.0, 2.0]);
    assert_eq!(metrics.iter().map(|m| number(m, "step")).collect::<Vec<_>>(), [22.0, 44.0]);
    assert_eq!(
        (&metrics[1]["train_loss"], &metrics[1]["test_accuracy"]),
        (&line["train_loss"], &line["test_accuracy"])
    );
    // Along a cosine, the step after the last would have none.
    assert!(metrics.iter().all(|m| number(m, "rate") > 1e-5 && number(m, "rate") < 0.05));
    let svg = String::from_utf8(home.read("run/curves.svg")).expect("text");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains("epoch"), "{svg}");
    let states = home.checkpoint("run");
    let states = safetensors::SafeTensors::deserialize(&states).expect("a file that others can read");
    assert!(states.names().contains(&"head.weight"), "{:?}", states.names());

    let eval = home.run("eval run --json").ok().json();
    assert_eq!((&eval["test_accuracy"], &eval["test_loss"]), (&line["test_accuracy"], &metrics[1]["test_loss"]));
    assert_eq!((&eval["epochs"], &eval["test_images"]), (&2.into(), &360.into()));
    let text = home.run("eval run").ok().out;
    assert!(text.contains(&format!("{:.2} %", 100.0 * number(&eval, "test_accuracy"))), "{text}");
    let mut others = vec!["reference"];
    match home.adapters().is_empty() {
        true => crate::common::skip_without_adapter(),
        false => others.push("0"),
    }
    for adapter in others {
        let other = home.run(&format!("eval run --json --adapter {adapter}")).ok().json();
        // One image may lie where rounding decides.
        assert!((number(&other, "test_accuracy") - number(&eval, "test_accuracy")).abs() < 1.5 / 360.0, "{other}");
        assert!((number(&other, "test_loss") - number(&eval, "test_loss")).abs() < 1e-4, "{other}");
        assert_ne!(other["adapter"], eval["adapter"]);
    }
}

#[test]
fn a_plan_is_printed_and_nothing_trained() {
    let home = Home::new();
    let plan = home.run("train --plan").ok().out;
    assert!(["conv2d", "batch_norm", "cross_entropy", "sgd"].iter().all(|op| plan.contains(op)), "{plan}");
    assert!(!home.path("runs").exists());
    assert!(home.run("train --plan --resume run").code == Some(2));
}

#[test]
fn runs_are_numbered_where_no_folder_is_given() {
    let home = Home::new();
    let begun: Vec<_> = (0..3).map(|_| home.begin("train --model mlp:widths=8 --epochs 1")).collect();
    begun.into_iter().for_each(|run| drop(run.end().ok()));
    for run in ["runs/1", "runs/2", "runs/3"] {
        home.assert_same(run, "runs/1");
    }
}

#[test]
fn one_seed_gives_one_run() {
    let home = Home::new();
    for (run, seed) in [("a", 7), ("b", 7), ("c", 7), ("other", 8)] {
        home.run(&format!("train --epochs 2 --seed {seed} --out {run}")).ok();
    }
    home.assert_same("a", "b");
    home.assert_same("a", "c");
    assert_ne!(home.metrics("a"), home.metrics("other"));
    assert!(home.checkpoint("a") != home.checkpoint("other"));
}

/// Four epochs at once and two twice; the rate is constant, since the others fall with the length of the run.
#[test]
fn a_resumed_run_is_the_run() {
    for options in [
        "",
        "--crop 1 --flip",
        "--model mlp:widths=64,dropout=0.5 --lr 0.0123456789",
        "--model mlp:widths=64,dropout=0.5 --optimizer adamw --crop 1",
        "--model cnn:widths=8,norm=none --test-every 2 --sam 0.05 --heavy-ball",
        "--model cnn:widths=8 --precision f16 --loss-scale dynamic",
        "--model cnn:widths=8 --accumulate 2 --average 0.9 --label-smoothing 0.1 --mixup 0.2 --clip 1 --crop 1",
        "--model mlp:widths=16,activation=silu --test-every 2 --asam 0.5 --optimizer adam --loss squared",
    ] {
        let home = Home::new();
        home.run(&format!("train --schedule constant --epochs 4 --out straight {options}")).ok();
        home.run(&format!("train --schedule constant --epochs 2 --out parts {options}")).ok();
        let line = home.run("train --resume parts --epochs 4 --json").ok().json();
        assert_eq!((&line["epochs"], &line["run"]), (&4.into(), &"parts".into()));
        home.assert_same("straight", "parts");
        assert_eq!(home.read("straight/config.json"), home.read("parts/config.json"));
    }
}

/// Gradient descent on the first images, a step an epoch.
#[test]
fn full_batches_are_tested_now_and_then() {
    let home = Home::new();
    let options = "--limit 100 --batch full --model mlp:widths=12,activation=tanh --loss squared --momentum 0 \
                   --weight-decay 0 --lr 0.05 --schedule constant --warmup 0 --test-every 8";
    home.run(&format!("train --epochs 20 --out straight {options}")).ok();
    let metrics = home.metrics("straight");
    assert_eq!(metrics.iter().map(|m| number(m, "epoch")).collect::<Vec<_>>(), [8.0, 16.0, 20.0]);
    assert_eq!(metrics.iter().map(|m| number(m, "step")).collect::<Vec<_>>(), [8.0, 16.0, 20.0]);
    // Descent at a small rate never goes up.
    let losses: Vec<f64> = metrics.iter().map(|m| number(m, "train_loss")).collect();
    assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");
    let config: Value = serde_json::from_slice(&home.read("straight/config.json")).expect("JSON");
    assert_eq!((&config["limit"], &config["batch"], &config["loss"]), (&100.into(), &100.into(), &"squared".into()));
    let svg = String::from_utf8(home.read("straight/curves.svg")).expect("text");
    assert!(svg.contains("half squared error") && !svg.contains("cross-entropy"), "{svg}");
    let eval = home.run("eval straight --json").ok().json();
    assert_eq!((&eval["loss"], &eval["test_loss"]), (&"squared".into(), &metrics[2]["test_loss"]));
    assert!(home.run("eval straight").ok().out.contains("half squared error"));

    home.run(&format!("train --epochs 16 --out parts {options}")).ok();
    home.run("train --resume parts --epochs 20").ok();
    home.assert_same("straight", "parts");
}

#[test]
fn a_run_that_is_done_is_left_as_it_is() {
    let home = Home::new();
    let line = home.run("train --model mlp:widths=8 --epochs 2 --out run --json").ok().json();
    let before = home.files("run");
    let again = home.run("train --resume run --json").ok().json();
    assert_eq!(line["test_accuracy"], again["test_accuracy"]);
    assert!(before == home.files("run"), "files were changed");
}

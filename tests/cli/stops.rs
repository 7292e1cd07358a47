//! Runs that are stopped: from the keyboard, by force, by a full disk, by their own learning rate.
#![cfg(unix)]

use std::{thread::sleep, time::Duration};

use hillshade::{
    engine::{Session, block_on},
    models::{Checkpoint, Error, Trainer, data},
};
use serde_json::Value;

use crate::program::{Done, Home, checkpoint};

fn load(home: &Home, run: &str) -> Result<Checkpoint, Error> {
    Checkpoint::load(&home.path(&checkpoint(run)))
}

/// Stopped in the middle of epoch after epoch, the run ends as if it had been left alone.
#[test]
fn ctrl_c_costs_nothing() {
    let home = Home::new();
    let options = "--model mlp:widths=32,dropout=0.1 --batch 4 --lr 0.005 --crop 1 --epochs 5";
    home.run(&format!("train --out whole {options}")).ok();
    let (mut command, mut middles) = (format!("train --out run {options}"), 0);
    for wait in [10, 0, 25, 5, 15, 20] {
        let lines = home.lines("run").len();
        let mut run = home.begin(&command);
        run.until(|| home.lines("run").len() > lines);
        sleep(Duration::from_millis(wait));
        run.signal("INT");
        let done = run.end();
        if done.code == Some(0) {
            break;
        }
        done.failed(130, &["stopped; resume with: hillshade train --resume run"]);
        let progress = load(&home, "run").expect("a checkpoint").progress;
        middles += usize::from(progress.batch > 0 && progress.batch < 359);
        command = "train --resume run".into();
    }
    home.run("train --resume run").ok();
    assert!(middles > 0, "never stopped within an epoch");
    home.assert_same("whole", "run");
}

/// A second Ctrl-C does not wait for the step at work.
#[test]
fn ctrl_c_twice_ends_at_once() {
    let home = Home::new();
    let mut run = home.begin("train --adapter reference --model cnn:widths=256-256 --batch 1024 --out run");
    run.until(|| home.path("run/config.json").exists());
    // Signals that come before the first one is noticed are one.
    while !run.is_over() {
        run.signal("INT");
        sleep(Duration::from_millis(50));
    }
    let done = run.end();
    assert_eq!((done.code, done.err.lines().count()), (Some(130), 1), "{}", done.err);
    assert!(!home.path(&checkpoint("run")).exists());
}

/// A run in the library, with the configuration of `run`.
fn trainer(home: &Home, run: &str) -> Trainer {
    let config = load(home, run).expect("a checkpoint").config;
    let digits = data::open("digits", None).expect("what is built in");
    Trainer::new(config, digits, Session::host()).expect("what was trained before")
}

/// Wherever an epoch is left, at its very beginning and after its last step too.
#[test]
fn checkpoints_within_epochs_go_on() {
    let home = Home::new();
    home.run("train --model mlp:widths=16,dropout=0.5 --epochs 2 --out whole").ok();
    for steps in [0, 1, 21, 22] {
        let mut trainer = trainer(&home, "whole");
        (0..steps).for_each(|_| trainer.step().expect("a step"));
        home.write("run/config.json", &home.read("whole/config.json"));
        let _ = std::fs::remove_file(home.path("run/metrics.jsonl"));
        let checkpoint = block_on(trainer.checkpoint()).expect("finite states");
        checkpoint.save(&home.path("run/checkpoint.safetensors")).expect("a disk");
        home.run("train --resume run").ok();
        home.assert_same("whole", "run");
    }
}

/// Between two tests, too, and where the next line of the metrics was cut off.
#[test]
fn checkpoints_between_tests_go_on() {
    let home = Home::new();
    home.run("train --model mlp:widths=16 --epochs 5 --test-every 3 --batch 300 --out whole").ok();
    let lines = home.lines("whole");
    assert_eq!(home.metrics("whole").iter().map(|m| m["epoch"].as_u64()).collect::<Vec<_>>(), [Some(3), Some(5)]);
    for (epochs, steps) in [(0, 2), (1, 0), (2, 4), (3, 1), (4, 0)] {
        let mut trainer = trainer(&home, "whole");
        for _ in 0..epochs {
            (0..4).for_each(|_| trainer.step().expect("a step"));
            trainer.next_epoch().expect("a session");
        }
        (0..steps).for_each(|_| trainer.step().expect("a step"));
        home.write("run/config.json", &home.read("whole/config.json"));
        let done = usize::from(epochs >= 3);
        let half = &lines[done][..lines[done].len() / 2];
        let metrics = lines[..done].iter().map(|line| format!("{line}\n")).collect::<String>() + half;
        home.write("run/metrics.jsonl", metrics.as_bytes());
        let checkpoint = block_on(trainer.checkpoint()).expect("finite states");
        checkpoint.save(&home.path("run/checkpoint.safetensors")).expect("a disk");
        home.run("train --resume run").ok();
        home.assert_same("whole", "run");
    }
}

/// A state that is no longer finite is not kept, even where the loss does not show it yet.
#[test]
fn broken_states_are_not_kept() {
    let home = Home::new();
    home.run("train --model mlp:widths=16 --epochs 1 --out run").ok();
    let mut broken = load(&home, "run").expect("a checkpoint");
    broken.config.epochs = 2;
    broken.states.get_mut("velocity/head.weight").expect("a velocity").1[0] = f32::NAN;
    let digits = data::open("digits", None).expect("what is built in");
    let path = home.path(&checkpoint("run"));
    let mut trainer = Trainer::resume(&broken, &path, digits, Session::host()).expect("the same network");
    trainer.step().expect("a step");
    assert!(block_on(trainer.score()).is_ok());
    let error = block_on(trainer.checkpoint()).expect_err("a state that is no number").to_string();
    assert!(error.contains("found NaN at step 23: the learning rate 0.05 is too large"), "{error}");
}

/// Killed at any moment, and most of all while it writes, a run goes on from its last checkpoint.
#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let home = Home::new();
    let options = "--model mlp:widths=64 --batch 720 --schedule constant";
    let begin = format!("train --out run --epochs 100000 {options}");
    for i in 0..15u64 {
        let resumed = load(&home, "run").is_ok();
        let run = home.begin(if resumed { "train --resume run" } else { &begin });
        sleep(Duration::from_millis(40 + i * 37 % 100));
        run.signal("KILL");
        assert_eq!(run.end().code, None);
        match load(&home, "run") {
            Ok(c) => {
                assert!(home.lines("run").len() >= c.progress.epoch as usize);
                if i % 5 == 0 {
                    assert_eq!(home.run("eval run --json").ok().json()["epochs"], c.progress.epoch);
                }
            }
            Err(Error::Missing { .. }) if !resumed => {}
            Err(e) => panic!("{e}"),
        }
    }
    let epochs = load(&home, "run").expect("a checkpoint").progress.epoch + 2;
    home.run(&format!("train --resume run --epochs {epochs}")).ok();
    home.run(&format!("train --out whole --epochs {epochs} {options}")).ok();
    assert_eq!(home.lines("run").len(), epochs as usize);
    home.assert_same("whole", "run");
}

/// What is written beyond the last checkpoint, half a line too, is dropped and made again.
#[test]
fn metrics_beyond_the_checkpoint_are_dropped() {
    let home = Home::new();
    let train = "train --model mlp:widths=16 --schedule constant --epochs 3 --out";
    home.run(&format!("{train} whole")).ok();
    home.run(&format!("{train} run")).ok();
    let old = home.checkpoint("run");
    home.run("train --resume run --epochs 5").ok();
    let mut lines = home.read("run/metrics.jsonl");
    lines.truncate(lines.len() - 40);
    home.write("run/metrics.jsonl", &lines);
    home.write(&checkpoint("run"), &old);
    home.run("train --resume run --epochs 3").ok();
    home.assert_same("whole", "run");
}

/// A file that may not grow beyond 4 KiB is a disk that is full in the middle of a checkpoint.
#[test]
fn a_full_disk_leaves_the_last_checkpoint() {
    let home = Home::new();
    let train = "train --model mlp:widths=64 --schedule constant --epochs 3 --out";
    home.run(&format!("{train} whole")).ok();
    home.run("train --model mlp:widths=64 --schedule constant --epochs 1 --out run").ok();
    let before = home.checkpoint("run");
    let command = home.command("train --resume run --epochs 3");
    let limited = std::process::Command::new("sh")
        .args(["-c", r#"ulimit -f 8; trap "" XFSZ; exec "$0" "$@""#])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(home.path(""))
        .env("HILLSHADE_ADAPTER", "host")
        .output();
    Done::new("train --resume run", limited.expect("a shell")).failed(1, &["expected to write run/", "too large"]);
    assert!(before == home.checkpoint("run"));
    home.run("train --resume run --epochs 3").ok();
    home.assert_same("whole", "run");
}

/// A rate that is too high ends the run, names itself, and leaves no broken checkpoint.
#[test]
fn divergence_is_told_and_not_kept() {
    let home = Home::new();
    // The loss is looked at a few times a second: at which step depends on the machine.
    let found = ["expected a finite loss, found ", " at step "];
    for (options, rate) in [("--lr 1e6", "1000000"), ("--lr 1e10 --model mlp --schedule step", "10000000000")] {
        let done = home.run(&format!("train --epochs 1 --warmup 0 --out diverged {options}"));
        done.failed(1, &[found[0], found[1], &format!("the learning rate {rate} is too large")]);
        assert!(!home.path(&checkpoint("diverged")).exists());
    }
    home.run("train --epochs 1 --out diverged").ok();

    // A good run that goes on with a bad rate, and one with a bad state.
    for run in ["rate", "state"] {
        home.run(&format!("train --model mlp:widths=64 --epochs 1 --out {run}")).ok();
        let mut good = load(&home, run).expect("a checkpoint");
        if run == "rate" {
            good.config.schedule.rate = 1e10;
        } else {
            good.states.values_mut().for_each(|(_, data)| data[0] = f32::INFINITY);
        }
        good.save(&home.path(&checkpoint(run))).expect("a disk");
        let config: Value = serde_json::json!(good.config);
        home.write(&format!("{run}/config.json"), config.to_string().as_bytes());
        let before = home.checkpoint(run);
        home.run(&format!("train --resume {run} --epochs 2")).failed(1, &[found[0], found[1], "is too large"]);
        assert!(before == home.checkpoint(run));
        assert_eq!(home.lines(run).len(), 1);
    }
}

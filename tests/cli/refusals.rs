//! Bad input: one line that says what was expected and what was found, exit code 2, and nothing harmed.

use std::fs;

use hillshade::models::Checkpoint;

use crate::program::{Home, checkpoint};

/// An IDX file of unsigned bytes.
fn idx(extents: &[u32], data: &[u8]) -> Vec<u8> {
    let words = std::iter::once(0x800 | extents.len() as u32).chain(extents.iter().copied());
    words.flat_map(u32::to_be_bytes).chain(data.iter().copied()).collect()
}

const IMAGES: &str = "train-images-idx3-ubyte";

/// Forty images of 8×8 pixels to learn from and twenty to be tested on, in the manner of MNIST.
fn small_mnist(home: &Home, folder: &str) {
    for (part, n) in [("train", 40u8), ("t10k", 20)] {
        let pixels: Vec<u8> = (0..u32::from(n) * 64).map(|i| (i * i % 251) as u8).collect();
        let labels: Vec<u8> = (0..n).map(|i| i % 10).collect();
        home.write(&format!("{folder}/{part}-images-idx3-ubyte"), &idx(&[n.into(), 8, 8], &pixels));
        home.write(&format!("{folder}/{part}-labels-idx1-ubyte"), &idx(&[n.into()], &labels));
    }
}

#[test]
fn options_out_of_range() {
    let home = Home::new();
    for (options, words) in [
        ("--batch 0", ["batch: expected 2 to 1437", "found 0"]),
        ("--batch 1438", ["batch: expected 2 to 1437", "found 1438"]),
        ("--lr 0", ["lr: expected a positive number", "found 0"]),
        ("--lr -0.1", ["lr: expected a positive number", "found -0.1"]),
        ("--lr nan", ["lr: expected a positive number", "found NaN"]),
        ("--lr 1e300", ["lr: expected a positive number", "found 1e300"]),
        ("--momentum 1", ["momentum: expected a number from 0 to below 1", "found 1"]),
        ("--momentum -0.5", ["momentum: expected", "found -0.5"]),
        ("--weight-decay -1", ["weight-decay: expected", "found -1"]),
        ("--epochs 0", ["epochs: expected 1 or more", "found 0"]),
        ("--batch full --limit 1", ["limit: expected 2 to 1437", "found 1"]),
        ("--limit 1438", ["limit: expected 2 to 1437", "found 1438"]),
        ("--limit 50", ["batch: expected 2 to 50", "found 64"]),
        ("--test-every 0", ["test-every: expected 1 or more", "found 0"]),
        ("--sam 0", ["sam: expected a positive number", "found 0"]),
        ("--sam nan", ["sam: expected a positive number", "found NaN"]),
        ("--asam -0.5", ["asam: expected a positive number", "found -0.5"]),
        ("--sam 0.05 --asam 0.5", ["asam: expected one of --sam and --asam", "found both"]),
        ("--accumulate 0", ["accumulate: expected 1 or more", "found 0"]),
        ("--accumulate 5", ["accumulate: expected equal parts of 2 or more of 64 images", "found 5"]),
        ("--label-smoothing 1", ["smoothing: expected a number from 0 to below 1", "found 1.0"]),
        ("--mixup -1", ["mixup: expected a number from 0 to 4", "found -1.0"]),
        ("--clip nan", ["clip: expected a positive number", "found NaN"]),
        ("--loss-scale 0", ["loss-scale: expected a positive number from 1e-37 to 1e38, or dynamic", "found 0.0"]),
        ("--loss-scale dynamic --sam 0.1", ["loss-scale: expected no sharpness-aware steps beside it", "found both"]),
        ("--average 1", ["average: expected a number from 0 to below 1", "found 1.0"]),
        ("--model autoencoder", ["loss: expected squared", "found cross-entropy"]),
        ("--data minst", ["expected a data set among digits, mnist", "found \"minst\""]),
        ("--data folder", ["expected folder:PATH", "found no path"]),
        ("--data mnist:a --data-dir b", ["data-dir: expected no other folder beside a", "found b"]),
        ("--model vgg12", ["expected a network among mlp", "found \"vgg12\""]),
        ("--model cnn:depth=3", ["cnn: expected options among widths, norm", "found \"depth=3\""]),
        ("--model mlp:widths=0", ["widths: expected positive numbers", "found \"0\""]),
        ("--model mlp:dropout=1", ["dropout: expected a number from 0 to below 1", "found \"1\""]),
        ("--model mlp:activation=step", ["activation: expected relu or tanh", "found \"step\""]),
        ("--model resnet20:norm=max", ["norm: expected batch or none or group", "found \"max\""]),
        ("--model mlp:widths=999999999", ["expected parameters of at most", "[64, 999999999]"]),
        ("--adapter nonesuch", ["no adapter matches \"nonesuch\"; there are: ", "host, reference"]),
    ] {
        home.run(&format!("train --out run {options}")).refused(2, &words);
        assert!(!home.path("run").exists(), "{options}");
    }
    for (args, word) in [
        ("train --batch many", "expected a number or full"),
        ("train --loss hinge", "squared"),
        ("train --depth 3", "--depth"),
        ("trian", "trian"),
    ] {
        let done = home.run(args);
        assert!(done.code == Some(2) && done.err.contains(word), "{}", done.err);
    }
}

#[test]
fn folders_that_cannot_be_written() {
    let home = Home::new();
    home.write("file", b"");
    home.run("train --out file/run").refused(1, &["expected to write file/run, found: "]);
    home.run("train --out file").refused(1, &["expected to write file, found: "]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let closed = home.path("closed");
        fs::create_dir(&closed).expect("a folder");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("an owner");
        match crate::program::may_write(&closed) {
            true => println!("modes do not bind this user"),
            false => home.run("train --out closed").refused(1, &["expected to write closed", "ermission denied"]),
        }
    }
}

#[test]
fn data_files_that_are_not_what_they_should_be() {
    let home = Home::new();
    small_mnist(&home, "good");
    let train = "train --model mlp:widths=8 --batch 10 --epochs 1 --out run --data";
    home.run(&format!("{train} mnist:good")).ok();
    let good = home.read(&format!("good/{IMAGES}"));
    for (bytes, words) in [
        (&good[..good.len() - 7], ["expected 2576 bytes for extents [40, 8, 8]", "found 2569 bytes"]),
        (&good[..9], ["expected a header of 16 bytes", "found 9 bytes"]),
        (&[&[0, 0, 8, 1], &good[4..]].concat(), ["expected the magic number 0x00000803", "found 0x00000801"]),
        (&[], ["expected a header of 16 bytes", "found 0 bytes"]),
    ] {
        small_mnist(&home, "bad");
        home.write(&format!("bad/{IMAGES}"), bytes);
        home.run("train --data mnist:bad").refused(2, &[IMAGES, words[0], words[1]]);
    }
    home.write("cifar/test_batch.bin", &[1; 3073]);
    home.write("cifar/data_batch_1.bin", &[1; 2 * 3073 + 1]);
    home.run("train --data cifar10:cifar")
        .refused(2, &["data_batch_1.bin: expected one or more records of 3073 bytes, found 6147 bytes"]);
    for data in ["mnist", "cifar10", "folder"] {
        home.run(&format!("train --data {data}:nowhere")).refused(2, &["expected ", "found nothing at nowhere"]);
    }
}

#[test]
fn data_that_have_moved() {
    let home = Home::new();
    small_mnist(&home, "old");
    home.run("train --model mlp:widths=8 --batch 10 --epochs 1 --out run --data mnist:old").ok();
    fs::rename(home.path("old"), home.path("new")).expect("a folder to move");
    home.run("eval run").refused(2, &["found nothing at old"]);
    home.run("eval run --data-dir new").ok();
    home.run("train --resume run --epochs 2 --data-dir new").ok();
    home.run("eval run").ok();
}

#[test]
fn folders_with_other_runs() {
    let home = Home::new();
    home.run("train --model mlp:widths=8 --epochs 2 --out run").ok();
    let before = home.files("run");
    home.run("train --out run").refused(2, &["run: expected a folder without a run", "--resume", "found a run"]);
    home.run("train --resume run --epochs 1").refused(2, &["epochs: expected 2 or more", "found 1"]);
    for option in
        ["--lr 0.1", "--limit 50", "--loss squared", "--sam 0.1", "--asam 0.1", "--test-every 2", "--heavy-ball"]
    {
        let done = home.run(&format!("train --resume run {option}"));
        assert!(done.code == Some(2) && done.err.contains("--resume"), "{}", done.err);
    }
    home.run("train --resume nowhere").refused(2, &["expected a run's folder, found nothing at nowhere"]);
    assert!(before == home.files("run"), "files were changed");

    let mut first = home.begin("train --epochs 10000 --model mlp:widths=8 --out busy");
    first.until(|| home.path(&checkpoint("busy")).exists());
    assert!(!first.is_over());
    for args in ["train --resume busy", "train --out busy"] {
        home.run(args).refused(2, &["busy: expected a run's folder that is not in use, found another process"]);
    }
    home.run("eval busy").ok();
    assert!(!first.is_over());
}

/// What resuming and scoring say of a run's folder, and that they leave its checkpoint alone.
#[track_caller]
fn both_refuse(home: &Home, run: &str, words: &[&str]) {
    let before = fs::read(home.path(&checkpoint(run))).ok();
    home.run(&format!("train --resume {run} --epochs 9")).refused(2, words);
    home.run(&format!("eval {run}")).refused(2, words);
    assert!(before == fs::read(home.path(&checkpoint(run))).ok());
}

#[test]
fn checkpoints_of_other_runs() {
    let home = Home::new();
    for (run, model) in [("small", "mlp:widths=8"), ("wide", "mlp:widths=16"), ("deep", "cnn")] {
        home.run(&format!("train --model {model} --epochs 1 --out {run}")).ok();
    }
    let small = Checkpoint::load(&home.path(&checkpoint("small"))).expect("a checkpoint");
    for (run, model, words) in [
        ("wide", "mlp:widths=16", "of shape [16, 10], found [8, 10]"),
        ("deep", "cnn", " of cnn, found no such tensor"),
    ] {
        let own = Checkpoint::load(&home.path(&checkpoint(run))).expect("a checkpoint");
        small.save(&home.path(&checkpoint(run))).expect("a disk");
        let expected = format!("expected the model \"{model}\" as in {run}/config.json, found \"mlp:widths=8\"");
        both_refuse(&home, run, &[&checkpoint(run), &expected]);
        // The right configuration over the wrong tensors, too.
        let mixed = Checkpoint { config: own.config, ..small.clone() };
        mixed.save(&home.path(&checkpoint(run))).expect("a disk");
        both_refuse(&home, run, &[&checkpoint(run), words]);
    }
}

#[test]
fn damaged_runs() {
    let home = Home::new();
    home.run("train --model mlp:widths=8 --epochs 2 --out run").ok();
    let file = checkpoint("run");
    let good = home.read(&file);
    let long = [&u64::MAX.to_le_bytes(), &good[8..]].concat();
    for bytes in [&good[..good.len() / 2], &good[..good.len() - 1], &good[..5], &[], b"garbage, not tensors", &long] {
        home.write(&file, bytes);
        both_refuse(&home, "run", &[&format!("{file}: expected a safetensors file, found ")]);
    }
    fs::remove_file(home.path(&file)).expect("a file");
    both_refuse(&home, "run", &[&format!("expected a checkpoint, found nothing at {file}")]);
    home.run("train --out run").refused(2, &["run/metrics.jsonl", "checkpoint is not there"]);

    home.write(&file, &good);
    let metrics = home.read("run/metrics.jsonl");
    home.write("run/metrics.jsonl", b"{\"epoch\": 1}\n???\n");
    home.run("train --resume run").refused(2, &["run/metrics.jsonl: expected an epoch's metrics in line 1", "missing"]);
    home.write("run/metrics.jsonl", &metrics);
    home.write("run/config.json", b"{ \"model\"");
    both_refuse(&home, "run", &["run/config.json: expected a run's configuration, found "]);
    fs::remove_file(home.path("run/config.json")).expect("a file");
    home.run("eval run").ok();
    home.run("train --resume run --epochs 3").ok();
    assert_eq!(home.metrics("run").len(), 3);
}

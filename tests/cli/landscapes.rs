//! Slices and surfaces from the command line.

use serde_json::Value;

use crate::program::Home;

#[test]
fn landscapes_leave_their_files() {
    let home = Home::new();
    for (run, seed) in [("run", 0), ("other", 1)] {
        home.run(&format!("train --model cnn:widths=4 --epochs 1 --seed {seed} --out {run}")).ok();
    }
    for (options, points, kind, statistics) in [
        ("--points 5", 5, "filter", serde_json::json!({"reestimated": 60})),
        ("--points 3 --direction layer --statistics frozen", 3, "layer", "frozen".into()),
        ("--points 3 --direction gradient --statistics batch:30", 3, "gradient", serde_json::json!({"batch": 30})),
        ("--points 3 --direction eigen", 3, "eigenvector 1", serde_json::json!({"reestimated": 60})),
        ("--points 3 --direction to:other", 3, "interpolation", serde_json::json!({"reestimated": 60})),
        ("--points 3 --dims 2 --direction raw", 9, "raw", serde_json::json!({"reestimated": 60})),
    ] {
        let done = home.run(&format!("landscape run --samples 60 --json {options}")).ok();
        let line = done.json();
        let file: Value = serde_json::from_slice(&home.read("run/landscape.json")).expect("JSON");
        assert_eq!(line, file, "{options}");
        let values: Vec<f64> = line["values"].as_array().expect("values").iter().filter_map(Value::as_f64).collect();
        assert_eq!(values.len(), points, "{options}");
        assert_eq!((&line["directions"][0]["kind"], &line["statistics"]), (&kind.into(), &statistics), "{options}");
        assert_eq!((&line["samples"], &line["batch_norms"]), (&60.into(), &1.into()));
        assert_eq!(line["center"].as_f64(), Some(values[points / 2]), "{options}");
        let dims = line["directions"].as_array().map_or(0, Vec::len);
        assert_eq!(line["check"].as_array().map(Vec::len), Some(dims), "{options}");
        assert!(line["check"][0]["exact"].is_f64() && line["check"][0]["flips"]["of"].as_u64() > Some(0), "{line}");
        assert_eq!(line["cosine"].is_f64(), dims == 2);
        assert!(home.read("run/landscape.svg").starts_with(b"<svg"));
        assert!(home.read("run/landscape.png").starts_with(b"\x89PNG"));
        assert!(!home.path("run/.landscape.part.json").exists());
    }
    let line = home.run("landscape run --samples 60 --points 3 --statistics reestimate:30").ok().out;
    assert!(line.lines().count() == 1 && line.starts_with("loss ") && line.contains("re-estimated(30)"), "{line}");
}

#[test]
fn bad_landscapes_are_refused() {
    let home = Home::new();
    home.run("train --model cnn:widths=4 --epochs 1 --out run").ok();
    for (options, words) in [
        ("--points 2", ["points: expected 3 or more", "found 2"]),
        ("--range 0", ["range: expected a positive number", "found 0"]),
        ("--range nan", ["range: expected a positive number", "found NaN"]),
        ("--batch-norm full", ["batch-norm: expected nothing beside --statistics", "found full"]),
        ("--samples 60 --statistics batch:61", ["batch-norm batch: expected 2 to 60 samples", "found 61"]),
        ("--samples 60 --statistics reestimate:20 --direction gradient", ["direction gradient: expected", "several"]),
        ("--direction to:nowhere", ["expected a run's folder", "found nothing at nowhere"]),
        ("--direction to:run", ["direction interpolation: expected a finite vector", "found 0"]),
    ] {
        home.run(&format!("landscape run {options}")).refused(2, &words);
        assert!(!home.path("run/landscape.json").exists(), "{options}");
    }
    for (options, word) in [
        ("--dims 3", "3"),
        ("--direction up", "expected filter, layer, raw, gradient, eigen, pca or to:PATH, found up"),
        ("--statistics batch:0", "expected frozen, batch[:SIZE] or reestimate[:SIZE], found batch:0"),
        ("--statistics frozen:3", "found frozen:3"),
    ] {
        let done = home.run(&format!("landscape run {options}"));
        assert!(done.code == Some(2) && done.err.contains(word), "{}", done.err);
    }
}

#[test]
fn trajectories_are_kept_and_seen_in_their_plane() {
    let home = Home::new();
    home.run("train --model mlp:widths=8 --epochs 4 --test-every 3 --keep 2 --out run").ok();
    for epoch in [0, 2, 4] {
        assert!(home.path(&format!("run/checkpoints/{epoch}.safetensors")).exists(), "{epoch}");
    }
    assert!(!home.path("run/checkpoints/1.safetensors").exists());
    home.run("train --resume run --epochs 6 --keep 1").ok();
    assert!(home.path("run/checkpoints/5.safetensors").exists());
    let plane = "landscape run --samples 60 --direction pca --points 5 --json";
    let line = home.run(&format!("{plane} --dims 2")).ok().json();
    let principal = &line["principal"];
    let explained: Vec<f64> = numbers(&principal["explained"]);
    assert!(explained[0] > explained[1] && explained.iter().sum::<f64>() <= 1.0 + 1e-9, "{explained:?}");
    let path: Vec<Vec<f64>> = principal["path"].as_array().expect("a path").iter().map(numbers).collect();
    assert_eq!(path.len(), 5);
    assert!(path[4].iter().all(|c| c.abs() < 1e-6), "the last is the run's: {path:?}");
    let far = path.iter().map(|p| p[0].abs()).fold(0.0, f64::max);
    assert!((numbers(&line["x"])[4] - 1.2 * far).abs() < 1e-9 * far, "{line}");
    assert!(String::from_utf8_lossy(&home.read("run/landscape.svg")).contains("its start"));
    let line = home.run(&format!("{plane} --range 0.5 --trajectory run/checkpoints --flips --radius 0.01")).ok().json();
    assert_eq!((&line["x"][4], &line["check"][0]["radius"]), (&0.5.into(), &0.01.into()));
    let flips = line["flips"].as_array().expect("flips");
    // Inputs of 8 ReLUs for 60 images.
    assert!(flips.len() == 4 && flips.iter().all(|f| f["of"] == 480), "{flips:?}");
    assert!(flips.iter().any(|f| f["count"].as_u64() > Some(0)), "{flips:?}");
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().expect("numbers").iter().filter_map(Value::as_f64).collect()
}

#[test]
fn steps_and_sharpness_leave_their_files() {
    let home = Home::new();
    home.run("train --model cnn:widths=4 --epochs 1 --out run").ok();
    let line = home.run("descent run --samples 60 --steps 0.1,0.001 --json").ok().json();
    let file: Value = serde_json::from_slice(&home.read("run/descent.json")).expect("JSON");
    assert_eq!(line, file);
    let points = line["points"].as_array().expect("points");
    assert_eq!((points.len(), &points[0]["step"], &line["statistics"]["reestimated"]), (2, &0.001.into(), &60.into()));
    // A short step takes the loss down by the gradient's square, and the gradient hardly moves.
    let [loss, norm] = ["loss", "gradient_norm"].map(|key| line[key].as_f64().expect("a number"));
    let fall = loss - points[0]["loss"].as_f64().expect("a number");
    assert!((fall / (0.001 * norm * norm) - 1.0).abs() < 0.2, "{line}");
    assert!(points[0]["change"].as_f64() < Some(0.2 * norm) && line["beta"].as_f64() > Some(0.0), "{line}");
    for (ball, kinds) in [("l2", &["average", "worst", "average", "worst"][..]), ("elementwise", &["worst", "worst"])] {
        let options = format!("sharpness run --samples 60 --radius 0.2,0.05 --draws 4 --steps 5 --ball {ball} --json");
        let line = home.run(&options).ok().json();
        let all = line["sharpness"].as_array().expect("numbers");
        assert_eq!(all.iter().map(|s| &s["kind"]).collect::<Vec<_>>(), kinds, "{ball}");
        assert_eq!((&all[0]["radius"], &all[0]["seed"]), (&0.05.into(), &0.into()));
        let worst: Vec<f64> = all.iter().filter(|s| s["kind"] == "worst").filter_map(|s| s["value"].as_f64()).collect();
        assert!(0.0 < worst[0] && worst[0] < worst[1], "{line}");
    }
    for name in ["descent", "sharpness"] {
        assert!(home.read(&format!("run/{name}.svg")).starts_with(b"<svg"));
        assert!(home.read(&format!("run/{name}.png")).starts_with(b"\x89PNG"));
    }
}

#[test]
fn bad_trajectories_steps_and_radii_are_refused() {
    let home = Home::new();
    home.run("train --model cnn:widths=4 --epochs 1 --keep 1 --out run").ok();
    for (args, words) in [
        ("landscape run --direction pca --trajectory nowhere", ["expected weights along the run", "nowhere"]),
        ("landscape run --direction pca --dims 2", ["trajectory: expected one that spans 2 directions", "found 1"]),
        ("landscape run --flips --dims 2", ["flips: expected one direction", "found two"]),
        ("landscape run --points 3 --radius 0", ["radius: expected a positive number", "found 0"]),
        ("descent run --steps 0.1,-1", ["step: expected a positive number", "found -1"]),
        ("descent run --samples 60 --statistics reestimate:20", ["statistics: expected those of one batch", "20"]),
        ("descent run --batch-norm full", ["batch-norm: expected nothing beside --statistics", "found full"]),
        ("sharpness run --radius -0.1", ["radius: expected a positive number", "found -0.1"]),
        ("sharpness run --radius 0.1 --draws 1", ["draws: expected 2 or more", "found 1"]),
        ("sharpness run --radius 0.1 --steps 0", ["steps: expected 1 or more", "found 0"]),
    ] {
        home.run(args).refused(2, &words);
    }
    for (args, word) in [
        ("train --keep 0 --out other", "--keep"),
        ("sharpness run", "--radius"),
        ("sharpness run --radius many", "many"),
        ("sharpness run --radius 1 --ball cube", "elementwise"),
        ("descent run --statistics all", "found all"),
    ] {
        let done = home.run(args);
        assert!(done.code == Some(2) && done.err.contains(word), "{}", done.err);
    }
}

/// The statistics of all samples, in one batch and layer by layer.
#[test]
fn spectra_with_full_statistics_need_not_hold_all_samples_at_once() {
    let home = Home::new();
    home.run("train --model cnn:widths=4-6 --epochs 1 --out run").ok();
    let mut tops = Vec::new();
    for (micro_batch, size) in [("", 50), ("--micro-batch 20", 20)] {
        let options = "--batch-norm full --samples 50 --top 1 --bottom 0 --probes 0 --json";
        let line = home.run(&format!("spectrum run {options} {micro_batch}")).ok().json();
        let setting = &line["eigenvalues"]["setting"];
        assert_eq!((&setting["batch_norm"], &setting["micro_batch"]), (&"full".into(), &size.into()), "{line}");
        tops.push(line["eigenvalues"]["top"][0]["value"].as_f64().expect("an eigenvalue"));
    }
    assert!((tops[0] - tops[1]).abs() < 1e-3 * tops[0].abs(), "{tops:?}");
}

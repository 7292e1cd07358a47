//! Slices and surfaces from the command line.

use serde_json::Value;

use super::program::Home;

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
        ("--direction up", "expected filter, layer, raw, gradient, eigen or to:PATH, found up"),
        ("--statistics batch:0", "expected frozen, batch[:SIZE] or reestimate[:SIZE], found batch:0"),
        ("--statistics frozen:3", "found frozen:3"),
    ] {
        let done = home.run(&format!("landscape run {options}"));
        assert!(done.code == Some(2) && done.err.contains(word), "{}", done.err);
    }
}

//! `hillshade verify`: a table or JSON, and an end that tells whether all identities hold.

use crate::program::Home;

#[test]
fn a_network_is_verified_and_its_mode_matters() {
    let home = Home::new();
    home.run("train --epochs 1 --limit 64 --batch 32 --model cnn:widths=4-6 --out run").ok();
    let line = home.run("verify run --samples 24 --seed 5 --json").ok().json();
    assert_eq!((&line["passed"], &line["seed"]), (&true.into(), &5.into()), "{line}");
    let setting = &line["setting"];
    assert_eq!((&setting["samples"], &setting["batch_norm"]), (&24.into(), &"full".into()));
    assert_eq!(setting["adapter"], "host (f32 on the CPU)");
    let checks = line["checks"].as_array().expect("checks");
    for check in checks {
        let (residual, bound) = (check["residual"].as_f64(), check["bound"].as_f64());
        match check["status"].as_str() {
            Some("pass") => assert!(residual.is_some() && residual <= bound, "{check}"),
            _ => assert!(check["status"]["skipped"].is_string(), "{check}"),
        }
    }
    let table = home.run("verify run").ok().out;
    assert!(table.starts_with("cnn:widths=4-6 on digits, 64 samples, batch norm full"), "{table}");
    assert_eq!(table.lines().count(), 1 + checks.len(), "{table}");
    assert!(
        ["block1.conv.weight", "H D = −a g", "pass", "skipped: non-smooth ops"].iter().all(|w| table.contains(w)),
        "{table}"
    );

    let eval = home.run("verify run --batch-norm eval");
    assert!(
        eval.out.lines().nth(1).is_some_and(|l| l.starts_with("batch-norm") && l.ends_with("FAIL")),
        "{}",
        eval.out
    );
    eval.refused(1, &["expected every identity to hold", "found 4 of"]);
    let json = home.run("verify run --batch-norm eval --json");
    assert_eq!((json.code, &json.json()["passed"]), (Some(1), &false.into()));
    assert_eq!(home.run("verify run --batch-norm half").code, Some(2));
    home.run("verify run --samples 65").refused(2, &["samples: expected 1 to 64", "found 65"]);
    home.run("verify nowhere").failed(2, &[]);
}

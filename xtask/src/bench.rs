//! Runs the benches, and beside them peers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::report::{Measured, keep, results_since, table};

/// Runs the benches of cargo's arguments and reports.
///
/// # Errors
///
/// What failed.
pub fn bench(command: &mut Command, root: &Path) -> Result<(), String> {
    ours(command, root).map(|_| ())
}

fn ours(command: &mut Command, root: &Path) -> Result<Vec<Measured>, String> {
    let since = std::time::SystemTime::now();
    match command.status() {
        Ok(status) if status.success() => {
            let (all, lines) = results_since(root, since);
            print!("\n{}", table(&all));
            keep(root, &lines).map(|()| all)
        }
        Ok(status) => Err(format!("the benches failed: {status}")),
        Err(e) => Err(format!("{}: {e}", command.get_program().display())),
    }
}

/// Peers under `benches/peers`, a Python program or the folder of a Rust one that was built there, and their arguments.
const PEERS: [(&str, &[&str]); 7] = [
    ("pytorch/ops.py", &[]),
    ("pytorch/resnet20_step.py", &["--batch", "32"]),
    ("pytorch/resnet20_step.py", &["--batch", "128"]),
    ("candle", &[]),
    ("burn", &["flex"]),
    ("burn", &["ndarray"]),
    ("burn", &["wgpu"]),
];

/// The command that runs a peer, and what to do where it does not run.
fn peer(root: &Path, name: &str, arguments: &[&str]) -> (Command, &'static str) {
    let place = root.join("benches/peers").join(name);
    let (mut command, cure) = if name.ends_with(".py") {
        let mut python = Command::new("python3");
        python.arg(place);
        (python, "pip install torch numpy")
    } else {
        let program = format!("target/release/hillshade-peer-{name}{}", std::env::consts::EXE_SUFFIX);
        (Command::new(place.join(program)), "cargo build --release in its folder")
    };
    command.args(arguments).current_dir(root);
    (command, cure)
}

/// The rows that a peer prints, one JSON object a line; of several with one name the fastest.
fn rows(text: &str) -> Vec<(String, String, f64)> {
    let parsed = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut best: BTreeMap<(String, String), f64> = BTreeMap::new();
    for v in parsed {
        let (Some(row), Some(peer), Some(ms)) = (v["row"].as_str(), v["peer"].as_str(), v["ms"].as_f64()) else {
            continue;
        };
        let slot = best.entry((row.into(), peer.into())).or_insert(ms);
        *slot = slot.min(ms);
    }
    best.into_iter().map(|((row, peer), ms)| (row, peer, ms)).collect()
}

/// Runs the benches and every peer that is there, and prints how many times as long each takes as the fastest of ours.
///
/// # Errors
///
/// When our own benches fail; a peer that is not there, or fails, is said and left out.
pub fn peers(command: &mut Command, root: &Path) -> Result<(), String> {
    let mut all = ours(command, root)?;
    for (name, arguments) in PEERS {
        let (mut command, cure) = peer(root, name, arguments);
        match command.stderr(Stdio::null()).output() {
            Ok(output) if output.status.success() => {
                let found = rows(&String::from_utf8_lossy(&output.stdout));
                all.extend(found.into_iter().map(|(row, by, ms)| Measured { row, by, ms, spread: 0.0, facts: None }));
            }
            _ => {
                let arguments = arguments.join(" ");
                println!("left out, since it does not run here: benches/peers/{name} {arguments} ({cure})");
            }
        }
    }
    print!("\n{}", ratios(&all));
    Ok(())
}

/// A table: for each row the milliseconds of everyone, and how many times as long as ours on the host a peer takes.
fn ratios(all: &[Measured]) -> String {
    let names: BTreeSet<&str> = all.iter().map(|m| m.by.as_str()).collect();
    let table: BTreeMap<&str, BTreeMap<&str, f64>> = all.iter().fold(BTreeMap::new(), |mut table, m| {
        table.entry(m.row.as_str()).or_insert_with(BTreeMap::new).insert(m.by.as_str(), m.ms);
        table
    });
    let mut text = format!("{:<48}", "ms (times ours on the host, on the device)");
    text.extend(names.iter().map(|name| format!(" {name:>26}")));
    text.push('\n');
    for (row, times) in table {
        text.push_str(&format!("{row:<48}"));
        for name in &names {
            let cell = match times.get(name) {
                None => "-".into(),
                Some(ms) if ["host", "device"].contains(name) => format!("{ms:.3}"),
                Some(ms) => {
                    let times_ours = |by: &str| times.get(by).map_or("-".into(), |own| format!("{:.2}", ms / own));
                    format!("{ms:.3} ({}, {})", times_ours("host"), times_ours("device"))
                }
            };
            text.push_str(&format!(" {cell:>26}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_rows_are_read_and_the_fastest_kept() {
        let text =
            "warming up\n{\"peer\":\"p\",\"row\":\"a\",\"ms\":3.0}\n{\"peer\":\"p\",\"row\":\"a\",\"ms\":2.0}\n{}";
        assert_eq!(rows(text), [("a".into(), "p".into(), 2.0)]);
    }

    #[test]
    fn peers_are_where_they_are_looked_for() {
        let root = crate::root().expect("tests run in a checkout");
        for (name, arguments) in PEERS {
            let place = root.join("benches/peers").join(name);
            let (command, _) = peer(&root, name, arguments);
            if name.ends_with(".py") {
                assert!(place.is_file() && command.get_args().next() == Some(place.as_os_str()), "{command:?}");
            } else {
                let manifest = std::fs::read_to_string(place.join("Cargo.toml")).expect("a package");
                let program = Path::new(command.get_program());
                let stem = program.file_stem().and_then(|s| s.to_str()).expect("UTF-8");
                assert!(manifest.contains(&format!("name = \"{stem}\"")), "{name}: {stem}");
                assert!(program.starts_with(place.join("target/release")), "{command:?}");
            }
        }
    }

    #[test]
    fn ratios_are_peer_over_ours() {
        let m =
            |row: &str, by: &str, ms: f64| Measured { row: row.into(), by: by.into(), ms, spread: 0.0, facts: None };
        let text = ratios(&[m("a", "host", 2.0), m("a", "p", 5.0), m("b", "p", 1.0)]);
        assert!(text.contains("5.000 (2.50, -)") && text.contains("1.000 (-, -)"), "{text}");
    }
}

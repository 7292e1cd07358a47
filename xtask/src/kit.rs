//! `cargo xtask kit DIR`: what runs on a machine without a toolchain and without a network.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The suite that needs more than a device and the golden values: the program where cargo built it.
const LEFT_OUT: &str = "cli";

/// What runs there, in order; everything that it prints goes to one file.
const SCRIPT: &str = r#"#!/usr/bin/env bash
# Conformance, benches and the comparison with PyTorch where it is installed; all results go to results.txt.
# ADAPTER=… picks an adapter; QUICK=1 leaves the benches out.
cd "$(dirname "$0")" || exit 1
export CARGO_MANIFEST_DIR=$PWD NODEVICE_SELECT=1 HILLSHADE_COMMIT=@commit@
[ -n "${ADAPTER:-}" ] && export HILLSHADE_ADAPTER=$ADAPTER
failed=0
part() {
    echo "== $*"
    "$@" 2>&1 || { failed=1; echo "FAILED: $*"; }
}
{
    date -u
    echo "commit $HILLSHADE_COMMIT"
    part ./hillshade devices
    for suite in tests/bin/*; do
        # These modules of the engine's suite read the sources.
        case $suite in */engine) part "$suite" --skip shaders:: --skip rooms:: ;; *) part "$suite" ;; esac
    done
    if [ -z "${QUICK:-}" ]; then
        part ./hillshade profile resnet20 --batch 32 --first
        part ./hillshade profile resnet20 --batch 128 --trace trace.json
        part ./hillshade profile resnet20 --batch 1024
        part ./hillshade profile resnet20 --batch 32 --what hvp
        for bench in benches/bin/*; do part "$bench" --bench; done
        part ./xtask report .
        if python3 -c 'import torch' 2>/dev/null; then
            for peer in benches/peers/pytorch/resnet20_step.py benches/peers/pytorch/ops.py; do
                part python3 "$peer"
                python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || continue
                part python3 "$peer" --device cuda
                part python3 "$peer" --device cuda --tf32
            done
        fi
    fi
    echo "== done, failures: $failed"
} | tee results.txt
exit "$failed"
"#;

/// An executable that cargo built: what it is, its name, whether it runs tests, where it lies.
#[derive(Debug, PartialEq)]
struct Built {
    kind: String,
    name: String,
    tests: bool,
    path: PathBuf,
}

/// The executables in cargo's messages, one JSON object a line.
fn executables(messages: &str) -> Vec<Built> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    parsed
        .filter_map(|m| {
            let target = &m["target"];
            Some(Built {
                kind: target["kind"][0].as_str()?.into(),
                name: target["name"].as_str()?.into(),
                tests: m["profile"]["test"].as_bool()?,
                path: m["executable"].as_str()?.into(),
            })
        })
        .collect()
}

/// Where an executable goes, if it does.
fn place(built: &Built) -> Option<PathBuf> {
    match built.kind.as_str() {
        "test" if built.name == LEFT_OUT => None,
        "test" => Some(Path::new("tests/bin").join(&built.name)),
        "bench" => Some(Path::new("benches/bin").join(&built.name)),
        // A program's own tests have its name.
        "bin" if !built.tests && ["hillshade", "xtask"].contains(&built.name.as_str()) => {
            Some(built.name.clone().into())
        }
        _ => None,
    }
}

fn build(cargo: &OsString, root: &Path, arguments: &[&str]) -> Result<Vec<Built>, String> {
    let mut command = Command::new(cargo);
    command.args(arguments).arg("--message-format=json-render-diagnostics").current_dir(root);
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| format!("cargo: {e}"))?;
    match output.status.success() {
        true => Ok(executables(&String::from_utf8_lossy(&output.stdout))),
        false => Err(format!("cargo {} failed", arguments.join(" "))),
    }
}

/// Copies a folder with all that is in it.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_all(&entry.path(), &to)?,
            false => fs::copy(entry.path(), to).map(|_| ())?,
        }
    }
    Ok(())
}

/// Builds everything and gathers it in a folder, with the script `run.sh`.
///
/// # Errors
///
/// What could not be built or written.
pub fn gather(cargo: &OsString, root: &Path, folder: &Path) -> Result<(), String> {
    let mut built = build(cargo, root, &["build", "--release", "--package", "hillshade", "--package", "xtask"])?;
    built.extend(build(cargo, root, &["test", "--release", "--no-run", "--package", "hillshade"])?);
    built.extend(build(cargo, root, &["bench", "--no-run", "--package", "hillshade"])?);
    let failed = |e: io::Error| format!("{}: {e}", folder.display());
    for (built, place) in built.iter().filter_map(|b| Some((b, folder.join(place(b)?)))) {
        fs::create_dir_all(place.parent().unwrap_or(folder)).map_err(failed)?;
        fs::copy(&built.path, &place).map_err(failed)?;
        // Without symbols a tenth is left; where there is no strip, the kit is only larger.
        let _ = Command::new("strip").arg(&place).stderr(Stdio::null()).status();
    }
    for part in ["tests/golden", "benches/peers/pytorch"] {
        copy_all(&root.join(part), &folder.join(part)).map_err(failed)?;
    }
    let script = folder.join("run.sh");
    fs::write(&script, SCRIPT.replace("@commit@", &crate::report::commit(root))).map_err(failed)?;
    #[cfg(unix)]
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(failed)?;
    println!("{}: copy it to the other machine, run ./run.sh there, bring back results.txt", folder.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn executables_go_where_the_script_looks() {
        let line = |kind: &str, name: &str, tests: bool| {
            let artifact = json!({
                "reason": "compiler-artifact", "target": {"kind": [kind], "name": name}, "profile": {"test": tests},
                "executable": format!("/t/{name}-1"),
            });
            artifact.to_string()
        };
        let library = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"engine"},"executable":null}"#;
        let bins = [line("bin", "hillshade", false), line("bin", "xtask", false), line("bin", "hillshade", true)];
        let messages =
            [line("test", "engine", true), line("test", "cli", true), line("bench", "steps", true), bins.join("\n")];
        let built = executables(&[&messages.join("\n"), library, "no JSON"].join("\n"));
        let places: Vec<_> = built.iter().map(place).collect();
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(places, [at("tests/bin/engine"), None, at("benches/bin/steps"), at("hillshade"), at("xtask"), None]);
        assert_eq!(built[0].path, Path::new("/t/engine-1"));
    }
}

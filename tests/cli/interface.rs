//! What the program says of itself and of its devices, names in other encodings, and output that nobody takes.

use serde_json::Value;

use crate::program::{Done, Home};

#[test]
fn devices_are_listed_with_what_they_can_do() {
    let home = Home::new();
    let list = home.adapters();
    let text = home.run("devices").ok().out;
    if list.is_empty() {
        println!("no adapter here");
        assert!(text.contains("no adapter"), "{text}");
    }
    for (i, adapter) in list.iter().enumerate() {
        for key in ["name", "backend", "driver", "kind", "tier"] {
            let value = adapter[key].as_str().unwrap_or_else(|| panic!("{key} of {adapter}"));
            assert!(text.contains(value), "{value} in {text}");
        }
        assert!(text.contains(&format!("{i}  {}", adapter["name"].as_str().expect("a name"))), "{text}");
        let limits = adapter["limits"].as_object().expect("limits");
        assert!(!limits.is_empty() && limits.values().all(|v| v.as_u64().is_some_and(|v| v > 0)), "{limits:?}");
        assert!(limits.keys().all(|name| text.contains(name)));
        assert!(adapter["features"].as_array().is_some_and(|f| f.iter().all(Value::is_string)));
    }
}

#[test]
fn help_and_version_are_there() {
    let home = Home::new();
    let help = home.run("train --help").ok().out;
    assert!(["--data", "--model", "--resume", "--adapter"].iter().all(|option| help.contains(option)), "{help}");
    assert!(home.run("--version").ok().out.starts_with("hillshade "));
    assert_eq!(home.run("").code, Some(2));
}

/// A folder's name need not be UTF-8 where the system does not ask for it.
#[cfg(target_os = "linux")]
#[test]
fn names_in_other_encodings() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let home = Home::new();
    let name = OsStr::from_bytes(b"n\xe4me");
    let output = home.command("train --epochs 1 --json --out").arg(name).output().expect("the program starts");
    let line = Done::new("train", output).ok().json();
    assert_eq!(line["run"], "n\u{fffd}me");
    let output = home.command("eval").arg(name).output().expect("the program starts");
    Done::new("eval", output).ok();
}

/// A reader who leaves early is no failure; a result that cannot be written is one.
#[cfg(target_os = "linux")]
#[test]
fn output_that_nobody_takes() {
    use std::{fs::File, process::Stdio};

    let home = Home::new();
    for args in ["devices", "devices --json", "train --plan", "train --epochs 1 --json"] {
        let mut child =
            home.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        drop(child.stdout.take());
        Done::new(args, child.wait_with_output().expect("an end")).ok();
        let full = File::options().write(true).open("/dev/full").expect("a device that is always full");
        let output = home.command(args).stdout(full).output().expect("the program starts");
        Done::new(args, output).failed(1, &["standard output", "No space left"]);
    }
    let mut command = home.command("train --epochs 2 --out run");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    drop(child.stderr.take());
    assert!(child.wait().expect("an end").success());
    assert_eq!(home.metrics("run").len(), 2);
}

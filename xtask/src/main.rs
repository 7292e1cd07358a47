//! What a newcomer types: `cargo xtask run`, `cargo xtask test`, `cargo xtask bench`; and `cargo xtask kit` for machines
//! without a toolchain.
//!
//! Each first makes sure that kernels have something to run on. On Linux that means a Vulkan loader and a driver; where
//! there is none, Mesa's software driver is installed if that needs no password, and otherwise the command is printed.

mod bench;
mod kit;
mod report;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::SystemTime;

const HELP: &str = "\
cargo xtask run [ARGS…]    build Hillshade and train; ARGS as in `hillshade train ARGS`, or any other
                           command of the program: `cargo xtask run devices`, `cargo xtask run help`
cargo xtask test [ARGS…]   the tests; ARGS go to `cargo test`
cargo xtask test --all     the same, with every case in every class of kernels: much longer
cargo xtask test SUITE     one suite: engine, models, lab, cli, or doc for the programs in the documentation
cargo xtask bench [ARGS…]  the benchmarks, one table of their medians, rates and shares of the roofline, and a
                           line of JSON each in target/bench.jsonl; ARGS go to `cargo bench`
cargo xtask report [DIR]   that table and those lines again, of what was measured last, here or in DIR's folder `target`
cargo xtask peers [ARGS…]  `bench --bench steps`, then PyTorch where it is installed, candle and burn where they are built
                           (benches/peers/README.md), and one table of ratios
cargo xtask kit DIR        tests, benches and the program, built and gathered in DIR with a script that runs them all:
                           for a machine without a toolchain and without a network
cargo xtask help           this text

On Debian and Ubuntu, all but the kit install Mesa's Vulkan drivers if the machine has none.
";

/// Debian's and Ubuntu's packages for the loader and the drivers, llvmpipe's among them.
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// Tests by what they are of.
const SUITES: [&str; 5] = ["engine", "models", "lab", "cli", "doc"];

/// Options that `hillshade` itself takes; any other after `run`, or nothing, is meant for `hillshade train`.
const PROGRAM_OPTIONS: [&str; 3] = ["--help", "-h", "--version"];

/// Variables that name the drivers to use, in place of the folders.
const DRIVER_VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let task = args.next().and_then(|word| word.into_string().ok()).unwrap_or_else(|| "help".into());
    let args: Vec<OsString> = args.collect();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let Some(root) = root() else {
        eprintln!("cargo xtask: expected to be in a checkout of Hillshade, found none above the current folder");
        return ExitCode::from(2);
    };
    if task == "kit" {
        let gathered = match args.as_slice() {
            [folder] => kit::gather(&cargo, &root, Path::new(folder)),
            _ => Err(format!("cargo xtask kit: expected one folder, found {} arguments", args.len())),
        };
        return gathered.map_or_else(
            |what| {
                eprintln!("{what}");
                ExitCode::from(2)
            },
            |()| ExitCode::SUCCESS,
        );
    }
    if task == "report" {
        let root = args.first().map_or(root, PathBuf::from);
        let (all, lines) = report::results_since(&root, SystemTime::UNIX_EPOCH);
        println!("{}\n{}", report::table(&all), lines.join("\n"));
        return ExitCode::SUCCESS;
    }
    let all = task == "test" && args.first().is_some_and(|word| word == "--all");
    let Some(cargo_args) = cargo_args(&task, args) else {
        if ["help", "--help", "-h"].contains(&task.as_str()) {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        eprint!("cargo xtask {task}: there is no such task.\n\n{HELP}");
        return ExitCode::from(2);
    };
    if let Err(what) = prepare_vulkan() {
        eprintln!("{what}");
        if task == "test" {
            eprintln!("Without one no kernel can be tested.");
            return ExitCode::FAILURE;
        }
        eprintln!("Going on without one: Hillshade computes on the CPU.");
    }
    let mut command = Command::new(cargo);
    // Without a desktop session Mesa's device-select layer, which looks for one, complains at every start.
    if env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("NODEVICE_SELECT", "1");
    }
    if all {
        command.env("HILLSHADE_TEST_ALL", "1");
    }
    command.args(cargo_args).current_dir(&root);
    let run = match task.as_str() {
        "bench" => bench::bench,
        "peers" => bench::peers,
        _ => return hand_over(&mut command),
    };
    match run(&mut command, &root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout: where cargo says that it runs this, or above the current folder. Never where this was built, which may have
/// been renamed since.
fn root() -> Option<PathBuf> {
    let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = env::current_dir().ok();
    let above = |start: PathBuf| start.ancestors().map(Path::to_path_buf).collect::<Vec<_>>();
    told.into_iter().chain(here).flat_map(above).find(|folder| folder.join("xtask/Cargo.toml").is_file())
}

/// What to ask of cargo for a task, or `None` if there is no such task.
fn cargo_args(task: &str, args: Vec<OsString>) -> Option<Vec<OsString>> {
    let mut args = args;
    let suite =
        (task == "test").then(|| args.first().and_then(|word| SUITES.iter().find(|suite| word == *suite))).flatten();
    if suite.is_some() || (task == "test" && args.first().is_some_and(|word| word == "--all")) {
        args.remove(0);
    }
    let mut start = match task {
        "test" if suite == Some(&"doc") => vec!["test", "--release", "--workspace", "--doc"],
        "test" if suite.is_some() => vec!["test", "--release", "--test", suite.unwrap_or(&"")],
        "run" => vec!["run", "--release", "--package", "hillshade", "--bin", "hillshade", "--"],
        "test" => vec!["test", "--release", "--workspace"],
        "bench" => vec!["bench"],
        "peers" => vec!["bench", "--bench", "steps"],
        _ => return None,
    };
    let options = args.first().and_then(|word| word.to_str()).is_none_or(|word| word.starts_with('-'));
    if task == "run" && options && !args.first().is_some_and(|word| PROGRAM_OPTIONS.iter().any(|known| word == known)) {
        start.push("train");
    }
    Some(start.into_iter().map(OsString::from).chain(args).collect())
}

/// Runs a command and passes its exit code on; on Unix in place of this process, so that signals reach it alone.
fn hand_over(command: &mut Command) -> ExitCode {
    #[cfg(unix)]
    let outcome: std::io::Result<std::process::ExitStatus> = Err(std::os::unix::process::CommandExt::exec(command));
    #[cfg(not(unix))]
    let outcome = command.status();
    match outcome {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("{}: {error}", command.get_program().display());
            ExitCode::FAILURE
        }
    }
}

/// Makes sure that there is a Vulkan loader and a driver, installing them where that needs no password.
///
/// # Errors
///
/// What is missing, and what to type.
fn prepare_vulkan() -> Result<(), String> {
    if !cfg!(target_os = "linux") || (has_loader() && has_driver()?) {
        return Ok(());
    }
    let packages = PACKAGES.join(" ");
    let by_hand = format!("sudo apt-get update && sudo apt-get install --no-install-recommends {packages}");
    if !succeeds("apt-get", &["--version"]) {
        return Err("There is no Vulkan driver: install your system's packages of a Vulkan driver and loader.".into());
    }
    let prefix: &[&str] = if is_root() {
        &[]
    } else if succeeds("sudo", &["-n", "true"]) {
        &["sudo", "-n"]
    } else {
        return Err(format!("There is no Vulkan driver. To install one: {by_hand}"));
    };
    println!("There is no Vulkan driver: installing {packages} with apt-get.");
    // A package list that cannot be refreshed in full is no reason to stop: the next command tells.
    apt_get(prefix, &["update"]);
    let installed = apt_get(prefix, &[&["install", "-y", "--no-install-recommends"][..], &PACKAGES].concat());
    if installed && has_loader() && has_driver()? {
        Ok(())
    } else {
        Err(format!("There is still no Vulkan driver. To install one by hand: {by_hand}"))
    }
}

/// Runs apt-get without questions; whether it succeeded.
fn apt_get(prefix: &[&str], args: &[&str]) -> bool {
    let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"];
    let words = [prefix, &quiet, args].concat();
    Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether a command can be started and succeeds; its output is dropped.
fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// Whether this process may install packages without `sudo`.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether `libvulkan.so.1` is in a usual library folder or in the linker's cache.
fn has_loader() -> bool {
    let mut folders: Vec<PathBuf> = env::split_paths(&env::var_os("LD_LIBRARY_PATH").unwrap_or_default()).collect();
    folders.push(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH).into());
    folders.extend(["/usr/lib64", "/usr/lib", "/usr/local/lib", "/run/opengl-driver/lib"].map(PathBuf::from));
    // /sbin is not in every user's PATH.
    folders.iter().any(|folder| folder.join("libvulkan.so.1").exists())
        || ["ldconfig", "/sbin/ldconfig"].iter().any(|ldconfig| {
            let listed = Command::new(ldconfig).arg("-p").output();
            listed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("libvulkan.so.1 "))
        })
}

/// Whether the Vulkan loader would find the description of a driver.
///
/// # Errors
///
/// A variable of [`DRIVER_VARIABLES`] is set and names none: then no package helps.
fn has_driver() -> Result<bool, String> {
    if let Some((name, value)) = DRIVER_VARIABLES.iter().find_map(|name| Some((name, env::var_os(name)?))) {
        return if env::split_paths(&value).any(|path| path.is_file() || holds_json(&path)) {
            Ok(true)
        } else {
            Err(format!("{name} is set to {}, where there is no Vulkan driver: unset or correct it.", value.display()))
        };
    }
    Ok(driver_folders(|name| env::var_os(name)).iter().any(|folder| holds_json(folder)))
}

/// The folders that the Vulkan loader searches for drivers, given the environment.
fn driver_folders(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> =
        ["/usr/share", "/etc", "/usr/local/share", "/usr/local/etc", "/run/opengl-driver/share"]
            .map(PathBuf::from)
            .to_vec();
    for name in ["XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_HOME", "XDG_DATA_DIRS"] {
        roots.extend(env::split_paths(&variable(name).unwrap_or_default()));
    }
    if let Some(home) = variable("HOME").map(PathBuf::from) {
        roots.extend([home.join(".config"), home.join(".local/share")]);
    }
    roots.retain(|root| root.is_absolute());
    roots.into_iter().map(|root| root.join("vulkan/icd.d")).collect()
}

/// Whether a folder exists and holds a `.json` file.
fn holds_json(folder: &Path) -> bool {
    let is_json = |path: PathBuf| path.extension().is_some_and(|extension| extension == "json");
    folder.read_dir().is_ok_and(|entries| entries.flatten().any(|entry| is_json(entry.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(task: &str, args: &[&str]) -> Option<String> {
        let args = cargo_args(task, args.iter().map(OsString::from).collect())?;
        Some(args.join(" ".as_ref()).into_string().expect("UTF-8"))
    }

    #[test]
    fn run_means_train_unless_told_otherwise() {
        let start = "run --release --package hillshade --bin hillshade --";
        for (args, then) in [
            (vec![], "train"),
            (vec!["--epochs", "3"], "train --epochs 3"),
            (vec!["--seed", "1", "devices"], "train --seed 1 devices"),
            (vec!["train", "--help"], "train --help"),
            (vec!["devices"], "devices"),
            (vec!["eval", "net"], "eval net"),
            (vec!["spectrum", "runs/1", "--top", "3"], "spectrum runs/1 --top 3"),
            (vec!["--version"], "--version"),
        ] {
            assert_eq!(asked("run", &args), Some(format!("{start} {then}")));
        }
    }

    #[test]
    fn test_and_bench_pass_their_arguments_on() {
        assert_eq!(asked("test", &["gelu", "--", "-q"]).as_deref(), Some("test --release --workspace gelu -- -q"));
        assert_eq!(asked("test", &["--all"]).as_deref(), Some("test --release --workspace"));
        assert_eq!(asked("test", &["lab", "traces"]).as_deref(), Some("test --release --test lab traces"));
        assert_eq!(asked("test", &["doc"]).as_deref(), Some("test --release --workspace --doc"));
        assert_eq!(asked("bench", &["train"]).as_deref(), Some("bench train"));
        assert_eq!(asked("help", &[]), None);
        assert_eq!(asked("tset", &[]), None);
    }

    #[test]
    fn drivers_are_looked_for_in_the_loaders_folders() {
        let folders = driver_folders(|name| match name {
            "XDG_DATA_DIRS" => Some("/opt/share:relative:".into()),
            "HOME" => Some("/home/ada".into()),
            _ => None,
        });
        for root in ["/usr/share", "/etc", "/usr/local/share", "/usr/local/etc", "/opt/share", "/home/ada/.local/share"]
        {
            assert!(folders.contains(&Path::new(root).join("vulkan/icd.d")), "{root}");
        }
        assert!(folders.iter().all(|folder| folder.is_absolute()));
    }
}

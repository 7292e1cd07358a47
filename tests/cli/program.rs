//! The program at work in a folder of its own.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A temporary folder, in which commands run and to which their paths are relative.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Self {
        Home(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `hillshade` with arguments parted by spaces, on the host unless they name an adapter.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hillshade"));
        command.args(args.split_whitespace()).current_dir(self.0.path());
        command.env_remove("HILLSHADE_DATA").env("HILLSHADE_ADAPTER", "host");
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &str) -> Done {
        Done::new(args, self.command(args).output().expect("the program starts"))
    }

    /// The adapters that `devices --json` lists.
    pub fn adapters(&self) -> Vec<Value> {
        self.run("devices --json").ok().json().as_array().cloned().expect("an array")
    }

    /// Begins a command; its standard error is kept for the end.
    pub fn begin(&self, args: &str) -> Running {
        let mut command = self.command(args);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        Running { what: args.into(), child: Some(child) }
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    pub fn checkpoint(&self, run: &str) -> Vec<u8> {
        self.read(&checkpoint(run))
    }

    /// The lines of a run's metrics, the first of which may be missing yet.
    pub fn lines(&self, run: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(&format!("{run}/metrics.jsonl"))).unwrap_or_default();
        text.lines().map(String::from).collect()
    }

    /// A run's metrics but for what a clock measured.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        let parse = |line: &String| {
            let mut line: Value = serde_json::from_str(line).expect("a line of JSON");
            let units = if line["tokens_per_second"].is_null() { "images_per_second" } else { "tokens_per_second" };
            for clock in ["seconds", units] {
                let time = line.as_object_mut().and_then(|o| o.remove(clock)).and_then(|v| v.as_f64());
                assert!(time.is_some_and(|t| t >= 0.0), "{clock}: {time:?}");
            }
            line
        };
        self.lines(run).iter().map(parse).collect()
    }

    /// Two runs are the same, bit for bit.
    pub fn assert_same(&self, run: &str, other: &str) {
        assert_eq!(self.metrics(run), self.metrics(other), "metrics of {run} and {other}");
        assert!(self.checkpoint(run) == self.checkpoint(other), "checkpoints of {run} and {other} differ");
    }

    /// The names and contents of a folder's files.
    pub fn files(&self, folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.path(folder)).expect("a folder");
        let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
        paths.sort();
        assert!(!paths.is_empty());
        paths.into_iter().map(|p| (p.clone(), fs::read(p).expect("a file"))).collect()
    }
}

/// Where a run's checkpoint is.
pub fn checkpoint(run: &str) -> String {
    format!("{run}/checkpoint.safetensors")
}

/// A number of a JSON object.
pub fn number(object: &Value, key: &str) -> f64 {
    object[key].as_f64().unwrap_or_else(|| panic!("{key} in {object}"))
}

/// What a command that has ended left behind.
pub struct Done {
    pub what: String,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    /// No output ever holds a panic or what the layers underneath say among themselves.
    pub fn new(what: &str, output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let (out, err) = (text(output.stdout), text(output.stderr));
        for word in ["panicked", "RUST_BACKTRACE", "stack backtrace", "wgpu", "Validation"] {
            assert!(!out.contains(word) && !err.contains(word), "{what}: {word} in\n{out}{err}");
        }
        // Paths are said as the system writes them.
        let err = if cfg!(windows) { err.replace('\\', "/") } else { err };
        Done { what: what.into(), code: output.status.code(), out, err }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}: {}", self.what, self.err);
        self
    }

    /// The last line of the output, one JSON object.
    #[track_caller]
    pub fn json(&self) -> Value {
        let last = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{}: {e} in {last:?}", self.what))
    }

    /// It ended with this code and one line that holds these words.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.err.lines().count(), 1, "{}: {}", self.what, self.err);
        self.failed(code, words);
    }

    /// It ended with this code, and the last line holds these words.
    #[track_caller]
    pub fn failed(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}: {}", self.what, self.err);
        let last = self.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("hillshade: "), "{}: {last}", self.what);
        for word in words {
            assert!(last.contains(word), "{}: no {word:?} in: {last}", self.what);
        }
    }
}

/// A command at work; ends with the test, whatever becomes of it.
pub struct Running {
    what: String,
    child: Option<Child>,
}

impl Running {
    /// Sends a signal by name: `INT`, `KILL`.
    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().map(Child::id).expect("a child").to_string();
        // A process that has just ended is none of the test's errors.
        let _ = Command::new("kill").args([&format!("-{name}"), &pid]).stderr(Stdio::null()).status();
    }

    pub fn is_over(&mut self) -> bool {
        self.child.as_mut().is_none_or(|c| c.try_wait().expect("a child to ask").is_some())
    }

    /// Waits until the condition holds or the command is over.
    pub fn until(&mut self, mut condition: impl FnMut() -> bool) {
        let began = Instant::now();
        while !self.is_over() && !condition() {
            assert!(began.elapsed() < Duration::from_secs(60), "{}: nothing happens", self.what);
            sleep(Duration::from_millis(2));
        }
    }

    pub fn end(mut self) -> Done {
        let child = self.child.take().expect("a child");
        Done::new(&self.what, child.wait_with_output().expect("an end"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether this user may write into a folder in spite of its mode, as root may.
#[cfg(unix)]
pub fn may_write(folder: &std::path::Path) -> bool {
    fs::write(folder.join("probe"), "").is_ok()
}

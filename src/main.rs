//! The `hillshade` program.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_loader();
    cli::run()
}

/// Without a desktop session Mesa's device-select layer, which looks for one, writes to standard error at every start.
/// Adapters are ranked here anyway.
fn quiet_loader() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the process has one thread yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

//! Which executor a command runs on.

use hillshade::engine::{Error, Gpu, Options, Session, adapters, block_on};

use super::{Result, say};

/// What takes an adapter's place on the command line.
#[derive(clap::Args)]
pub struct Choice {
    /// Adapter to run on: part of its name, or its number in `hillshade devices`; `host` for the CPU, `twin` for the CPU
    /// in f64. By default the best GPU, or the host where there is none but in software.
    #[arg(long, env = "HILLSHADE_ADAPTER")]
    adapter: Option<String>,
}

impl Choice {
    /// Opens what was chosen, and says on standard error what was taken where nothing was.
    pub fn open(&self) -> Result<Session> {
        match self.adapter.as_deref().filter(|a| !a.is_empty()) {
            Some("host") => Ok(Session::host()),
            Some("twin") => Ok(Session::twin()),
            Some(name) => device(Some(name.into())),
            None => {
                let list = block_on(adapters());
                match list.first() {
                    Some(best) if !best.is_software() => device(None),
                    Some(software) => {
                        say(format_args!(
                            "no GPU: {} computes in software, so this runs on the host; --adapter overrides",
                            software.name
                        ));
                        Ok(Session::host())
                    }
                    None => {
                        say("no adapter: running on the host");
                        Ok(Session::host())
                    }
                }
            }
        }
    }
}

fn device(adapter: Option<String>) -> Result<Session> {
    let gpu = block_on(Gpu::open_with(Options { adapter, ..Options::default() })).map_err(|e| match e {
        Error::NoAdapter { wanted, available } => {
            Error::NoAdapter { wanted, available: format!("{available}; and host, twin on the CPU") }
        }
        e => e,
    })?;
    Ok(Session::device(gpu))
}

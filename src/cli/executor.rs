//! Which executor a command runs on.

use hillshade::engine::{Error, GemmVariant, Gpu, Options, Session, adapters, block_on};

use super::{Result, say};

/// What takes an adapter's place on the command line.
#[derive(clap::Args)]
pub struct Choice {
    /// Adapter to run on: part of its name, or its number in `hillshade devices`; `host` for the CPU, `reference` for
    /// the CPU in f64. By default the best GPU, or the host where there is none but in software.
    #[arg(long, env = "HILLSHADE_ADAPTER")]
    adapter: Option<String>,

    /// GEMM variant of all matrix products and convolutions on a device: naive, shared, registers, buffered, subgroups,
    /// vector, or f16 for operands rounded to 16-bit floats, multiplied in the adapter's matrix units. What the adapter
    /// cannot run is replaced, with a message.
    #[arg(long, value_parser = variant)]
    kernels: Option<GemmVariant>,
}

fn variant(name: &str) -> std::result::Result<GemmVariant, String> {
    let all = GemmVariant::all();
    let expected = || format!("expected one of {}", all.map(|v| v.to_string()).join(", "));
    all.into_iter().find(|v| v.to_string() == name).ok_or_else(expected)
}

impl Choice {
    /// Opens what was chosen, and says on standard error what was taken where nothing was.
    pub fn open(&self) -> Result<Session> {
        let device = |adapter| device(adapter, self.kernels);
        match self.adapter.as_deref().filter(|a| !a.is_empty()) {
            Some("host") => Ok(self.on_cpu(Session::host())),
            Some("reference" | "twin") => Ok(self.on_cpu(Session::reference())),
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
                        Ok(self.on_cpu(Session::host()))
                    }
                    None => {
                        say("no adapter: running on the host");
                        Ok(self.on_cpu(Session::host()))
                    }
                }
            }
        }
    }

    fn on_cpu(&self, session: Session) -> Session {
        if self.kernels.is_some() {
            say("--kernels is for devices: the CPU has its own GEMM");
        }
        session
    }
}

fn device(adapter: Option<String>, products: Option<GemmVariant>) -> Result<Session> {
    let gpu = block_on(Gpu::open_with(Options { adapter, products, ..Options::default() })).map_err(|e| match e {
        Error::NoAdapter { wanted, available } => {
            Error::NoAdapter { wanted, available: format!("{available}; and host, reference on the CPU") }
        }
        e => e,
    })?;
    if gpu.products().is_none() && products.is_some() {
        say(&gpu);
    }
    Ok(Session::device(gpu))
}

//! `hillshade devices`.

use hillshade::engine::{adapters, block_on};
use serde_json::json;

use super::Result;

#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let list = block_on(adapters());
    if options.json {
        let rows: Vec<_> = list
            .iter()
            .map(|a| {
                let limits: serde_json::Map<_, _> = a.limits.iter().map(|&(k, v)| (k.into(), v.into())).collect();
                json!({
                    "name": a.name, "backend": a.backend, "driver": a.driver, "kind": a.kind,
                    "tier": a.tier.to_string(), "limits": limits, "features": a.features,
                })
            })
            .collect();
        println!("{}", serde_json::Value::Array(rows));
        return Ok(());
    }
    if list.is_empty() {
        println!("no adapter; programs run on the host, the CPU");
    }
    for (i, a) in list.iter().enumerate() {
        println!(
            "{i}  {}\n   backend   {}\n   kind      {}\n   driver    {}\n   tier      {}",
            a.name, a.backend, a.kind, a.driver, a.tier
        );
        for (name, value) in &a.limits {
            println!("   {name:<27} {value}");
        }
        println!("   features  {}", a.features.join(" "));
    }
    Ok(())
}

//! `hillshade devices`.

use hillshade::engine::{adapters, block_on};
use serde_json::json;

use super::{Result, print};

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
                    "tier": a.tier.to_string(), "subgroup": a.subgroup, "limits": limits, "features": a.features,
                    "cooperative": a.cooperative.map(|c| json!({"side": c.side, "subgroup": c.subgroup})),
                })
            })
            .collect();
        return print(serde_json::Value::Array(rows));
    }
    if list.is_empty() {
        return print("no adapter; programs run on the host, the CPU");
    }
    for (i, a) in list.iter().enumerate() {
        print(format_args!(
            "{i}  {}\n   backend   {}\n   kind      {}\n   driver    {}\n   tier      {}",
            a.name, a.backend, a.kind, a.driver, a.tier
        ))?;
        if a.subgroup > 0 {
            print(format_args!("   subgroups of {} invocations or more", a.subgroup))?;
        }
        if let Some(c) = a.cooperative {
            print(format_args!("   matrices  {0}×{0}×{0}, f16 to f32, by subgroups of {1}", c.side, c.subgroup))?;
        }
        for (name, value) in &a.limits {
            print(format_args!("   {name:<27} {value}"))?;
        }
        print(format_args!("   features  {}", a.features.join(" ")))?;
    }
    Ok(())
}

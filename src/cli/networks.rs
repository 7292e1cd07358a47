//! `hillshade models`.

use std::{path::PathBuf, str::FromStr};

use hillshade::{
    engine::{Graph, Plan, Target},
    models::{Builder, Error, Family, Mode, Network, Takes, Task},
};
use serde_json::{Value, json};

use super::{Result, print};

#[derive(clap::Args)]
pub struct Options {
    /// Network with its options, as in `hillshade train`; without one, all networks are listed.
    spec: Option<String>,
    /// Data that it is to take, as in `hillshade train`; by default images as those that it is from.
    #[arg(long, requires = "spec", conflicts_with_all = ["size", "classes"])]
    data: Option<String>,
    /// Folder of the data.
    #[arg(long, requires = "data")]
    data_dir: Option<PathBuf>,
    /// Height, width and channels of images; for a language model the tokens of a text.
    #[arg(long, value_name = "HxWxC", requires = "spec", value_parser = Size::from_str)]
    size: Option<Size>,
    /// Classes; for a language model the vocabulary.
    #[arg(long, requires = "spec")]
    classes: Option<usize>,
    /// Print one JSON array or object.
    #[arg(long)]
    json: bool,
}

/// `32x32x3`.
#[derive(Clone)]
struct Size(Vec<usize>);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let extents: Option<Vec<usize>> = text.split('x').map(|n| n.parse().ok().filter(|&n| n > 0)).collect();
        let size = extents.filter(|s| s.len() == 3 || s.len() == 1);
        size.map(Size).ok_or_else(|| format!("expected HxWxC, as 32x32x3, or a number of tokens, found {text}"))
    }
}

pub fn run(options: &Options) -> Result<()> {
    match &options.spec {
        Some(spec) => show(options, &Network::parse(spec)?, spec),
        None => list(options.json),
    }
}

fn takes(family: &Family) -> &'static str {
    match family.takes {
        Takes::Images => "images",
        Takes::Tokens => "tokens",
    }
}

/// The table of networks.
fn list(as_json: bool) -> Result<()> {
    if as_json {
        let row = |f: &Family| {
            let setting = |s: &hillshade::models::Setting| json!({"key": s.key, "default": s.default, "values": s.values, "about": s.about});
            let settings: Vec<Value> = (f.settings)().iter().map(setting).collect();
            json!({"names": f.names, "about": f.about, "source": f.source, "takes": takes(f), "options": settings})
        };
        return print(Value::Array(Network::families().iter().map(row).collect()));
    }
    for family in Network::families() {
        print(format_args!("{}\n    {}\n    {}", family.names.join(", "), family.about, family.source))?;
        for s in (family.settings)() {
            print(format_args!("    {:<22} {}: {}", format!("{}={}", s.key, s.default), s.about, s.values))?;
        }
    }
    Ok(())
}

/// The layers of a network for one input.
fn show(options: &Options, network: &Network, spec: &str) -> Result<()> {
    let family = network.family();
    let (size, classes) = match &options.data {
        Some(name) => {
            let mut task = Task::open(name, options.data_dir.as_deref(), None)?;
            task.suit(network)?;
            (task.input(1).1[1..].to_vec(), task.classes())
        }
        None => {
            let size = options.size.as_ref().map_or(family.size.to_vec(), |s| s.0.clone());
            (size, options.classes.unwrap_or(family.classes))
        }
    };
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Eval);
    let x = match (network.takes(), size[..].len()) {
        (Takes::Images, 3) => g.input("images", &[&[1], &size[..]].concat()),
        (Takes::Images, _) => {
            let (expected, found) = ("HxWxC, as 32x32x3, for images".into(), size[0].to_string());
            return Err(Error::Argument { what: "size".into(), expected, found }.into());
        }
        (Takes::Tokens, _) => g.input_u32("tokens", &[1, size[0]]),
    };
    let y = network.build(&mut b, x, classes)?;
    let plan = Plan::new(Target::GPU, &g, &[y])?;
    let parameters: usize = b.trained().map(|p| p.shape.iter().product::<usize>()).sum();
    let states: usize = b.params.iter().map(|p| p.shape.iter().product::<usize>()).sum();
    let of = |layer: &str| {
        let own = move |name: &str| name.strip_prefix(layer).and_then(|n| n.strip_prefix('.')).map(String::from);
        b.params.iter().filter_map(move |p| Some((own(&p.name)?, p.shape.clone()))).collect::<Vec<_>>()
    };
    if options.json {
        let layer = |l: &hillshade::models::Layer| {
            let parameters: serde_json::Map<_, _> = of(&l.name).into_iter().map(|(n, s)| (n, json!(s))).collect();
            json!({"name": l.name, "output": l.shape, "flops": l.flops, "parameters": parameters})
        };
        return print(json!({
            "model": network.to_string(), "input": size, "classes": classes, "parameters": parameters,
            "parameter_bytes": 4 * parameters, "state_bytes": 4 * states, "flops": plan.flops(),
            "activation_bytes": plan.slot_bytes(), "layers": b.layers.iter().map(layer).collect::<Vec<_>>(),
        }));
    }
    let wide = b.layers.iter().map(|l| l.name.len()).max().unwrap_or(0);
    for layer in &b.layers {
        let parameters: Vec<String> = of(&layer.name).iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
        let (shape, flops) = (format!("{:?}", layer.shape), layer.flops as f64 / 1e6);
        print(format_args!("{:wide$}  {shape:18}  {flops:10.3} MFLOP  {}", layer.name, parameters.join("  ")))?;
    }
    let mega = |bytes: f64| bytes / 1e6;
    print(format_args!(
        "{spec}: {parameters} parameters, {:.2} MB; a forward pass of one input has {:.3} MFLOP and {:.2} MB of activations",
        mega(4.0 * parameters as f64),
        mega(plan.flops() as f64),
        mega(plan.slot_bytes() as f64),
    ))
}

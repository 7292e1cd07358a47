//! `hillshade export`.

use std::path::PathBuf;

use hillshade::{
    engine::Graph,
    models::{Builder, Mode, Network, Param, Task, export},
};

use super::{Result, folder, print, weights};

#[derive(clap::Args)]
pub struct Options {
    /// Folder of the run.
    run: PathBuf,
    /// File that is written, usually *.safetensors.
    file: PathBuf,
    #[command(flatten)]
    weights: weights::Choice,
    /// Folder of the data, where it has moved.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// The parameters of a network on data that suit it.
pub fn params(network: &Network, task: &Task) -> Result<Vec<Param>> {
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Eval);
    let [x, _] = task.inputs(&g, 1);
    network.build(&mut b, x, task.classes())?;
    Ok(b.params)
}

pub fn run(options: &Options) -> Result<()> {
    let checkpoint = folder::load(&options.run, options.data_dir.as_deref())?;
    let config = &checkpoint.config;
    let mut task = Task::open(&config.data, config.folder.as_deref(), config.tokenizer.as_ref())?;
    let network = Network::parse(&config.model)?;
    task.suit(&network)?;
    let params = params(&network, &task)?;
    let weights = checkpoint.weights(options.weights.wanted())?;
    export(&options.file, &params, &checkpoint.states, weights.prefix())?;
    print(format_args!("{} tensors of {} in {}", params.len(), config.model, options.file.display()))
}

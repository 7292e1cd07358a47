//! `hillshade eval`.

use std::path::PathBuf;

use hillshade::{
    engine::block_on,
    models::{Trainer, data},
};
use serde_json::json;

use super::{Result, executor, folder, print};

#[derive(clap::Args)]
pub struct Options {
    /// Folder of the run.
    run: PathBuf,
    /// Folder of the data, where it has moved.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    executor: executor::Choice,
}

pub fn run(options: &Options) -> Result<()> {
    // A run may be scored while it goes on: checkpoints are replaced whole, and nothing is written.
    let path = folder::checkpoint_of(&options.run)?;
    let checkpoint = folder::load(&options.run, options.data_dir.as_deref())?;
    let config = &checkpoint.config;
    let dataset = data::open(&config.data, config.folder.as_deref())?;
    let images = dataset.test.len();
    let mut trainer = Trainer::resume(&checkpoint, &path, dataset, options.executor.open()?)?;
    let score = block_on(trainer.test())?;
    if options.json {
        let line = json!({
            "model": config.model, "data": config.data, "loss": config.loss.name(), "adapter": trainer.session().executor(),
            "epochs": checkpoint.progress.epoch, "test_images": images, "test_loss": score.loss,
            "test_accuracy": score.accuracy,
        });
        return print(line);
    }
    print(format_args!(
        "{} on {}: test loss {:.4} ({}), test accuracy {:.2} % of {images} images",
        config.model,
        config.data,
        score.loss,
        config.loss.label(),
        100.0 * score.accuracy
    ))
}

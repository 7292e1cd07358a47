//! `hillshade eval`.

use std::path::PathBuf;

use hillshade::{
    engine::block_on,
    models::{Checkpoint, Trainer, data},
};
use serde_json::json;

use super::{Result, executor, folder::Folder};

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
    let path = Folder::open(&options.run)?.checkpoint();
    let checkpoint = Checkpoint::load(&path)?;
    let config = &checkpoint.config;
    let folder = options.data_dir.as_deref().or(config.folder.as_deref());
    let dataset = data::open(&config.data, folder)?;
    let images = dataset.test.len();
    let mut trainer = Trainer::resume(&checkpoint, &path, dataset, options.executor.open()?)?;
    let score = block_on(trainer.test())?;
    if options.json {
        let line = json!({
            "model": config.model, "data": config.data, "adapter": trainer.session().executor(),
            "epochs": checkpoint.progress.epoch, "test_images": images, "test_loss": score.loss,
            "test_accuracy": score.accuracy,
        });
        println!("{line}");
    } else {
        println!(
            "{} on {}: test loss {:.4}, test accuracy {:.2} % of {images} images",
            config.model,
            config.data,
            score.loss,
            100.0 * score.accuracy
        );
    }
    Ok(())
}

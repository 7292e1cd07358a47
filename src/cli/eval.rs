//! `hillshade eval`.

use std::path::PathBuf;

use hillshade::{
    engine::block_on,
    models::{Loss, Score, Task, Trainer},
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
    let task = Task::open(&config.data, config.folder.as_deref(), config.tokenizer.as_ref())?;
    let mut trainer = Trainer::resume(&checkpoint, &path, task, options.executor.open()?)?;
    let score = block_on(trainer.test())?;
    let (labels, units) = (trainer.task().test_labels(), trainer.task().units());
    let bits = bits(&trainer, score);
    if options.json {
        let mut line = json!({
            "model": config.model, "data": config.data, "loss": config.loss.name(), "adapter": trainer.session().executor(),
            "epochs": checkpoint.progress.epoch, "test_loss": score.loss, "test_accuracy": score.accuracy,
        });
        line[format!("test_{units}")] = labels.into();
        if let Some(bits) = bits {
            line["bits_per_character"] = bits.into();
        }
        return print(line);
    }
    print(format_args!(
        "{} on {}: test loss {:.4} ({}){}, test accuracy {:.2} % of {labels} {units}",
        config.model,
        config.data,
        score.loss,
        config.loss.label(),
        bits.map_or(String::new(), |bits| format!(", {bits:.4} bits per character")),
        100.0 * score.accuracy
    ))
}

/// What a score is in bits per character, for the cross-entropy of a text.
pub fn bits(trainer: &Trainer, score: Score) -> Option<f64> {
    match trainer.config().loss {
        Loss::CrossEntropy => trainer.task().bits_per_character(score.loss),
        Loss::Squared => None,
    }
}

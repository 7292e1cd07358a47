//! `hillshade descent`.

use hillshade::{
    lab::{Statistics, Step, step_measures},
    models::write_atomically,
    plot,
};
use serde::Serialize;

use super::{Result, print, say, statistics::Handling, subject};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    subject: subject::Options,
    /// Lengths of the steps, as multiples of the gradient.
    #[arg(
        long,
        value_name = "STEP,STEP…",
        value_delimiter = ',',
        default_value = "0.001,0.003,0.01,0.03,0.1,0.3",
        allow_negative_numbers = true
    )]
    steps: Vec<f64>,
    /// Batch-norm statistics: frozen (the running ones), batch[:SIZE] (of batches, of 128), or reestimate (those of all
    /// samples, anew at each point).
    #[arg(long, default_value = "reestimate", value_parser = clap::value_parser!(Handling))]
    statistics: Handling,
}

/// `descent.json`.
#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    step: Step,
    statistics: Statistics,
    samples: usize,
    adapter: String,
    seconds: f64,
}

pub fn run(options: &Options) -> Result<()> {
    let began = std::time::Instant::now();
    let mut steps = options.steps.clone();
    steps.sort_by(f64::total_cmp);
    let mut s = options.subject.open()?;
    let conditions = options.statistics.conditions(&s)?;
    let step = step_measures(&mut s.session, &s.problem, &conditions, &steps)?;
    let measured = Measured {
        step,
        statistics: conditions.statistics,
        samples: s.problem.samples.count(),
        adapter: s.session.executor(),
        seconds: began.elapsed().as_secs_f64(),
    };
    write_atomically(&s.out.join("descent.json"), &serde_json::to_vec_pretty(&measured).unwrap_or_default())?;
    let figure = draw(&s.title, &measured);
    write_atomically(&s.out.join("descent.svg"), figure.svg().as_bytes())?;
    write_atomically(&s.out.join("descent.png"), &figure.png())?;
    if options.subject.json {
        return print(serde_json::to_string(&measured).unwrap_or_default());
    }
    let step = &measured.step;
    print(format_args!("loss {:.6}, gradient norm {:.6}", step.loss, step.gradient_norm))?;
    print("step        loss          gradient moves by   smoothness")?;
    for p in &step.points {
        print(format_args!("{:<10}  {:<12.6}  {:<18.6}  {:.6}", p.step, p.loss, p.change, p.smoothness))?;
    }
    say(format_args!("{:.1} s; descent.json, .svg and .png in {}", measured.seconds, s.out.display()));
    Ok(())
}

fn draw(title: &str, m: &Measured) -> plot::Figure {
    let step = &m.step;
    let of = |f: fn(&hillshade::lab::StepPoint) -> f64| step.points.iter().map(f).collect::<Vec<_>>();
    let (x, losses) = (of(|p| p.step.log10()), of(|p| p.loss));
    let change: Vec<f64> = step.points.iter().map(|p| p.change / step.gradient_norm).collect();
    let square = step.gradient_norm * step.gradient_norm;
    let line: Vec<f64> = step.points.iter().map(|p| step.loss - p.step * square).collect();
    let lines = [
        plot::Line { name: "loss", values: &losses, model: false },
        plot::Line { name: "move of the gradient, as a share of it", values: &change, model: false },
        plot::Line { name: "linear model of the loss", values: &line, model: true },
    ];
    let notes = [
        format!("mean loss of {} samples, batch-norm statistics {}", m.samples, m.statistics),
        format!(
            "loss {:.4} at the start, {:.4} to {:.4} along the way; effective smoothness {:.4}",
            step.loss, step.variation[0], step.variation[1], step.beta
        ),
    ];
    let slice = plot::Slice {
        title: &format!("Steps along the gradient of {title}"),
        x: &x,
        lines: &lines,
        x_label: "log₁₀ of the step",
        y_label: "loss, and share",
        log: false,
        notes: &notes,
    };
    slice.figure()
}

//! `hillshade descent`.

use hillshade::{
    lab::{Statistics, Step, step_measures},
    plot,
};
use serde::Serialize;

use super::{
    Result,
    numbers::significant,
    print,
    results::{print_json, write_figure, write_json},
    say,
    statistics::Handling,
    subject,
};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    subject: subject::Options,
    /// Step sizes: learning rates of plain gradient descent.
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
    write_json(&s.out.join("descent.json"), &measured)?;
    write_figure(&s.out, "descent", &draw(&s.title, &measured))?;
    if options.subject.json {
        return print_json(&measured);
    }
    let step = &measured.step;
    print(format_args!("loss {:.6}, gradient norm {:.6}", step.loss, step.gradient_norm))?;
    print("step size   loss          gradient change  smoothness")?;
    for p in &step.points {
        let [change, smoothness] = [p.change, p.smoothness].map(|x| significant(x, 4));
        print(format_args!("{:<10}  {:<12.6}  {change:<15}  {smoothness}", p.step, p.loss))?;
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
        plot::Line { name: "change of the gradient, relative to its norm", values: &change, model: false },
        plot::Line { name: "linear model of the loss", values: &line, model: true },
    ];
    let notes = [
        format!("mean loss of {} samples, batch-norm statistics {}", m.samples, m.statistics),
        format!(
            "loss {:.4} at the start, {:.4} to {:.4} after the steps; effective smoothness {}",
            step.loss,
            step.variation[0],
            step.variation[1],
            significant(step.beta, 4)
        ),
    ];
    let slice = plot::Slice {
        title: &format!("Gradient steps of {title}"),
        x: &x,
        lines: &lines,
        x_label: "log₁₀ of the step size",
        y_label: "loss, relative change",
        log: false,
        notes: &notes,
    };
    slice.figure()
}

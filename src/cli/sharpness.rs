//! `hillshade sharpness`.

use clap::ValueEnum;
use hillshade::{
    lab::{Ball, Sharpness, Statistics, average_sharpness, worst_sharpness},
    plot,
};
use serde::Serialize;

use super::{
    Result,
    numbers::{significant, with_error},
    print,
    results::{print_json, write_figure, write_json},
    say,
    statistics::Handling,
    subject,
};

#[derive(Clone, Copy, ValueEnum)]
enum Within {
    L2,
    Elementwise,
}

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    subject: subject::Options,
    /// Radii around the weights.
    #[arg(long, value_name = "RADIUS,RADIUS…", value_delimiter = ',', required = true, allow_negative_numbers = true)]
    radius: Vec<f64>,
    /// Norm of the radius: the length of a perturbation, or its largest ratio to a weight, element by element, for which
    /// there is no average.
    #[arg(long, value_enum, default_value = "l2")]
    ball: Within,
    /// Random directions of the average.
    #[arg(long, default_value_t = 20)]
    draws: u32,
    /// Steps of gradient ascent to the worst case.
    #[arg(long, default_value_t = 20)]
    steps: u32,
    /// Batch-norm statistics: frozen (the running ones), batch[:SIZE] (of batches, of 128), or reestimate (those of all
    /// samples, anew at each point).
    #[arg(long, default_value = "reestimate", value_parser = clap::value_parser!(Handling))]
    statistics: Handling,
}

/// `sharpness.json`.
#[derive(Serialize)]
struct Measured {
    sharpness: Vec<Sharpness>,
    statistics: Statistics,
    samples: usize,
    adapter: String,
    seconds: f64,
}

pub fn run(options: &Options) -> Result<()> {
    let began = std::time::Instant::now();
    let mut radii = options.radius.clone();
    radii.sort_by(f64::total_cmp);
    let mut s = options.subject.open()?;
    let conditions = options.statistics.conditions(&s)?;
    let (ball, seed) = match options.ball {
        Within::L2 => (Ball::L2, options.subject.seed),
        Within::Elementwise => (Ball::Elementwise, options.subject.seed),
    };
    let mut sharpness = Vec::new();
    for &radius in &radii {
        let (session, problem) = (&mut s.session, &s.problem);
        if ball == Ball::L2 {
            sharpness.push(average_sharpness(session, problem, &conditions, radius, options.draws, seed)?);
        }
        sharpness.push(worst_sharpness(session, problem, &conditions, ball, radius, options.steps, seed)?);
    }
    let measured = Measured {
        sharpness,
        statistics: conditions.statistics,
        samples: s.problem.samples.count(),
        adapter: s.session.executor(),
        seconds: began.elapsed().as_secs_f64(),
    };
    write_json(&s.out.join("sharpness.json"), &measured)?;
    write_figure(&s.out, "sharpness", &draw(&s.title, &radii, &measured))?;
    if options.subject.json {
        return print_json(&measured);
    }
    for m in &measured.sharpness {
        let increase = match m.kind.as_str() {
            "average" => with_error(m.value, m.standard_error),
            _ => significant(m.value, 4),
        };
        print(format_args!("radius {:<8}  {:<7}  loss {:.6}, increase {increase}", m.radius, m.kind, m.loss))?;
    }
    say(format_args!("{:.1} s; sharpness.json, .svg and .png in {}", measured.seconds, s.out.display()));
    Ok(())
}

fn draw(title: &str, radii: &[f64], m: &Measured) -> plot::Figure {
    let of = |kind: &str| m.sharpness.iter().filter(|s| s.kind == kind).map(|s| s.value).collect::<Vec<_>>();
    let (average, worst) = (of("average"), of("worst"));
    let mut lines = vec![plot::Line { name: "worst case found", values: &worst, model: false }];
    if !average.is_empty() {
        lines.push(plot::Line { name: "average", values: &average, model: false });
    }
    let notes = [format!("mean loss of {} samples, batch-norm statistics {}", m.samples, m.statistics)];
    let slice = plot::Slice {
        title: &format!("Sharpness of {title}"),
        x: radii,
        lines: &lines,
        x_label: "radius",
        y_label: "increase of the loss",
        log: false,
        notes: &notes,
    };
    slice.figure()
}

//! `hillshade sharpness`.

use clap::ValueEnum;
use hillshade::{
    lab::{Ball, Sharpness, Statistics, average_sharpness, worst_sharpness},
    models::write_atomically,
    plot,
};
use serde::Serialize;

use super::{Result, print, say, statistics::Handling, subject};

#[derive(Clone, Copy, ValueEnum)]
enum Within {
    L2,
    Elementwise,
}

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    subject: subject::Options,
    /// How far from the weights.
    #[arg(long, value_name = "RADIUS,RADIUS…", value_delimiter = ',', required = true, allow_negative_numbers = true)]
    radius: Vec<f64>,
    /// What is within the radius: displacements of at most that length, or of at most that share of each weight, of
    /// which there is no average.
    #[arg(long, value_enum, default_value = "l2")]
    ball: Within,
    /// Directions of which the average is taken.
    #[arg(long, default_value_t = 20)]
    draws: u32,
    /// Steps of ascent to the worst.
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
    write_atomically(&s.out.join("sharpness.json"), &serde_json::to_vec_pretty(&measured).unwrap_or_default())?;
    let figure = draw(&s.title, &radii, &measured);
    write_atomically(&s.out.join("sharpness.svg"), figure.svg().as_bytes())?;
    write_atomically(&s.out.join("sharpness.png"), &figure.png())?;
    if options.subject.json {
        return print(serde_json::to_string(&measured).unwrap_or_default());
    }
    for m in &measured.sharpness {
        let error = if m.kind == "average" { format!(" ± {:.1e}", m.standard_error) } else { String::new() };
        print(format_args!(
            "radius {:<8}  {:<7}  the loss {:.6} rises by {:.6}{error}",
            m.radius, m.kind, m.loss, m.value
        ))?;
    }
    say(format_args!("{:.1} s; sharpness.json, .svg and .png in {}", measured.seconds, s.out.display()));
    Ok(())
}

fn draw(title: &str, radii: &[f64], m: &Measured) -> plot::Figure {
    let of = |kind: &str| m.sharpness.iter().filter(|s| s.kind == kind).map(|s| s.value).collect::<Vec<_>>();
    let (average, worst) = (of("average"), of("worst"));
    let mut lines = vec![plot::Line { name: "largest rise found", values: &worst, model: false }];
    if !average.is_empty() {
        lines.push(plot::Line { name: "average rise", values: &average, model: false });
    }
    let notes = [format!("mean loss of {} samples, batch-norm statistics {}", m.samples, m.statistics)];
    let slice = plot::Slice {
        title: &format!("Sharpness of {title}"),
        x: radii,
        lines: &lines,
        x_label: "radius",
        y_label: "rise of the loss",
        log: false,
        notes: &notes,
    };
    slice.figure()
}

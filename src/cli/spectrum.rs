//! `hillshade spectrum`.

use std::path::Path;

use clap::ValueEnum;
use hillshade::{
    lab::{
        self, Curvature, Density, Eigen, End, Estimate, Operator, Options as Curve, Quadrature, Sampling, Search,
        Setting, eigenvalues, hutchinson,
    },
    models::Weights,
    plot,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::{
    Result,
    numbers::with_error,
    print,
    results::{print_json, write_figure, write_json, write_part},
    say, subject,
};

#[derive(Clone, Copy, ValueEnum)]
enum Matrix {
    Hessian,
    Ggn,
    Fisher,
    Empirical,
    Moment,
}

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    subject: subject::Options,
    /// Curvature matrix: the Hessian, the generalized Gauss-Newton matrix, the Fisher matrix with sampled labels, or the
    /// empirical one with the data's; or the second moment of the samples' gradients.
    #[arg(long, value_enum, default_value = "hessian")]
    matrix: Matrix,
    /// How many of the largest eigenvalues.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// How many of the smallest eigenvalues, 0 for none.
    #[arg(long, default_value_t = 2)]
    bottom: usize,
    /// Relative residual at which an eigenvalue has converged.
    #[arg(long, default_value_t = 1e-3)]
    tolerance: f64,
    /// Relative standard error at which the trace has converged.
    #[arg(long, default_value_t = 0.05)]
    trace_tolerance: f64,
    /// Random probes of the density, 0 for none.
    #[arg(long, default_value_t = 10)]
    probes: usize,
    /// Lanczos steps of each probe.
    #[arg(long, default_value_t = 80)]
    steps: usize,
    /// Limit of the matrix-vector products for the eigenvalues, and of those for the trace.
    #[arg(long, default_value_t = 400)]
    products: u64,
    /// Bandwidth of the density's kernel, in units of the eigenvalues; by default chosen by the quadrature's nodes.
    #[arg(long)]
    sigma: Option<f64>,
    /// Weight decay: λ of a term λ/2 ‖w‖² in the loss.
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f64,
    /// Block of parameters: those whose names begin with this; may be given several times. By default all.
    #[arg(long)]
    block: Vec<String>,
}

/// `spectrum.json`.
#[derive(Serialize, Deserialize, Default)]
struct Spectrum {
    loss: f64,
    gradient_norm: f64,
    eigenvalues: Option<Eigen>,
    trace: Option<Estimate>,
    density: Option<Density>,
    summary: Vec<(String, Estimate)>,
    /// Which weights of a run they are.
    #[serde(default)]
    weights: Option<Weights>,
    seconds: f64,
}

/// A bar of products done, with the time left.
pub fn bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::new(1);
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} products, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(what.to_string());
    bar
}

/// A callback that moves a bar.
pub fn moving(bar: &ProgressBar) -> impl FnMut(u64, u64) + '_ {
    |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    }
}

pub fn run(options: &Options) -> Result<()> {
    let began = std::time::Instant::now();
    let mut s = options.subject.open()?;
    let matrix = match options.matrix {
        Matrix::Hessian => lab::Matrix::Hessian,
        Matrix::Ggn => lab::Matrix::Ggn,
        Matrix::Fisher => lab::Matrix::Fisher { draws: 1 },
        Matrix::Empirical => lab::Matrix::Empirical,
        Matrix::Moment => lab::Matrix::Moment,
    };
    let seed = options.subject.seed;
    let curve = Curve {
        batch_norm: s.batch_norm,
        micro_batch: s.micro_batch,
        blocks: options.block.clone(),
        weight_decay: options.weight_decay,
        seed,
        ..Curve::default()
    };
    let mut a = Curvature::new(&mut s.session, &s.problem, matrix, &curve)?;
    let point = a.point();
    let mut spectrum =
        Spectrum { loss: point.loss, gradient_norm: point.gradient_norm, weights: s.weights, ..Spectrum::default() };

    let search = |count, end| Search {
        count,
        end,
        tolerance: options.tolerance,
        products: options.products,
        seed,
        ..Search::default()
    };
    if options.top > 0 {
        let progress = bar("eigenvalues");
        let mut found = eigenvalues(&mut s.session, &mut a, search(options.top, End::Top), &mut moving(&progress))?;
        if options.bottom > 0 {
            let low = eigenvalues(&mut s.session, &mut a, search(options.bottom, End::Bottom), &mut moving(&progress))?;
            found.bottom = low.bottom;
            found.products += low.products;
            found.orthogonality = found.orthogonality.max(low.orthogonality);
        }
        progress.finish_and_clear();
        spectrum.eigenvalues = Some(found);
    }
    let progress = bar("trace");
    let sampling =
        Sampling { tolerance: options.trace_tolerance, products: options.products, seed, ..Sampling::default() };
    spectrum.trace = Some(hutchinson(&mut s.session, &mut a, sampling, &mut moving(&progress))?);
    progress.finish_and_clear();
    if options.probes > 0 {
        let progress = bar("density");
        let quadrature = Quadrature { steps: options.steps, probes: options.probes, seed, ..Quadrature::default() };
        // A measurement that was stopped goes on from the probes that it has stored, if it is the same.
        let part = s.out.join(".spectrum.part.json");
        let stored: Option<(f64, Density)> =
            std::fs::read(&part).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let setting = Setting { adapter: s.session.executor(), ..a.setting() };
        let same = |d: &Density| (&d.setting, d.seed, d.steps) == (&setting, seed, options.steps.min(d.dimension));
        // The loss tells weights apart.
        let stored = stored.filter(|(loss, density)| *loss == point.loss && same(density)).map(|(_, density)| density);
        let density =
            Density::measure(&mut s.session, &mut a, quadrature, stored, &mut moving(&progress), |density| {
                Ok(write_part(&part, &(point.loss, density))?)
            })?;
        // What is whole needs no part of it.
        let _ = std::fs::remove_file(&part);
        progress.finish_and_clear();
        spectrum.summary = density.summary().into_iter().map(|(name, e)| (name.to_string(), e)).collect();
        spectrum.density = Some(density);
    }
    spectrum.seconds = began.elapsed().as_secs_f64();
    write_json(&s.out.join("spectrum.json"), &spectrum)?;
    if let Some(figure) = draw(&s.title, options, &spectrum) {
        write_figure(&s.out, "spectrum", &figure)?;
    }
    report(options, &s.out, &spectrum)
}

fn draw(title: &str, options: &Options, spectrum: &Spectrum) -> Option<plot::Figure> {
    let density = spectrum.density.as_ref()?;
    let pairs = |end: fn(&Eigen) -> &Vec<lab::Value>| {
        let values = spectrum.eigenvalues.iter().flat_map(end);
        values.map(|v| (v.value, v.residual)).collect::<Vec<_>>()
    };
    let (top, bottom) = (pairs(|e| &e.top), pairs(|e| &e.bottom));
    let setting = &density.setting;
    let mut notes = vec![format!(
        "{} of the mean loss of {} samples, batch norm {}, {} parameters",
        setting.operator, setting.samples, setting.batch_norm, setting.parameters
    )];
    if let Some(trace) = &spectrum.trace {
        let products = density.products + trace.products + spectrum.eigenvalues.as_ref().map_or(0, |e| e.products);
        notes.push(format!("trace {}, {products} products", with_error(trace.value, trace.standard_error)));
    }
    let figure = plot::Density {
        title: &format!("Spectrum of {title}"),
        dimension: density.dimension,
        probes: &density.probes,
        sigma: options.sigma,
        top: &top,
        bottom: &bottom,
        notes: &notes,
    };
    Some(figure.figure())
}

fn report(options: &Options, out: &Path, spectrum: &Spectrum) -> Result<()> {
    if options.subject.json {
        return print_json(spectrum);
    }
    print(format_args!("loss {:.6}, gradient norm {:.6}", spectrum.loss, spectrum.gradient_norm))?;
    if let Some(e) = &spectrum.eigenvalues {
        for (name, values) in [("top", &e.top), ("bottom", &e.bottom)] {
            for v in values {
                let done = if v.converged { "" } else { "  (not converged: more --products)" };
                print(format_args!("{name:<7} {:>20}{done}", with_error(v.value, v.residual)))?;
            }
        }
    }
    if let Some(t) = &spectrum.trace {
        print(format_args!("trace   {:>20}  ({} probes)", with_error(t.value, t.standard_error), t.samples))?;
    }
    for (name, e) in spectrum.summary.iter().skip(1) {
        print(format_args!("{name}: {}", with_error(e.value, e.standard_error)))?;
    }
    say(format_args!("{:.1} s; spectrum.json, .svg and .png in {}", spectrum.seconds, out.display()));
    Ok(())
}

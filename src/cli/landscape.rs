//! `hillshade landscape`.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use hillshade::{
    engine::Session,
    lab::{
        BatchNorm, Block, Curvature, Direction, Directions, Error as LabError, Flips, Gradient, Grid, Landscape,
        Matrix, Options as Curve, Principal, Scaling, Search, Secant, eigenvalues, found, parameters, places, secant,
    },
    models::{Error, Weights, import},
    plot,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::{
    Result, folder,
    numbers::{percent, significant},
    print,
    results::{print_json, write_figure, write_json, write_part},
    say,
    spectrum::{bar, moving},
    statistics::Handling,
    subject::{self, argument},
};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    subject: subject::Options,
    /// Directions: 1 for a slice, 2 for a surface.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    dims: u8,
    /// Points along each direction; by default 51, or 25 along each of two.
    #[arg(long)]
    points: Option<usize>,
    /// Largest distance along each direction, either way; 1 by default, for pca as far as the trajectory goes.
    #[arg(long)]
    range: Option<f64>,
    /// Direction: filter, layer or raw for a random one with that normalization; gradient; eigen for the Hessian's first
    /// eigenvector; to:PATH towards other weights; pca for a trajectory's first principal component. The second direction is
    /// another random one, the second eigenvector or component, or filter.
    #[arg(long, default_value = "filter", value_parser = Way::from_str)]
    direction: Way,
    /// Batch-norm statistics: frozen (the running ones), batch[:SIZE] (of batches, of 128), or reestimate[:SIZE] (measured
    /// anew at each point, in one batch of all).
    #[arg(long, default_value = "reestimate", value_parser = Handling::from_str)]
    statistics: Handling,
    /// Folder with the weights of a trajectory, by numbers: 0.safetensors, …; by default those that the run has kept.
    #[arg(long, value_name = "FOLDER")]
    trajectory: Option<PathBuf>,
    /// Step of the finite difference for the second derivative; by default the distance to the next point.
    #[arg(long)]
    radius: Option<f64>,
    /// Count the sign flips of ReLU inputs from each point of a slice to the next.
    #[arg(long)]
    flips: bool,
    /// Limit of the Hessian-vector products for eigenvectors.
    #[arg(long, default_value_t = 400)]
    products: u64,
}

/// A direction on the command line.
#[derive(Clone)]
enum Way {
    Random(Scaling),
    Gradient,
    Eigen,
    To(PathBuf),
    Principal,
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match (text, text.strip_prefix("to:").filter(|path| !path.is_empty())) {
            ("filter", _) => Ok(Way::Random(Scaling::Filter)),
            ("layer", _) => Ok(Way::Random(Scaling::Layer)),
            ("raw", _) => Ok(Way::Random(Scaling::Raw)),
            ("gradient", _) => Ok(Way::Gradient),
            ("eigen", _) => Ok(Way::Eigen),
            ("pca", _) => Ok(Way::Principal),
            (_, Some(path)) => Ok(Way::To(path.into())),
            _ => Err(format!("expected filter, layer, raw, gradient, eigen, pca or to:PATH, found {text}")),
        }
    }
}

/// `landscape.json`.
#[derive(Serialize, Deserialize)]
struct Measured {
    #[serde(flatten)]
    grid: Grid,
    /// Derivatives at the parameters along each direction; none where they are not those of the landscape.
    check: Vec<Check>,
    /// Which weights of a run are at the center.
    weights: Option<Weights>,
    /// The trajectory in the plane of its principal directions.
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Principal>,
    /// From each point of a slice to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    flips: Option<Vec<Flips>>,
    seconds: f64,
}

/// The first derivative along a direction, and the second one by a finite difference and exactly.
#[derive(Serialize, Deserialize)]
struct Check {
    slope: f64,
    #[serde(flatten)]
    second: Secant,
}

/// The directions that the options name.
fn directions(
    options: &Options, s: &mut subject::Subject, mode: Option<BatchNorm>,
) -> Result<(Vec<Direction>, Option<Principal>)> {
    let (layout, k) = (s.problem.layout(&[])?, usize::from(options.dims));
    let needs = |what: &str| {
        let expected = "statistics in which there are derivatives: frozen, batch, or reestimate in one batch";
        mode.ok_or_else(|| argument(&format!("direction {what}"), expected, "reestimate in several"))
    };
    let seed = options.subject.seed;
    let random =
        |session: &Session, scaling, draw| Direction::random(session, &layout, scaling, seed, draw).map_err(Into::into);
    let mut list = match &options.direction {
        Way::Random(scaling) => {
            (0..k as u32).map(|draw| random(&s.session, *scaling, draw)).collect::<Result<Vec<_>>>()?
        }
        Way::Gradient => {
            let mut g = Gradient::new(&mut s.session, &s.problem, needs("gradient")?, s.micro_batch, &[])?;
            g.run(&mut s.session)?;
            vec![Direction::of_block(&s.session, "gradient", g.state(), 0)?]
        }
        Way::Eigen => {
            let curve = Curve { batch_norm: needs("eigen")?, micro_batch: s.micro_batch, ..Curve::default() };
            let mut a = Curvature::new(&mut s.session, &s.problem, Matrix::Hessian, &curve)?;
            let search = Search { count: k, products: options.products, seed, ..Search::default() };
            let progress = bar("eigenvectors");
            let eigen = eigenvalues(&mut s.session, &mut a, search, &mut moving(&progress))?;
            progress.finish_and_clear();
            if eigen.top.iter().any(|v| !v.converged) {
                say("eigenvectors are not converged: more --products");
            }
            let block = found(layout.last().map_or(0, |b| b.range.end));
            let one = |row| Direction::of_block(&s.session, &format!("eigenvector {}", row + 1), &block, row);
            (0..k).map(one).collect::<std::result::Result<Vec<_>, _>>()?
        }
        Way::Principal => {
            let trajectory = trajectory(options, s, &layout)?;
            let (list, principal) = Direction::principal(&s.session, &layout, &trajectory, k)?;
            return Ok((list, Some(principal)));
        }
        Way::To(path) => vec![Direction::towards(&s.session, &layout, &weights(path, s, &layout)?)?],
    };
    if list.len() < k {
        list.push(random(&s.session, Scaling::Filter, 1)?);
    }
    Ok((list, None))
}

/// The weights of a trajectory, in the order of the numbers that name their files.
fn trajectory(options: &Options, s: &subject::Subject, layout: &[Block]) -> Result<Vec<Vec<f64>>> {
    let folder = options.trajectory.clone().unwrap_or_else(|| options.subject.path().join(folder::KEPT));
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let number = |path: PathBuf| {
        let is = path.extension().is_some_and(|e| e == "safetensors");
        Some((path.file_stem()?.to_str()?.parse::<u32>().ok().filter(|_| is)?, path))
    };
    let mut files: Vec<(u32, PathBuf)> = entries.filter_map(number).collect();
    files.sort();
    if files.is_empty() {
        let what = "weights along the run, as train --keep leaves them".into();
        return Err(Error::Missing { what, looked: vec![folder] }.into());
    }
    files.iter().map(|(_, file)| weights(file, s, layout)).collect()
}

/// Other weights of the same network: of a run's checkpoint, or of a file.
fn weights(path: &Path, s: &subject::Subject, layout: &[Block]) -> Result<Vec<f64>> {
    let file = if path.is_file() { path.to_path_buf() } else { folder::checkpoint_of(path)? };
    let mut session = Session::host();
    import(&file, &s.params, &mut session, None)?;
    Ok(parameters(&session, layout)?)
}

/// A bar of points done, with the time left.
fn points_bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    let style = ProgressStyle::with_template("loss {wide_bar} {pos}/{len} points, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

pub fn run(options: &Options) -> Result<()> {
    let began = std::time::Instant::now();
    let points = options.points.unwrap_or(if options.dims == 1 { 51 } else { 25 });
    if let (true, 2) = (options.flips, options.dims) {
        return Err(argument("flips", "one direction", "two"));
    }
    let axis = places(points, options.range.unwrap_or(1.0))?;
    let mut s = options.subject.open()?;
    let conditions = options.statistics.conditions(&s)?;
    let mode = conditions.statistics.exact(s.problem.samples.count());
    let (list, principal) = directions(options, &mut s, mode)?;
    let mut axes = vec![axis; list.len()];
    if let (None, Some(principal)) = (options.range, &principal) {
        for (i, axis) in axes.iter_mut().enumerate() {
            // The trajectory and a fifth more.
            *axis = places(points, 1.2 * principal.path.iter().map(|p| p[i].abs()).fold(0.0, f64::max))?;
        }
    }
    let layout = s.problem.layout(&[])?;
    let directions = Directions::new(&mut s.session, &layout, list)?;
    let mut landscape = Landscape::new(&mut s.session, &s.problem, &directions, &conditions)?;

    // A measurement that was stopped goes on from the points that it has stored, if it is the same.
    let part = s.out.join(".landscape.part.json");
    let stored = std::fs::read(&part).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let progress = points_bar();
    let grid =
        Grid::measure(&mut s.session, &mut landscape, &directions, &axes, stored, &mut moving(&progress), |grid| {
            Ok(write_part(&part, grid)?)
        })?;
    progress.finish_and_clear();
    // The distance from point to point, so that sign flips of ReLU inputs weigh as they do in the figure.
    let radius = options.radius.unwrap_or(2.0 * axes[0][points - 1] / (points - 1) as f64);
    let check = match mode {
        Some(mode) => checks(&mut s, &mut landscape, &directions, mode, radius)?,
        None => Vec::new(),
    };
    let mut flip = |ends: &[f64]| Ok(landscape.flips(&mut s.session, &ends[..1], &ends[1..])?);
    let flips = options.flips.then(|| axes[0].windows(2).map(&mut flip).collect::<Result<_>>()).transpose()?;
    let weights = s.weights;
    let measured = Measured { grid, check, weights, principal, flips, seconds: began.elapsed().as_secs_f64() };
    write_json(&s.out.join("landscape.json"), &measured)?;
    write_figure(&s.out, "landscape", &draw(&s.title, &measured))?;
    // What is whole needs no part of it.
    let _ = std::fs::remove_file(&part);
    report(options, &s.out, &measured)
}

/// First and second derivatives along each direction; none where the products do not fit in memory.
fn checks(
    s: &mut subject::Subject, landscape: &mut Landscape, directions: &Directions, mode: BatchNorm, radius: f64,
) -> Result<Vec<Check>> {
    let curve = Curve {
        batch_norm: mode,
        micro_batch: s.micro_batch,
        linearize: Some(false),
        width: Some(1),
        ..Curve::default()
    };
    let mut a = match Curvature::new(&mut s.session, &s.problem, Matrix::Hessian, &curve) {
        Ok(a) => a,
        Err(e @ (LabError::Memory { .. } | LabError::NotFinite { .. })) => {
            say(format_args!("no second derivatives to compare with: {e}"));
            return Ok(Vec::new());
        }
        Err(e) => return Err(e.into()),
    };
    let k = directions.list().len();
    let gradient = landscape.gradient(&mut s.session, &vec![0.0; k])?;
    let check = |(row, d): (usize, &Direction)| {
        let slope = d.vector.iter().zip(&gradient).map(|(d, g)| d * g).sum();
        let second = secant(&mut s.session, landscape, directions, row, &mut a, radius)?;
        Ok(Check { slope, second })
    };
    directions.list().iter().enumerate().map(check).collect()
}

fn draw(title: &str, m: &Measured) -> plot::Figure {
    let g = &m.grid;
    let label =
        |i: usize| format!("along {}, in units of norm {}", g.directions[i].kind, significant(g.directions[i].norm, 3));
    let mut notes = vec![format!("mean loss of {} samples, {} parameters, {}", g.samples, g.parameters, norms(g))];
    if let Some(c) = m.check.first() {
        notes.push(format!("{} of {} ReLU inputs", second(&c.second), c.second.flips.of));
    }
    if g.y.is_empty() {
        let parabola = |c: &Check| g.x.iter().map(|x| g.center + x * c.slope + 0.5 * x * x * c.second.exact).collect();
        let model: Option<Vec<f64>> = m.check.first().map(parabola);
        let mut lines = vec![plot::Line { name: "loss", values: &g.values, model: false }];
        lines.extend(model.iter().map(|values| plot::Line { name: "quadratic model", values, model: true }));
        let title = &format!("Loss of {title}");
        let x_label = &label(0);
        let slice = plot::Slice { title, x: &g.x, lines: &lines, x_label, y_label: "loss", log: false, notes: &notes };
        return slice.figure();
    }
    if let Some(cosine) = g.cosine {
        let cosine = significant(cosine, 3);
        notes.push(format!("cosine of the directions {cosine}, before the second was made orthogonal"));
    }
    let mut path = Vec::new();
    if let Some(principal) = &m.principal {
        let shares: Vec<String> = principal.explained.iter().map(|&e| percent(e)).collect();
        notes.push(format!(
            "the principal directions explain {} of the trajectory, by squared distances",
            shares.join(" and ")
        ));
        // Two directions: what is drawn below is a surface.
        path = principal.path.iter().map(|p| (p[0], p[1])).chain([(0.0, 0.0)]).collect();
    }
    let (low, high) = extremes(g).map_or((0.0, 0.0), |[low, high]| (low.0, high.0));
    let surface = plot::Surface {
        title: &format!("Loss of {title}"),
        x: &g.x,
        y: &g.y,
        z: &g.values,
        x_label: &label(0),
        y_label: &label(1),
        z_label: "loss",
        log: low > 0.0 && high > 20.0 * low,
        path: &path,
        notes: &notes,
    };
    surface.figure()
}

/// What is said of a second derivative: exactly, as a finite difference, and what sets the two apart.
fn second(s: &Secant) -> String {
    let [exact, difference] = [s.exact, s.secant].map(|x| significant(x, 4));
    let (step, flips) = (significant(s.radius, 2), s.flips.count);
    format!("second derivative {exact}, finite difference {difference} over ± {step} with {flips} sign flips")
}

/// What is said of batch normalization.
fn norms(g: &Grid) -> String {
    match g.batch_norms {
        0 => "no batch norm".into(),
        _ => format!("batch-norm statistics {}", g.statistics),
    }
}

/// The least and the largest loss, and where.
fn extremes(g: &Grid) -> Option<[(f64, String); 2]> {
    let finite = || g.values.iter().copied().enumerate().filter(|(_, v)| v.is_finite());
    let place = |(i, v): (usize, f64)| {
        let x = g.x[i % g.x.len()];
        let at = g.y.get(i / g.x.len()).map_or(format!("{x:.3}"), |y| format!("({x:.3}, {y:.3})"));
        (v, at)
    };
    let by = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1);
    Some([place(finite().min_by(by)?), place(finite().max_by(by)?)])
}

fn report(options: &Options, out: &Path, m: &Measured) -> Result<()> {
    if options.subject.json {
        return print_json(m);
    }
    let mut line = format!("loss {:.6}", m.grid.center);
    if let Some([low, high]) = extremes(&m.grid) {
        line += &format!(", least {:.6} at {}, most {:.6} at {}", low.0, low.1, high.0, high.1);
    }
    for c in &m.check {
        line += &format!("; {} of ReLU inputs", second(&c.second));
    }
    if let Some(principal) = &m.principal {
        let explained = percent(principal.explained.iter().sum());
        line += &format!("; {explained} of the trajectory explained, by squared distances");
    }
    if let Some(flips) = &m.flips {
        let flips: u64 = flips.iter().map(|f| f.count).sum();
        line += &format!("; {flips} sign flips of ReLU inputs along the slice");
    }
    print(format_args!("{line}; {}", norms(&m.grid)))?;
    say(format_args!("{:.1} s; landscape.json, .svg and .png in {}", m.seconds, out.display()));
    Ok(())
}

//! Products with the Hessian and the Gauss-Newton matrix of ResNet-20 beside its gradient, on the host and on the device:
//! wall time, peak memory, and eight directions at once. One table, all of it from one run. Ratios are medians over rounds, of
//! two things that were timed one after the other: a machine's speed may drift.
//!
//! `HILLSHADE_ADAPTER` picks the device; `-- host` or `-- device` runs one side, `-- full` or `-- eval` one mode of batch norm,
//! `--batch 128` changes the batch, and `--model cnn` the network (on images of 32×32×3).

use std::time::Instant;

use hillshade::{
    engine::{Gpu, Graph, Session, block_on},
    lab::{
        BatchNorm, Curvature, Gradient, Matrix, Operator, Options, Problem, Result, Samples, Vectors, input, output,
    },
    models::{Builder, Loss, Mode, Network},
};

/// Rounds that are timed, after one that is not.
const ROUNDS: usize = 5;

/// Where it is timed.
const SIDES: [&str; 2] = ["host", "device"];

/// Directions of the last rows, Hessian products cold and warm.
const STACK: usize = 8;

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Milliseconds that something takes.
fn time(mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    f()?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

/// Two times of every round, one after the other.
#[derive(Default)]
struct Pairs(Vec<[f64; 2]>);

impl Pairs {
    fn second(&self) -> f64 {
        median(self.0.iter().map(|pair| pair[1]))
    }

    fn ratio(&self) -> f64 {
        median(self.0.iter().map(|pair| pair[1] / pair[0]))
    }
}

/// Waves for images: what is computed does not matter, but nothing may vanish.
fn waves(batch: usize) -> Result<Samples> {
    let pixels = (0..batch * 3072).map(|i| (i as f32 * 0.37).sin() + (i as f32 * 0.011).cos()).collect();
    Samples::new(batch).floats("images", pixels)?.indices("labels", (0..batch as u32).map(|i| i % 10).collect())
}

/// Runs a product and waits for it.
fn product(a: &mut Curvature, session: &mut Session, k: usize) -> Result<()> {
    a.apply(session, k)?;
    // Little is read, but reading waits for all.
    let (n, mut vectors) = (a.dimension(), Vectors::new(a.dimension()));
    let name = format!("lab/{n}/bench/{k}");
    vectors.reserve(session, &name, 1)?;
    vectors.take(session, &name, &output(n, k), &[0])?;
    block_on(session.get(&name))?;
    Ok(())
}

fn measure(name: &str, open: &dyn Fn() -> Session, mode: BatchNorm, model: &str, batch: usize) -> Result<()> {
    let mut session = open();
    let network = Network::parse(model)?;
    let problem = Problem::classifier(network.clone(), Loss::CrossEntropy, [32, 32, 3], 10, waves(batch)?);
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Eval);
    network.build(&mut b, g.input("images", &[1, 32, 32, 3]), 10)?;
    b.initialize(&mut session, 0)?;
    let options = |linearize| Options {
        batch_norm: mode,
        micro_batch: Some(batch),
        linearize: Some(linearize),
        width: Some(STACK),
        ..Options::default()
    };
    let mut gradient = Gradient::new(&mut session, &problem, mode, Some(batch), &[])?;
    let n = gradient.dimension();
    let mut vectors = Vectors::new(n);
    for k in [1, STACK] {
        vectors.ports(&mut session, k)?;
        vectors.draw(&mut session, &input(n, k), hillshade::lab::Probe::Rademacher, 0, 0)?;
    }
    let mut operators = Vec::new();
    for (kind, linearize) in
        [(Matrix::Hessian, false), (Matrix::Hessian, true), (Matrix::Ggn, false), (Matrix::Ggn, true)]
    {
        let what = format!("{kind} product, {}", if linearize { "warm" } else { "cold" });
        operators.push((what, Curvature::new(&mut session, &problem, kind, &options(linearize))?));
    }
    let mut bytes = Vec::new();
    for (_, a) in &mut operators {
        product(a, &mut session, 1)?;
        bytes.push(a.peak_bytes());
    }
    let mut gradients = Vec::new();
    let mut singles: Vec<Pairs> = operators.iter().map(|_| Pairs::default()).collect();
    let mut stacks = [Pairs::default(), Pairs::default()];
    for round in 0..=ROUNDS {
        for (i, (_, a)) in operators.iter_mut().enumerate() {
            let of_gradient = time(|| {
                gradient.run(&mut session)?;
                block_on(session.get(gradient.state()))?;
                Ok(())
            })?;
            let of_one = time(|| product(a, &mut session, 1))?;
            if round > 0 {
                gradients.push(of_gradient);
                singles[i].0.push([of_gradient, of_one]);
            }
        }
        for ((_, a), stack) in operators.iter_mut().zip(&mut stacks) {
            let one_by_one = time(|| (0..STACK).try_for_each(|_| product(a, &mut session, 1)))?;
            let at_once = time(|| product(a, &mut session, STACK))?;
            if round > 0 {
                stack.0.push([one_by_one, at_once]);
            }
        }
    }
    println!("{name}, {model}, batch {batch}, batch norm {mode}");
    let line = |what: &str, ms: f64, ratio: f64, bytes: u64| {
        let memory = bytes as f64 / gradient.peak_bytes() as f64;
        println!("  {what:<24} {ms:10.1} ms {ratio:6.2} × gradient {:9.1} MB {memory:6.2} ×", bytes as f64 / 1e6);
    };
    line("gradient", median(gradients.into_iter()), 1.0, gradient.peak_bytes());
    for (((what, _), pairs), bytes) in operators.iter().zip(&singles).zip(bytes) {
        line(what, pairs.second(), pairs.ratio(), bytes);
    }
    let [cold, warm] = stacks.map(|pairs| pairs.ratio());
    println!(
        "  {STACK} Hessian products at once: {cold:.2} of {STACK} single cold ones, {warm:.2} of {STACK} single warm ones"
    );
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1));
    let batch = value("--batch").and_then(|b| b.parse().ok()).unwrap_or(32);
    let model = value("--model").map_or("resnet20", String::as_str);
    let named = |name: &str| arguments.iter().any(|a| a == name);
    let wanted = |name: &str, among: [&str; 2]| named(name) || !among.iter().any(|other| named(other));
    for (mode, name) in [(BatchNorm::Full, "full"), (BatchNorm::Eval, "eval")] {
        if !wanted(name, ["full", "eval"]) {
            continue;
        }
        if wanted("host", SIDES) {
            measure("host", &Session::host, mode, model, batch)?;
        }
        if wanted("device", SIDES)
            && let Ok(gpu) = block_on(Gpu::open())
        {
            measure(&gpu.adapter().to_string(), &|| Session::device(gpu.clone()), mode, model, batch)?;
        }
    }
    Ok(())
}

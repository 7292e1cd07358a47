//! Products with the Hessian and the Gauss-Newton matrix of ResNet-20 beside its gradient, on the host and on the device:
//! wall time, peak memory, and eight directions at once. One table, all of it from one run.
//!
//! `HILLSHADE_ADAPTER` picks the device; `-- host` or `-- device` runs one side, `--batch 128` changes the batch, and
//! `--model cnn` the network (on images of 32×32×3).

use std::time::Instant;

use hillshade::{
    engine::{Gpu, Session, block_on},
    lab::{BatchNorm, Curvature, Gradient, Kind, Operator, Options, Problem, Result, Samples, Vectors, input, output},
    models::{Builder, Loss, Mode, Network},
};

/// Rounds that are timed, after one that is not.
const ROUNDS: usize = 7;

/// Rows of one direction: the gradient and two products with each of two matrices, cold and warm.
const SINGLE: usize = 5;

/// Directions of the last rows, Hessian products cold and warm.
const STACK: usize = 8;

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
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
    let mut b = Builder::new(Mode::Eval);
    let x = b.g.input("images", &[1, 32, 32, 3])?;
    network.build(&mut b, x, 10)?;
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
    for (kind, linearize) in [(Kind::Hessian, false), (Kind::Hessian, true), (Kind::Ggn, false), (Kind::Ggn, true)] {
        let what = format!("{kind} product, {}", if linearize { "warm" } else { "cold" });
        operators.push((what, Curvature::new(&mut session, &problem, kind, &options(linearize))?));
    }
    let mut bytes = Vec::new();
    for (_, a) in &mut operators {
        product(a, &mut session, 1)?;
        bytes.push(a.peak_bytes());
    }
    let mut times = vec![Vec::new(); SINGLE + 2];
    for round in 0..=ROUNDS {
        let mut clock = |slot: usize, begin: Instant| {
            if round > 0 {
                times[slot].push(begin.elapsed().as_secs_f64() * 1e3);
            }
        };
        let begin = Instant::now();
        gradient.run(&mut session)?;
        block_on(session.get(gradient.state()))?;
        clock(0, begin);
        for (i, (_, a)) in operators.iter_mut().enumerate() {
            let begin = Instant::now();
            product(a, &mut session, 1)?;
            clock(i + 1, begin);
        }
        for (slot, (_, a)) in operators[..2].iter_mut().enumerate() {
            let begin = Instant::now();
            product(a, &mut session, STACK)?;
            clock(SINGLE + slot, begin);
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|t| median(t)).collect();
    println!("{name}, {model}, batch {batch}, batch norm {mode}");
    let line = |what: &str, ms: f64, bytes: u64| {
        let (ratio, memory) = (ms / medians[0], bytes as f64 / gradient.peak_bytes() as f64);
        println!("  {what:<24} {ms:10.1} ms {ratio:6.2} × gradient {:9.1} MB {memory:6.2} ×", bytes as f64 / 1e6);
    };
    line("gradient", medians[0], gradient.peak_bytes());
    for (((what, _), ms), bytes) in operators.iter().zip(&medians[1..]).zip(bytes) {
        line(what, *ms, bytes);
    }
    let [cold, warm] = [0, 1].map(|i| medians[SINGLE + i] / STACK as f64 / medians[1 + i]);
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
    let wanted =
        |name: &str| !arguments.iter().any(|a| a == "host" || a == "device") || arguments.iter().any(|a| a == name);
    for mode in [BatchNorm::Full, BatchNorm::Eval] {
        if wanted("host") {
            measure("host", &Session::host, mode, model, batch)?;
        }
        if wanted("device")
            && let Ok(gpu) = block_on(Gpu::open())
        {
            measure(&gpu.adapter().to_string(), &|| Session::device(gpu.clone()), mode, model, batch)?;
        }
    }
    Ok(())
}

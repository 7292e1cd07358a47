//! How costs grow: a training step's time for each image with the batch, a dispatch's in a long chain of small ones, and
//! attention's memory with the length of a sequence. Tables, and figures in `target/scaling`.
//!
//! `HILLSHADE_ADAPTER` picks the device; `-- host` or `-- device` runs one side.

use std::{fs, path::PathBuf, time::Instant};

use hillshade::{
    engine::{self, Attention, Gpu, Graph, Plan, Session, Target, Tensor, block_on},
    models::{
        Config, Optimizer, Trainer,
        data::{Dataset, Images},
    },
    plot::{Line, Slice},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Opens a session on one executor.
type Open = Box<dyn Fn() -> Session>;

/// Rounds of which the median one counts, after one that does not.
const ROUNDS: usize = 5;

/// Seconds of a step above which no larger batch is tried.
const ENOUGH: f64 = 10.0;

/// Ops of the chain.
const CHAIN: usize = 10_000;

fn median(rounds: usize, mut time: impl FnMut() -> Result<f64>) -> Result<f64> {
    time()?;
    let mut times = (0..rounds).map(|_| time()).collect::<Result<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[rounds / 2])
}

/// Seconds of ResNet-20's training steps at each batch, for as long as they are bearable.
fn steps(open: &dyn Fn() -> Session) -> Result<Vec<(usize, f64)>> {
    let mut all = Vec::new();
    for batch in [8, 16, 32, 64, 128, 256, 512, 1024] {
        let images = |n: usize| Images {
            shape: [32, 32, 3],
            pixels: (0..n * 3072).map(|i| (i * 31 % 251) as u8).collect(),
            labels: (0..n as u32).map(|i| i % 10).collect(),
        };
        let classes = (0..10).map(|c| c.to_string()).collect();
        let dataset = Dataset::new("made up", classes, images(2 * batch), images(10));
        let optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };
        let config = Config { model: "resnet20".into(), data: "made up".into(), batch, optimizer, ..Config::default() };
        let mut trainer = Trainer::new(config, dataset, open())?;
        let seconds = median(ROUNDS, || {
            if trainer.epoch_is_over() {
                trainer.next_epoch()?;
            }
            let begin = Instant::now();
            trainer.step()?;
            block_on(trainer.score())?;
            Ok(begin.elapsed().as_secs_f64())
        })?;
        println!(
            "  batch {batch:>5} {:10.1} ms a step {:8.3} ms an image",
            seconds * 1e3,
            seconds * 1e3 / batch as f64
        );
        all.push((batch, seconds / batch as f64));
        if seconds > ENOUGH {
            break;
        }
    }
    Ok(all)
}

/// Seconds for each op of a chain, until it is handed over and until it is done.
fn chain(mut session: Session, len: usize) -> Result<[f64; 2]> {
    let g = Graph::new();
    let x = g.input("x", &[len]);
    let y = (0..CHAIN).fold(x, |y, i| if i % 2 == 0 { y.sin() } else { y.cos() });
    let mut program = session.compile(&g, &[y])?;
    let data: Vec<f32> = (0..len).map(|i| i as f32 * 0.01).collect();
    let mut handed = Vec::new();
    let done = median(ROUNDS, || {
        let begin = Instant::now();
        program.run(&mut session, [(x, &data)])?;
        handed.push(begin.elapsed().as_secs_f64() / CHAIN as f64);
        program.read_now(&session, y)?;
        Ok(begin.elapsed().as_secs_f64() / CHAIN as f64)
    })?;
    handed.sort_by(f64::total_cmp);
    Ok([handed[handed.len() / 2], done])
}

/// Attention's gradient over `t` tokens, four heads of 32; by its kernels, or with its scores written out.
fn attention(g: &Graph, t: usize, fused: bool) -> engine::Result<Vec<Tensor<'_>>> {
    let x = ["q", "k", "v"].map(|name| g.input(name, &[1, t, 4, 32]));
    let how = Attention { causal: false, scale: 32f64.powf(-0.5) };
    let y = match fused {
        true => x[0].attention(x[1], x[2], how, None)[0],
        false => {
            let [q, k, v] = x.map(|x| x.transpose(&[0, 2, 1, 3]));
            let scores = q.matmul_as(false, k, true) * how.scale;
            scores.softmax(3).matmul(v)
        }
    };
    (y * y).mean_all().grad(&x)
}

fn lengths(mut session: Session) -> Result<Vec<[f64; 4]>> {
    let mut all = Vec::new();
    for t in [256, 512, 1024, 2048, 4096] {
        let g = Graph::new();
        let outputs = attention(&g, t, true)?;
        let mut program = session.compile(&g, &outputs)?;
        let data: Vec<f32> = (0..t * 128).map(|i| (i as f32 * 0.37).sin()).collect();
        let inputs = ["q", "k", "v"].map(|name| (name, &data));
        let seconds = median(1, || {
            let begin = Instant::now();
            program.run(&mut session, inputs)?;
            program.read_now(&session, outputs[0])?;
            Ok(begin.elapsed().as_secs_f64())
        })?;
        let plain = Graph::new();
        let plain = Plan::new(Target::GPU, &plain, &attention(&plain, t, false)?)?;
        let (own, plain) = (program.plan().bytes() as f64 / 1e6, plain.bytes() as f64 / 1e6);
        println!(
            "  {t:>5} tokens {own:8.2} MB, with scores written out {plain:9.2} MB {:10.1} ms for a gradient",
            seconds * 1e3
        );
        all.push([t as f64, own, plain, seconds]);
    }
    Ok(all)
}

fn draw(name: &str, slice: &Slice) -> std::io::Result<()> {
    let folder = PathBuf::from("target/scaling");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), slice.figure().svg())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted =
        |name: &str| !arguments.iter().any(|a| a == "host" || a == "device") || arguments.iter().any(|a| a == name);
    let gpu = if wanted("device") { block_on(Gpu::open()).ok() } else { None };
    let mut sides: Vec<(&str, String, Open)> = Vec::new();
    if wanted("host") {
        sides.push(("host", Session::host().executor(), Box::new(Session::host)));
    }
    if let Some(gpu) = gpu {
        sides.push(("device", gpu.adapter().to_string(), Box::new(move || Session::device(gpu.clone()))));
    }
    for (side, executor, open) in &sides {
        let notes = [executor.clone()];
        println!("{executor}\n\ntraining step of ResNet-20");
        let points = steps(open)?;
        let x: Vec<f64> = points.iter().map(|p| (p.0 as f64).log2()).collect();
        let values: Vec<f64> = points.iter().map(|p| p.1 * 1e3).collect();
        let lines = [Line { name: side, values: &values, model: false }];
        draw(
            &format!("{side}-steps.svg"),
            &Slice {
                title: "A training step of ResNet-20",
                x: &x,
                lines: &lines,
                x_label: "binary logarithm of the batch",
                y_label: "ms for an image",
                log: true,
                notes: &notes,
            },
        )?;
        println!("\nchain of {CHAIN} dispatches");
        let (mut x, mut values) = (Vec::new(), [Vec::new(), Vec::new()]);
        for len in [64, 256, 1024, 4096] {
            let times = chain(open(), len)?.map(|t| t * 1e6);
            println!("  {len:>5} elements {:8.2} µs until handed over {:8.2} µs until done", times[0], times[1]);
            x.push((len as f64).log2());
            values.iter_mut().zip(times).for_each(|(v, t)| v.push(t));
        }
        let lines = [("until handed over", 0), ("until done", 1)].map(|(name, i)| Line {
            name,
            values: &values[i],
            model: false,
        });
        draw(
            &format!("{side}-chain.svg"),
            &Slice {
                title: &format!("A dispatch in a chain of {CHAIN}"),
                x: &x,
                lines: &lines,
                x_label: "binary logarithm of the elements",
                y_label: "µs",
                log: true,
                notes: &notes,
            },
        )?;
        println!("\ngradient of attention, four heads of 32");
        let points = lengths(open())?;
        let column = |i: usize| points.iter().map(|p| p[i]).collect::<Vec<f64>>();
        let (x, own, plain) = (column(0), column(1), column(2));
        let lines = [
            Line { name: "fused", values: &own, model: false },
            Line { name: "scores written out", values: &plain, model: true },
        ];
        draw(
            &format!("{side}-attention.svg"),
            &Slice {
                title: "Memory of attention's gradient",
                x: &x,
                lines: &lines,
                x_label: "tokens",
                y_label: "MB",
                log: true,
                notes: &notes,
            },
        )?;
        println!();
    }
    Ok(())
}

//! Wall time of matrix products, convolutions, batch normalization and training steps, on the host and on the device.
//!
//! `HILLSHADE_ADAPTER` picks the device; `cargo bench -- host` or `-- device` runs one side.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hillshade::{
    engine::{Conv, Data, Gpu, Graph, Program, Result, Session, Var, block_on},
    models::{
        Config, Optimizer, Schedule, ScheduleShape, Trainer,
        data::{Dataset, Images},
    },
};

/// The executors: the host, and a device where there is one.
fn sessions() -> Vec<(&'static str, Session)> {
    let device = block_on(Gpu::open()).map(|gpu| ("device", Session::device(gpu)));
    [("host", Session::host())].into_iter().chain(device).collect()
}

/// Times a graph on inputs of these shapes, its outputs' last one read back, which waits for the run.
fn time(
    c: &mut Criterion,
    group: &str,
    id: &str,
    shapes: &[&[usize]],
    build: fn(&mut Graph, &[Var]) -> Result<Vec<Var>>,
) {
    let mut group = c.benchmark_group(group);
    group.sample_size(10);
    for (name, mut session) in sessions() {
        let mut g = Graph::new();
        let names: Vec<String> = (0..shapes.len()).map(|i| format!("x{i}")).collect();
        let x: Result<Vec<Var>> = names.iter().zip(shapes).map(|(n, s)| g.input(n, s)).collect();
        let prepared = x.and_then(|x| {
            let y = build(&mut g, &x)?;
            // One number depends on all results, so that nothing is pruned and little is read.
            let sums =
                y.iter().map(|&y| g.sum(y, &(0..g.shape(y).len()).collect::<Vec<_>>())).collect::<Result<Vec<_>>>()?;
            let total = sums[1..].iter().try_fold(sums[0], |a, &b| g.add(a, b))?;
            Ok((session.compile(&g, &[total])?, total))
        });
        let (mut program, total): (Program, Var) = prepared.expect("the shapes fit");
        let data: Vec<Vec<f32>> = shapes
            .iter()
            .map(|s| (0..s.iter().product()).map(|i: usize| (i % 97) as f32 / 97.0 - 0.5).collect())
            .collect();
        let feeds: Vec<(&str, Data)> = names.iter().zip(&data).map(|(n, d)| (n.as_str(), Data::F32(d))).collect();
        group.throughput(Throughput::Elements(program.plan().flops()));
        group.bench_function(BenchmarkId::new(name, id), |b| {
            b.iter(|| {
                program.run(&mut session, &feeds).expect("the program runs");
                black_box(program.read_now(&session, total).expect("the total can be read"))
            });
        });
    }
    group.finish();
}

fn ops(c: &mut Criterion) {
    for n in [512, 1024] {
        time(c, "matmul", &n.to_string(), &[&[n, n], &[n, n]], |g, x| Ok(vec![g.matmul(x[0], x[1])?]));
    }
    let conv = |g: &mut Graph, x: &[Var]| Ok(vec![g.conv2d(x[0], x[1], Conv::padded(1))?]);
    let trained = |g: &mut Graph, x: &[Var]| {
        let y = g.conv2d(x[0], x[1], Conv::padded(1))?;
        g.vjp(&[y], &[y], x)
    };
    let normed = |g: &mut Graph, x: &[Var]| {
        let [y, _, _] = g.batch_norm(x[0], x[1], x[2], 1e-5)?;
        g.vjp(&[y], &[y], x)
    };
    for [side, channels] in [[32, 16], [8, 64], [32, 64]] {
        let (x, w) = ([32, side, side, channels], [3, 3, channels, channels]);
        let id = format!("32x{side}x{side}x{channels}");
        time(c, "conv2d forward", &id, &[&x, &w], conv);
        time(c, "conv2d forward and backward", &id, &[&x, &w], trained);
        time(c, "batch_norm forward and backward", &id, &[&x, &[channels], &[channels]], normed);
    }
}

/// Images that do not matter.
fn grey([h, w, c]: [usize; 3], n: usize) -> Images {
    let pixels = (0..n * h * w * c).map(|i| (i * 31 % 251) as u8).collect();
    Images { shape: [h, w, c], pixels, labels: (0..n as u32).map(|i| i % 10).collect() }
}

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("training step");
    group.sample_size(10);
    for (model, size, batch) in [
        ("mlp", [28, 28, 1], 128),
        ("cnn", [8, 8, 1], 64),
        ("cnn", [28, 28, 1], 128),
        ("resnet20", [32, 32, 3], 32),
        ("resnet20", [32, 32, 3], 128),
    ] {
        for (name, session) in sessions() {
            let classes = (0..10).map(|c| c.to_string()).collect();
            // More images than a step takes, so that a step brings its own to the session.
            let dataset = Dataset::new("grey", classes, grey(size, 2 * batch), grey(size, 10));
            let config = Config {
                model: model.into(),
                data: "grey".into(),
                epochs: 1,
                batch,
                optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 },
                schedule: Schedule { rate: 0.01, shape: ScheduleShape::Constant, warmup: 0 },
                ..Config::default()
            };
            let mut trainer = Trainer::new(config, dataset, session).expect("a fitting configuration");
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(
                BenchmarkId::new(name, format!("{model} {batch}x{}x{}x{}", size[0], size[1], size[2])),
                |b| {
                    b.iter(|| {
                        if trainer.epoch_is_over() {
                            trainer.next_epoch().expect("the session works");
                        }
                        trainer.step().expect("the step runs");
                        black_box(block_on(trainer.score()).ok())
                    });
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, ops, steps);
criterion_main!(benches);

//! Wall time of training steps, and of matrix products, convolutions and batch normalization as peers time them: with
//! the upload of their operands and a sum over their results.
//!
//! `HILLSHADE_ADAPTER` picks the device; `cargo bench --bench steps -- host` or `-- device` runs one side.

mod common;

use std::{hint::black_box, time::Duration};

use common::{Facts, Row, Side, group, sides};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hillshade::{
    engine::{Conv, Data, Graph, Result, Tensor, block_on},
    models::{
        Config, Optimizer, Schedule, ScheduleShape, Trainer,
        data::{Dataset, Images},
    },
};

/// Time of a sample, of which there are ten.
const SAMPLE: Duration = Duration::from_millis(100);

type Build = for<'g> fn(&[Tensor<'g>]) -> Result<Vec<Tensor<'g>>>;

/// A graph on inputs of these shapes.
struct Timed<'a> {
    group: &'a str,
    id: &'a str,
    shapes: &'a [&'a [usize]],
    build: Build,
}

/// Times a graph, one number that depends on all results read back, which waits for the run.
fn time(c: &mut Criterion, sides: &[Side], facts: &mut Facts, timed: &Timed) {
    let Timed { group: op, id, shapes, build } = *timed;
    let mut group = group(c, op, SAMPLE);
    let g = Graph::new();
    let x: Vec<Tensor> = shapes.iter().enumerate().map(|(i, shape)| g.input(&format!("x{i}"), shape)).collect();
    // So that nothing is pruned and little is read.
    let sums = build(&x).expect("there are rules").into_iter().map(Tensor::sum_all);
    let total = sums.reduce(|a, b| a + b).expect("results");
    let number = |i: usize| (i % 97) as f32 / 97.0 - 0.5;
    let data: Vec<Vec<f32>> = shapes.iter().map(|s| (0..s.iter().product()).map(number).collect()).collect();
    let inputs: Vec<(Tensor, Data)> = x.iter().copied().zip(data.iter().map(Data::from)).collect();
    for side in sides {
        let mut session = side.open();
        let mut program = session.compile(&g, &[total]).expect("the shapes fit");
        let plan = program.plan();
        let (flops, bytes) = (plan.flops(), plan.steps.iter().map(|s| s.bytes()).sum::<u64>());
        group.throughput(Throughput::ElementsAndBytes { elements: flops, bytes });
        let mut note = Some(Row::wall(op, id, side, flops as f64, bytes as f64));
        group.bench_function(BenchmarkId::new(side.by, id), |b| {
            note.take().into_iter().for_each(|row| facts.add(side, &row));
            b.iter(|| {
                program.run(&mut session, &inputs).expect("the program runs");
                black_box(program.read_now(&session, total).expect("the total can be read"))
            });
        });
    }
    group.finish();
}

fn ops(c: &mut Criterion, sides: &[Side], facts: &mut Facts) {
    let mut time = |group: &str, id: &str, shapes: &[&[usize]], build: Build| {
        time(c, sides, facts, &Timed { group, id, shapes, build });
    };
    for n in [512, 1024] {
        time("matmul", &n.to_string(), &[&[n, n], &[n, n]], |x| Ok(vec![x[0].matmul(x[1])]));
    }
    let conv: Build = |x| Ok(vec![x[0].conv2d(x[1], Conv::padded(1))]);
    let trained: Build = |x| {
        let y = x[0].conv2d(x[1], Conv::padded(1));
        y.graph().vjp(&[y], &[y], x)
    };
    let normed: Build = |x| {
        let [y, ..] = x[0].batch_norm(x[1], x[2], 1e-5);
        y.graph().vjp(&[y], &[y], x)
    };
    for [side, channels] in [[32, 16], [8, 64], [32, 64]] {
        let (x, w) = ([32, side, side, channels], [3, 3, channels, channels]);
        let id = format!("32x{side}x{side}x{channels}");
        time("conv2d forward", &id, &[&x, &w], conv);
        time("conv2d forward and backward", &id, &[&x, &w], trained);
        time("batch_norm forward and backward", &id, &[&x, &[channels], &[channels]], normed);
    }
}

/// Images that do not matter.
fn grey([h, w, c]: [usize; 3], n: usize) -> Images {
    let pixels = (0..n * h * w * c).map(|i| (i * 31 % 251) as u8).collect();
    Images { shape: [h, w, c], pixels, labels: (0..n as u32).map(|i| i % 10).collect() }
}

fn steps(c: &mut Criterion, sides: &[Side], facts: &mut Facts) {
    let op = "training step";
    let mut group = group(c, op, SAMPLE);
    for (model, size, batch) in [
        ("mlp", [28, 28, 1], 128),
        ("cnn", [8, 8, 1], 64),
        ("cnn", [28, 28, 1], 128),
        ("resnet20", [32, 32, 3], 32),
        ("resnet20", [32, 32, 3], 128),
    ] {
        let id = format!("{model} {batch}x{}x{}x{}", size[0], size[1], size[2]);
        for side in sides {
            group.throughput(Throughput::Elements(batch as u64));
            let mut trainer = None;
            group.bench_function(BenchmarkId::new(side.by, &id), |b| {
                let trainer = trainer.get_or_insert_with(|| {
                    let mut trainer = trainer_of(model, size, batch, side);
                    let spans =
                        trainer.profile_step().map_or(Vec::new(), |p| p.into_iter().flat_map(|p| p.spans).collect());
                    let flops = spans.iter().map(|s| s.flops).sum();
                    let bytes = spans.iter().map(|s| s.bytes as f64).sum();
                    facts.add(side, &Row::wall(op, &id, side, flops, bytes));
                    trainer
                });
                b.iter(|| {
                    if trainer.epoch_is_over() {
                        trainer.next_epoch().expect("the session works");
                    }
                    trainer.step().expect("the step runs");
                    black_box(block_on(trainer.score()).ok())
                });
            });
        }
    }
    group.finish();
}

/// A training run on images that do not matter.
fn trainer_of(model: &str, size: [usize; 3], batch: usize, side: &Side) -> Trainer {
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
    Trainer::new(config, dataset, side.open()).expect("a fitting configuration")
}

fn all(c: &mut Criterion) {
    let (sides, mut facts) = (sides(), Facts::new("steps"));
    ops(c, &sides, &mut facts);
    steps(c, &sides, &mut facts);
}

criterion_group!(benches, all);
criterion_main!(benches);

//! Training steps that store 16-bit floats between their passes.

use crate::common::*;
use hillshade::{
    engine::{DType, Graph, Plan, Session, Source},
    models::{
        Builder, Config, Mode, Network, Optimizer, Perturbation, Precision, Schedule, ScheduleShape, Task, Trainer,
        data::{Dataset, Images},
    },
};

fn executors() -> [Session; 3] {
    [Session::device(gpu(false)), Session::host(), Session::reference()]
}

/// Images of noise, brighter or darker by their label.
fn dataset(size: [usize; 3], n: usize) -> Dataset {
    let pixels = size.iter().product::<usize>();
    let draw = |n: usize, stream: u32| {
        let labels: Vec<u32> = (0..n).map(|i| (i * 7 % 10) as u32).collect();
        let shade = |i: usize| 20.0 * f64::from(labels[i / pixels]) + 35.0;
        let pixels = noise(n * pixels, stream).iter().enumerate().map(|(i, v)| (shade(i) + 35.0 * v) as u8).collect();
        Images { shape: size, pixels, labels }
    };
    Dataset::new("noise", (0..10).map(|c| c.to_string()).collect(), draw(n, 1), draw(20, 2))
}

fn config(model: &str, precision: Precision, own: Config) -> Config {
    let schedule = Schedule { rate: 0.02, shape: ScheduleShape::Constant, warmup: 0 };
    Config { model: model.into(), data: "noise".into(), epochs: 4, seed: 5, schedule, precision, ..own }
}

fn after(session: Session, config: Config, steps: usize) -> Vec<(String, Vec<f32>)> {
    let mut t = Trainer::new(config, dataset([8, 8, 1], 64), session).expect("a fitting configuration");
    for _ in 0..steps {
        t.step().expect("the step runs");
    }
    let states = pollster_block(t.checkpoint()).expect("finite states").states;
    states.into_iter().map(|(name, (_, data))| (name, data)).collect()
}

/// A step in f16 is nearly that in f32, the same on all executors, and the same bits each time.
#[test]
fn steps_are_nearly_those_in_f32() {
    let sam = Some(Perturbation::Sam { rho: 0.05 });
    let adam = Optimizer::AdamW { decay: 0.01 };
    for (model, perturbation, accumulate) in [
        ("cnn:widths=4-6", None, 2),
        ("cnn:widths=4-6,norm=none", sam, 1),
        ("resnet8:width=4", None, 1),
        ("vit:layers=1,heads=2,width=16,patch=4", None, 1),
        ("mlp:widths=20,activation=gelu,dropout=0.3", None, 1),
    ] {
        let own = |precision| {
            let own = Config { batch: 16, perturbation, accumulate, optimizer: adam, ..Config::default() };
            config(model, precision, own)
        };
        let whole = after(Session::reference(), own(Precision::F32), 1);
        let want = after(Session::reference(), own(Precision::F16), 1);
        assert!(whole != want, "{model}");
        for session in executors() {
            let executor = session.executor();
            let got = after(session, own(Precision::F16), 1);
            for ((name, got), ((_, want), (_, whole))) in got.iter().zip(want.iter().zip(&whole)) {
                let what = format!("{model} on {executor}: {name}");
                let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
                // A key's bias moves all scores of a query alike: its gradient is rounding.
                if name.starts_with("moment1/") && !name.ends_with("key.bias") {
                    // A value beside a tie falls to either side.
                    assert_close(&what, &wide(got), &wide(want), 2e-2);
                    assert_close(&what, &wide(got), &wide(whole), 5e-2);
                }
            }
        }
        let [one, other] = [(), ()].map(|()| after(Session::host(), own(Precision::F16), 3));
        assert!(one == other, "{model}: other bits in another run");
    }
}

/// Between the passes of a step on ResNet-20 all that is large is stored as halves.
#[test]
fn a_step_in_f16_needs_little_more_than_half_the_memory() {
    let plan = |precision| {
        let own = Config { batch: 128, ..Config::default() };
        let task = Task::from(dataset([32, 32, 3], 256));
        let t = Trainer::new(config("resnet20", precision, own), task, Session::host()).expect("it fits");
        t.step_program().plan().clone()
    };
    let [whole, half] = [Precision::F32, Precision::F16].map(plan);
    let ratio = half.bytes() as f64 / whole.bytes() as f64;
    println!("{} and {} bytes: {ratio:.3}", whole.bytes(), half.bytes());
    assert!(ratio <= 0.66, "{ratio}");
    assert!(half.flops() as f64 <= 1.02 * whole.flops() as f64);
    let words = |plan: &Plan| plan.slots.iter().filter(|(dtype, _)| *dtype == DType::F16x2).map(|s| s.1).sum::<usize>();
    assert!(4 * words(&half) as u64 > half.bytes() / 2, "{} words", words(&half));
}

/// Nothing is stored where nothing is asked for, and inputs never are.
#[test]
fn what_is_stored_is_what_ops_made() {
    let task = Task::from(dataset([8, 8, 1], 64));
    let network = Network::parse("cnn:widths=4").expect("a network");
    let mut stored = Vec::new();
    for half in [false, true] {
        let g = Graph::new();
        let mut b = Builder::new(&g, Mode::Train);
        let [x, _] = task.inputs(&g, 16);
        let y = network.build(&mut b, x, 10).expect("it fits");
        g.store_f16(half);
        y.mean_all().grad(&b.trained_values()).expect("rules");
        let halves = g.nodes().filter(|n| matches!(&n.source, Source::Op(op) if op.name() == "pack_f16"));
        let is_by_op = |x| matches!(g.tensor(x).node().expect("a value").source, Source::Op(_));
        let made: Vec<bool> = halves.map(|n| is_by_op(n.x[0])).collect();
        assert!(made.iter().all(|&by_op| by_op));
        stored.push(made.len());
    }
    assert_eq!(stored[0], 0);
    assert!(stored[1] >= 3, "{stored:?}");
}

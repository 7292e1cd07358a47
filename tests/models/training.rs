//! Runs of the library: sharpness-aware steps, steps on all images, what a checkpoint has, when there are tests.

use hillshade::{
    engine::{Data, Graph, Session, block_on},
    models::{
        Builder, Config, Loss, Mode, Optimizer, Part, Perturbation, Schedule, ScheduleShape, Trainer,
        data::{Dataset, Images},
    },
};

use crate::common::{assert_close, evaluate, gpu, noise};

/// Small images of noise, brighter or darker by their label.
pub fn dataset() -> Dataset {
    let draw = |n: usize, stream: u32| {
        let labels: Vec<u32> = (0..n).map(|i| (i * 7 % 10) as u32).collect();
        let shade = |i: usize| 20.0 * f64::from(labels[i / 64]) + 35.0;
        let pixels = noise(n * 64, stream).iter().enumerate().map(|(i, v)| (shade(i) + 35.0 * v) as u8).collect();
        Images { shape: [8, 8, 1], pixels, labels }
    };
    Dataset::new("noise", (0..10).map(|c| c.to_string()).collect(), draw(64, 1), draw(20, 2))
}

/// A short run at a constant rate.
fn trainer(session: Session, own: Config) -> Trainer {
    let schedule = Schedule { shape: ScheduleShape::Constant, warmup: 0, ..own.schedule };
    let config = Config { data: "noise".into(), epochs: 4, schedule, seed: 5, ..own };
    Trainer::new(config, dataset(), session).expect("a fitting configuration")
}

/// The run's states by name after some steps.
fn after(mut t: Trainer, steps: usize) -> Vec<(String, Vec<f32>)> {
    for _ in 0..steps {
        if t.epoch_is_over() {
            t.next_epoch().expect("the session works");
        }
        t.step().expect("the step runs");
    }
    let states = block_on(t.checkpoint()).expect("finite states").states;
    states.into_iter().map(|(name, (_, data))| (name, data)).collect()
}

fn wide(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&v| v.into()).collect()
}

const UPHILL: [Perturbation; 2] = [Perturbation::Sam { rho: 0.05 }, Perturbation::Asam { rho: 0.5 }];

/// The second pass leaves running statistics and the epoch's loss as the first one made them; weights it does not.
#[test]
fn running_statistics_are_those_of_the_first_pass() {
    let own = |perturbation| Config { model: "cnn:widths=4-6".into(), batch: 16, perturbation, ..Config::default() };
    let plain = after(trainer(Session::reference(), own(None)), 1);
    for how in UPHILL {
        let got = after(trainer(Session::reference(), own(Some(how))), 1);
        let mut running = 0;
        for ((name, got), (other, want)) in got.iter().zip(&plain) {
            assert_eq!(name, other);
            if name.contains("running") || name == "epoch/totals" {
                running += 1;
                assert_eq!(got, want, "{name}");
            } else if name.starts_with("velocity/") && name.ends_with(".weight") {
                assert_ne!(got, want, "{name}");
            }
        }
        assert_eq!(running, 5);
    }
}

#[test]
fn sharpness_aware_steps_are_the_same_on_all_executors() {
    for how in UPHILL {
        for model in ["cnn:widths=4-6", "cnn:widths=4,norm=none", "mlp:widths=20,activation=gelu,dropout=0.3"] {
            let own = || Config {
                model: model.into(),
                batch: 16,
                loss: Loss::Squared,
                perturbation: Some(how),
                schedule: Schedule { rate: 1e-3, ..Config::default().schedule },
                ..Config::default()
            };
            let truth = after(trainer(Session::reference(), own()), 1);
            for session in [Session::device(gpu(false)), Session::host()] {
                let executor = session.executor();
                for ((name, got), (_, want)) in after(trainer(session, own()), 1).iter().zip(&truth) {
                    assert_close(&format!("{model} {how:?} {executor}: {name}"), &wide(got), &wide(want), 2e-4);
                }
            }
            let again = || after(trainer(Session::host(), own()), 10);
            assert_eq!(again(), again(), "{model} {how:?}");
        }
    }
}

/// Full batches stay in the session, in file order; every step is a step on all of the first images.
#[test]
fn full_batches_are_all_images_in_their_order() {
    let own = |flip| Config {
        model: "mlp:widths=12,activation=tanh".into(),
        batch: 40,
        limit: Some(40),
        loss: Loss::Squared,
        optimizer: Optimizer::Sgd { momentum: 0.0, nesterov: false, decay: 0.0 },
        flip,
        ..Config::default()
    };
    let data = dataset();
    let first = data.batch(&data.train, &(0..40).collect::<Vec<_>>(), None);
    for session in [Session::device(gpu(false)), Session::host(), Session::reference()] {
        let mut t = trainer(session, own(false));
        assert_eq!(
            (t.steps_per_epoch(), t.task().len(Part::Train), t.task().images().map(|d| &d.mean)),
            (1, 40, Some(&data.mean))
        );
        let inputs = [("images", Data::F32(&first.x)), ("labels", Data::U32(&first.labels))];
        for _ in 0..3 {
            // The loss and a step of gradient descent, by a program beside the run's that reads its parameters.
            let g = Graph::new();
            let mut b = Builder::new(&g, Mode::Train);
            let (x, labels) = (g.input("images", &[40, 8, 8, 1]), g.input_u32("labels", &[40]));
            let logits = t.network().build(&mut b, x, 10).expect("fitting");
            let loss = t.config().loss.build(logits, labels).mean_all();
            let p = b.trained().next().expect("a weight").clone();
            let value = p.value(&g);
            let moved = value + loss.grad(&[value]).expect("rules")[0] * -0.05;
            let want = evaluate(t.session_mut(), &g, &[loss, moved], inputs);
            t.step().expect("the step runs");
            let score = block_on(t.score()).expect("finite").expect("a step");
            assert!((score.loss - want[0][0]).abs() < 1e-6 * want[0][0], "{score:?}, expected {}", want[0][0]);
            let got = block_on(t.session().get(&p.name)).expect("a state");
            assert_close(&p.name, &wide(&got), &want[1], 1e-6);
            t.next_epoch().expect("the session works");
        }
    }
    // What is changed at random cannot stay.
    let [still, mirrored] = [false, true].map(|flip| after(trainer(Session::host(), own(flip)), 2));
    assert_ne!(still, mirrored);
}

/// What other programs keep in the session is none of the run's.
#[test]
fn checkpoints_have_the_run_s_own_states() {
    for batch in [16, 64] {
        let own = || Config { model: "mlp:widths=6".into(), batch, ..Config::default() };
        let mut t = trainer(Session::host(), own());
        let alone = block_on(t.checkpoint()).expect("finite states");
        let names: Vec<&str> = alone.states.keys().map(String::as_str).collect();
        let params = ["head.bias", "head.weight", "hidden0.bias", "hidden0.weight"];
        let velocities = ["velocity/head.bias", "velocity/head.weight", "velocity/hidden0.bias"];
        assert_eq!(names, [&["epoch/totals"], &params[..], &velocities, &["velocity/hidden0.weight"]].concat());
        t.session_mut().set("lanczos/basis", &[2], &[1.0, f32::NAN]).expect("a size that matches");
        assert_eq!(block_on(t.checkpoint()).expect("finite states"), alone);
        // Nor are they in the way of going on, in a session that has them.
        let mut session = Session::host();
        session.set("lanczos/basis", &[3], &[7.0; 3]).expect("a size that matches");
        let path = std::path::Path::new("nowhere");
        let went_on = Trainer::resume(&alone, path, dataset(), session).expect("the same network");
        assert_eq!(after(went_on, 3), after(t, 3));
    }
}

#[test]
fn tests_come_after_every_few_epochs_and_at_the_end() {
    let next = |test_every| {
        let own = Config { model: "mlp:widths=6".into(), batch: 64, test_every, ..Config::default() };
        let mut t = trainer(Session::host(), own);
        let mut all = Vec::new();
        while !t.is_done() {
            all.push(t.next_test());
            t.next_epoch().expect("the session works");
        }
        all
    };
    assert_eq!(next(1), [1, 2, 3, 4]);
    assert_eq!(next(0), [1, 2, 3, 4]);
    assert_eq!(next(3), [3, 3, 3, 4]);
    assert_eq!(next(2), [2, 2, 4, 4]);
    assert_eq!(next(u32::MAX), [4; 4]);
}

#[test]
fn limits_and_batches_that_there_are_not_are_refused() {
    for (limit, batch, told) in [
        (Some(65), 16, "limit: expected 2 to 64, the number of training images, found 65"),
        (Some(1), 16, "limit: expected 2 to 64, the number of training images, found 1"),
        (Some(8), 16, "batch: expected 2 to 8, the number of training images, found 16"),
        (None, 0, "batch: expected 2 to 64, the number of training images, found 0"),
    ] {
        let config = Config { data: "noise".into(), limit, batch, ..Config::default() };
        assert_eq!(Trainer::new(config, dataset(), Session::host()).expect_err("not there").to_string(), told);
    }
}

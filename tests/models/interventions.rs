//! What a step may have beside its optimizer: smoothed labels, mixed images, shortened gradients, several passes, averages.

use std::collections::BTreeMap;

use hillshade::{
    engine::{Data, Graph, Session, Tensor, block_on},
    models::{
        Builder, Checkpoint, Config, Init, Intervention, Loss, LossScale, Mode, Optimizer, Pass, Result, Schedule,
        ScheduleShape, Step, Trainer, Values,
        data::{Dataset, Images, Mixup},
    },
};

use crate::{
    common::{assert_close, dot, evaluate, gpu, noise, noise32},
    training::dataset,
};

const DESCENT: Optimizer = Optimizer::Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };

fn config(own: Config) -> Config {
    let schedule = Schedule { rate: 0.05, shape: ScheduleShape::Constant, warmup: 0 };
    Config { data: "noise".into(), epochs: 4, batch: 16, schedule, seed: 5, ..own }
}

fn trainer(session: Session, own: Config) -> Trainer {
    Trainer::new(own, dataset(), session).expect("a fitting configuration")
}

type States = BTreeMap<String, Vec<f64>>;

fn states(t: &Trainer) -> States {
    let get = |name: String| {
        let data = block_on(t.session().get_wide(&name)).expect("the state is there");
        (name, data)
    };
    t.session().names().into_iter().map(get).collect()
}

fn run(t: &mut Trainer, steps: usize) {
    for _ in 0..steps {
        if t.epoch_is_over() {
            t.next_epoch().expect("the session works");
        }
        t.step().expect("the step runs");
    }
}

fn after(session: Session, own: Config, steps: usize) -> States {
    let mut t = trainer(session, config(own));
    run(&mut t, steps);
    states(&t)
}

/// Everything at once.
fn all(model: &str) -> Config {
    let (smoothing, mixup, clip) = (0.1, 0.4, Some(0.3));
    Config {
        model: model.into(),
        smoothing,
        mixup,
        clip,
        accumulate: 2,
        average: Some(0.9),
        crop: 1,
        ..Config::default()
    }
}

fn close(what: &str, got: &States, want: &States, tolerance: f64) {
    assert!(got.keys().eq(want.keys()), "{what}: {:?}, expected {:?}", got.keys(), want.keys());
    for (name, want) in want {
        assert_close(&format!("{what}: {name}"), &got[name], want, tolerance);
    }
}

/// `−Σ q log p` and `½ ‖z − q‖²` with `q = (1 − α) [j = y] + α/classes`, and their slopes.
#[test]
fn smoothed_losses_are_those_of_smoothed_targets() {
    let (n, classes, share) = (3, 4, 0.2);
    let labels = [2, 0, u32::MAX];
    let (z, narrow) = (noise(n * classes, 8), noise32(n * classes, 8));
    for loss in [Loss::CrossEntropy, Loss::Squared] {
        let g = Graph::new();
        let (logits, y) = (g.input("logits", &[n, classes]), g.input_u32("labels", &[n]));
        let losses = loss.smoothed(logits, y, share);
        let slope = losses.sum_all().grad(&[logits]).expect("rules")[0];
        let inputs = [(logits, Data::F32(&narrow)), (y, Data::U32(&labels))];
        let got = evaluate(&mut Session::reference(), &g, &[losses, slope], inputs);
        for row in 0..n {
            let z = &z[row * classes..][..classes];
            let q: Vec<f64> = (0..classes)
                .map(|j| share / classes as f64 + if labels[row] == j as u32 { 1.0 - share } else { 0.0 })
                .collect();
            let lse = z.iter().map(|z| z.exp()).sum::<f64>().ln();
            let (mut want, mut slope) = match loss {
                Loss::CrossEntropy => (
                    dot(&q, &z.iter().map(|z| lse - z).collect::<Vec<_>>()),
                    z.iter().zip(&q).map(|(z, q)| (z - lse).exp() - q).collect::<Vec<_>>(),
                ),
                Loss::Squared => {
                    let off: Vec<f64> = z.iter().zip(&q).map(|(z, q)| z - q).collect();
                    (dot(&off, &off) / 2.0, off)
                }
            };
            if labels[row] == u32::MAX {
                want = 0.0;
                slope.fill(0.0);
            }
            assert!((got[0][row] - want).abs() < 1e-7, "{loss:?}: {} in row {row}, expected {want}", got[0][row]);
            let found = &got[1][row * classes..][..classes];
            assert!(
                found.iter().zip(&slope).all(|(a, b)| (a - b).abs() < 1e-7),
                "{loss:?}: {found:?}, expected {slope:?}"
            );
        }
    }
}

/// Without batch statistics, passes over parts are one pass over all; with them and a mask it is the parts' own.
#[test]
fn accumulated_gradients_are_true_means() {
    for model in ["mlp:widths=12", "cnn:widths=4-5,norm=group"] {
        let own = |accumulate| Config { model: model.into(), accumulate, ..Config::default() };
        let whole = after(Session::reference(), own(1), 5);
        for passes in [2, 8] {
            let mut parts = after(Session::reference(), own(passes), 5);
            let sums: Vec<String> = parts.keys().filter(|name| name.starts_with("gradient/")).cloned().collect();
            assert!(!sums.is_empty());
            for name in sums {
                assert!(parts.remove(&name).is_some_and(|sum| sum.iter().all(|&v| v == 0.0)), "{name} is left");
            }
            close(&format!("{model} in {passes} passes"), &parts, &whole, 1e-6);
        }
    }
    let own = |accumulate| Config { model: "cnn:widths=4".into(), accumulate, ..Config::default() };
    let [whole, parts] = [1, 2].map(|passes| after(Session::reference(), own(passes), 1));
    assert_ne!(whole["block0.norm.running_var"], parts["block0.norm.running_var"]);
}

/// Of images that are all alike, one pass is as good as two, unless they drop other features.
#[test]
fn every_pass_draws_its_own() {
    let pixels: Vec<u8> = (0..64).map(|i| (i * 37 % 256) as u8).collect();
    let alike = |n: usize| Images { shape: [8, 8, 1], pixels: pixels.repeat(n), labels: vec![3; n] };
    let weights = |dropout: f32, passes: u32| {
        let model = format!("mlp:widths=20,dropout={dropout}");
        let own = Config { model, accumulate: passes, ..Config::default() };
        let data = Dataset::new("alike", (0..10).map(|c| c.to_string()).collect(), alike(8), alike(2));
        let own = Config { batch: 2 * passes as usize, ..config(own) };
        let mut t = Trainer::new(own, data, Session::reference()).expect("a fitting configuration");
        run(&mut t, 1);
        states(&t)["hidden0.weight"].clone()
    };
    assert_close("without dropout", &weights(0.0, 2), &weights(0.0, 1), 1e-6);
    assert_ne!(weights(0.5, 2), weights(0.5, 1));
}

/// Plain descent moves by the rate times what is left of the gradient.
#[test]
fn long_gradients_are_shortened_and_short_ones_left() {
    let own = |clip| Config { model: "mlp:widths=12".into(), optimizer: DESCENT, clip, ..Config::default() };
    let moved = |clip| {
        let mut t = trainer(Session::reference(), config(own(clip)));
        let before = states(&t);
        run(&mut t, 1);
        let after = states(&t);
        let params = ["hidden0.weight", "hidden0.bias", "head.weight", "head.bias"];
        let moves =
            params.iter().flat_map(|p| after[*p].iter().zip(&before[*p]).map(|(a, b)| a - b).collect::<Vec<_>>());
        moves.collect::<Vec<f64>>()
    };
    let free = moved(None);
    let length = dot(&free, &free).sqrt() / 0.05;
    let short = moved(Some(length / 3.0));
    let want: Vec<f64> = free.iter().map(|v| v / 3.0).collect();
    assert_close("shortened", &short, &want, 1e-5);
    assert_close("left", &moved(Some(2.0 * length)), &free, 1e-9);
}

fn number(t: &Trainer, name: &str) -> f64 {
    states(t)[name][0]
}

/// A power of two times the loss has that times the gradient, to the bit.
#[test]
fn scaled_losses_lead_where_losses_lead() {
    for accumulate in [1, 2] {
        let own = |loss_scale| {
            let model = "cnn:widths=4".into();
            config(Config { model, accumulate, clip: Some(0.3), average: Some(0.9), loss_scale, ..Config::default() })
        };
        let after = |loss_scale| {
            let mut t = trainer(Session::host(), own(loss_scale));
            run(&mut t, 5);
            let counted = block_on(t.skipped()).expect("a session");
            let states: States = states(&t).into_iter().filter(|(name, _)| !name.starts_with("scale/")).collect();
            (states, counted)
        };
        let (want, none) = after(None);
        assert_eq!(none, None);
        for scale in [LossScale::Static(1024.0), LossScale::Dynamic] {
            assert!(after(Some(scale)) == (want.clone(), Some(0)), "{scale:?}");
        }
    }
}

/// Where the scaled gradient is beyond f32, nothing is learned, and a dynamic scale goes down; after enough steps, up.
#[test]
fn steps_without_a_finite_gradient_are_left_out() {
    /// What the optimizer changes.
    fn learned(t: &Trainer) -> States {
        let other = ["scale/", "epoch/", "average/", "gradient/"];
        let is_learned = |name: &str| !name.contains("running") && !other.iter().any(|o| name.starts_with(o));
        states(t).into_iter().filter(|(name, _)| is_learned(name)).collect()
    }
    /// Makes the slope of what comes before the last layer large.
    fn steepen(t: &mut Trainer) {
        let dense = |name: &String| !name.contains('/') && t.session().shape_of(name).is_some_and(|s| s.len() == 2);
        let names: Vec<String> = t.session().names().into_iter().filter(dense).collect();
        for name in names {
            let shape = t.session().shape_of(&name).expect("a state");
            let data = block_on(t.session().get(&name)).expect("a state");
            let data: Vec<f32> = data.into_iter().map(|v| 1e6 * v).collect();
            t.session_mut().set(&name, &shape, &data).expect("a state");
        }
    }
    let most = 2f64.powi(126);
    let momentum = Optimizer::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };
    for (optimizer, accumulate) in [(momentum, 1), (Optimizer::Adam { decay: 0.0 }, 2)] {
        let own = |loss_scale| {
            let model = "cnn:widths=4".into();
            config(Config { model, optimizer, accumulate, average: Some(0.5), loss_scale, ..Config::default() })
        };
        for session in [Session::host(), Session::device(gpu(false))] {
            let mut t = trainer(session, own(Some(LossScale::Dynamic)));
            run(&mut t, 2);
            steepen(&mut t);
            let before = learned(&t);
            t.session_mut().set("scale/loss", &[1], &[most as f32]).expect("a state");
            run(&mut t, 1);
            assert!(learned(&t) == before, "a step was not left out");
            let scale = |t: &Trainer| ["loss", "good", "skipped"].map(|name| number(t, &format!("scale/{name}")));
            assert_eq!(scale(&t), [most / 2.0, 0.0, 1.0]);
            t.session_mut().set("scale/loss", &[1], &[256.0]).expect("a state");
            t.session_mut().set("scale/good", &[1], &[1998.0]).expect("a state");
            run(&mut t, 1);
            assert!(learned(&t) != before, "a step was left out");
            assert_eq!(scale(&t), [256.0, 1999.0, 1.0]);
            run(&mut t, 1);
            assert_eq!(scale(&t), [512.0, 0.0, 1.0]);
            assert_eq!(block_on(t.skipped()).expect("a session"), Some(1));
        }
        let mut t = trainer(Session::host(), own(Some(LossScale::Static(most))));
        steepen(&mut t);
        let before = learned(&t);
        run(&mut t, 3);
        assert!(learned(&t) == before);
        assert_eq!(block_on(t.skipped()).expect("a session"), Some(3));
    }
}

/// The averages of what the parameters and statistics were after each step, first ones soon forgotten.
#[test]
fn averages_are_those_of_the_steps() {
    let own = |average| config(Config { model: "cnn:widths=4".into(), average, ..Config::default() });
    let (mut t, mut plain) = (trainer(Session::reference(), own(Some(0.3))), trainer(Session::reference(), own(None)));
    let mut want = states(&plain);
    for step in 1..=6 {
        run(&mut t, 1);
        run(&mut plain, 1);
        let share = 1.0 - 0.3f64.min((1.0 + f64::from(step)) / (10.0 + f64::from(step)));
        for (name, now) in states(&plain) {
            want.get_mut(&name).expect("the same").iter_mut().zip(now).for_each(|(w, v)| *w += share * (v - *w));
        }
        let got = states(&t);
        let mut averages = 0;
        for (name, average) in got.iter().filter_map(|(name, v)| Some((name.strip_prefix("average/")?, v))) {
            assert_close(name, average, &want[name], 1e-6);
            averages += 1;
        }
        assert_eq!(averages, 7);
    }
    // Training goes its own way, tests are of the averages.
    assert_eq!(states(&t)["head.weight"], states(&plain)["head.weight"]);
    let [score, other] = [&mut t, &mut plain].map(|t| block_on(t.test()).expect("the test runs"));
    assert_ne!(score, other);
    for (name, data) in states(&t).into_iter().filter_map(|(n, v)| Some((n.strip_prefix("average/")?.to_string(), v))) {
        let narrow: Vec<f32> = data.iter().map(|&v| v as f32).collect();
        let shape = plain.session().shape_of(&name).expect("a state");
        plain.session_mut().set(&name, &shape, &narrow).expect("as many");
    }
    let same = block_on(plain.test()).expect("the test runs");
    assert!((same.loss - score.loss).abs() < 1e-6 * score.loss, "{same:?}, expected {score:?}");
}

/// A mixed step is a step on the mixed images, with both losses.
#[test]
fn mixed_images_have_both_losses() {
    let own = config(Config { model: "mlp:widths=6".into(), mixup: 1.0, ..Config::default() });
    let own = Config { batch: 64, ..own };
    let mut t = trainer(Session::reference(), own.clone());
    let mut plain = trainer(Session::reference(), Config { mixup: 0.0, ..own.clone() });
    run(&mut t, 1);
    let loss = block_on(t.score()).expect("finite").expect("a step").loss;
    let data = dataset();
    let mut batch = data.batch(&data.train, &(0..64).collect::<Vec<_>>(), None);
    let mixup = Mixup::draw(1.0, 5, 0, 64);
    assert!(mixup.kept > 0.01 && mixup.kept < 0.99, "{}", mixup.kept);
    let others = mixup.mix(&mut batch.x, &batch.labels);
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Train);
    let x = g.input("images", &[64, 8, 8, 1]);
    let z = t.network().build(&mut b, x, 10).expect("fitting");
    let mut means = Vec::new();
    for (name, data) in [("own", &batch.labels), ("others", &others)] {
        let y = g.input_u32(name, &[64]);
        let mean = Loss::CrossEntropy.build(z, y).mean_all();
        let inputs = [(x, Data::F32(&batch.x)), (y, Data::U32(data))];
        means.push(evaluate(plain.session_mut(), &g, &[mean], inputs)[0][0]);
    }
    let want = f64::from(mixup.kept) * means[0] + f64::from(1.0 - mixup.kept) * means[1];
    assert!((loss - want).abs() < 1e-6 * want, "{loss}, expected {want}");
}

#[test]
fn all_of_it_is_the_same_on_all_executors_and_when_a_run_goes_on() {
    for model in ["cnn:widths=4-6", "mlp:widths=20,dropout=0.3"] {
        let truth = after(Session::reference(), all(model), 2);
        for session in [Session::device(gpu(false)), Session::host()] {
            let what = format!("{model} on {}", session.executor());
            close(&what, &after(session, all(model), 2), &truth, 5e-4);
        }
        let straight = after(Session::host(), all(model), 10);
        let mut first = trainer(Session::host(), config(all(model)));
        run(&mut first, 6);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("checkpoint");
        block_on(first.checkpoint()).expect("finite states").save(&path).expect("a disk");
        let stored = Checkpoint::load(&path).expect("what was stored");
        let mut second = Trainer::resume(&stored, &path, dataset(), Session::host()).expect("the same run");
        run(&mut second, 4);
        assert_eq!(states(&second), straight, "{model}");
    }
}

/// Normal noise on every gradient, of a standard deviation that falls with the steps that a state counts, times a share
/// that the host gives; and the square of the first bias's noise, for the log.
#[derive(Debug)]
struct Noise(f64);

impl Intervention for Noise {
    fn gradient<'g>(
        &self, _: Tensor<'g>, gradients: Vec<Tensor<'g>>, step: &mut Step<'_, 'g>,
    ) -> Result<Vec<Tensor<'g>>> {
        let (count, share) = (step.state("noise/steps", &[1], Init::Zeros), step.input("noise/share", &[1]));
        let size = share / (count + 1.0) * self.0;
        step.graph().assign(count, count + 1.0);
        let mut noisy = Vec::new();
        for gradient in gradients {
            let (seed, stream) = step.draw();
            let noise = seed.normal(stream, gradient.shape()?) * size;
            if gradient.shape()?.len() == 1 && noisy.len() < 2 {
                step.log("noise/square", (noise * noise).sum_all());
            }
            noisy.push(gradient + noise);
        }
        Ok(noisy)
    }

    fn inputs(&self, pass: &mut Pass) -> Vec<(&str, Values)> {
        vec![("noise/share", Values::F32(vec![1.0 - 0.01 * pass.step as f32]))]
    }

    /// On the host, a state of its own is halved every third step.
    fn after(&self, session: &mut Session, step: u64) -> Result<()> {
        let count = block_on(session.get("noise/steps"))?[0];
        Ok(session.set("noise/steps", &[1], &[if step.is_multiple_of(3) { count / 2.0 } else { count }])?)
    }
}

/// One's own intervention is drawn by the seed, logs its numbers, and goes on where a checkpoint left it, to the bit.
#[test]
fn one_s_own_intervention_is_as_good_as_any() {
    let own = |loss_scale| {
        let own = Config {
            model: "mlp:widths=20,dropout=0.3".into(),
            accumulate: 2,
            average: Some(0.9),
            ..Config::default()
        };
        config(Config { clip: Some(0.3), loss_scale, ..own })
    };
    for scale in [None, Some(LossScale::Dynamic)] {
        let noisy = |size| trainer(Session::host(), own(scale)).with(Noise(size)).expect("a fitting intervention");
        let mut straight = noisy(0.1);
        run(&mut straight, 10);
        assert_eq!(number(&straight, "noise/steps"), 3.625);
        let log = block_on(straight.log()).expect("a session");
        assert!(log.iter().any(|&(name, square)| name == "noise/square" && square > 0.0), "{log:?}");
        assert_eq!(block_on(straight.skipped()).expect("a session"), scale.map(|_| 0));

        let (mut plain, mut silent, mut other) = (trainer(Session::host(), own(scale)), noisy(0.0), noisy(0.2));
        [&mut plain, &mut silent, &mut other].into_iter().for_each(|t| run(t, 10));
        let mut left = states(&silent);
        left.retain(|name, _| !name.starts_with("noise/"));
        assert!(left == states(&plain), "no noise is no change");
        assert_ne!(states(&other)["head.weight"], states(&straight)["head.weight"]);

        let mut first = noisy(0.1);
        run(&mut first, 5);
        let stored = block_on(first.checkpoint()).expect("finite states");
        let path = std::path::Path::new("nowhere");
        let mut second = noisy(0.1);
        second.restore(&stored, path).expect("the same run");
        run(&mut second, 5);
        assert!(states(&second) == states(&straight), "it went on otherwise");
        let told = Trainer::resume(&stored, path, dataset(), Session::host()).expect_err("without it").to_string();
        assert!(told.contains("\"noise/square\" too"), "{told}");

        // Added to a run at work, it changes what comes after.
        let mut late = trainer(Session::host(), own(scale));
        run(&mut late, 3);
        let before = states(&late);
        let mut late = late.with(Noise(0.1)).expect("a fitting intervention");
        assert!(before.iter().all(|(name, data)| states(&late)[name] == *data), "a state was begun again");
        assert_eq!((late.progress().step, number(&late, "noise/steps")), (3, 0.0));
        run(&mut late, 1);
        assert_eq!(number(&late, "noise/steps"), 1.0);
    }
}

#[test]
fn images_are_given_back() {
    let own = || Config {
        model: "autoencoder:widths=6-8".into(),
        loss: Loss::Squared,
        optimizer: Optimizer::Adam { decay: 0.0 },
        ..Config::default()
    };
    let rate = |c: Config| Config { schedule: Schedule { rate: 3e-3, ..c.schedule }, ..c };
    let mut t = trainer(Session::host(), rate(config(own())));
    let before = block_on(t.test()).expect("the test runs");
    run(&mut t, 200);
    let now = block_on(t.test()).expect("the test runs");
    assert!(now.loss < before.loss / 2.0 && now.accuracy > before.accuracy, "{before:?}, then {now:?}");
    // ½ ‖y − x‖² and its share of ½ ‖x‖² are the same thing for images of one length.
    assert!(now.accuracy < 1.0);
    let wrong = Config { loss: Loss::CrossEntropy, ..config(own()) };
    let told = Trainer::new(wrong, dataset(), Session::host()).expect_err("no labels").to_string();
    assert_eq!(told, "loss: expected squared, since autoencoder is to give back its input, found cross-entropy");
}

#[test]
fn numbers_out_of_their_ranges_are_refused() {
    let own = || config(Config::default());
    for (wrong, told) in [
        (Config { accumulate: 3, ..own() }, "accumulate: expected equal parts of 2 or more of 16 images, found 3"),
        (Config { accumulate: 16, ..own() }, "accumulate: expected equal parts of 2 or more of 16 images, found 16"),
        (Config { smoothing: 1.0, ..own() }, "smoothing: expected a number from 0 to below 1, found 1.0"),
        (Config { average: Some(-0.1), ..own() }, "average: expected a number from 0 to below 1, found -0.1"),
        (Config { mixup: 4.5, ..own() }, "mixup: expected a number from 0 to 4, found 4.5"),
        (Config { clip: Some(0.0), ..own() }, "clip: expected a positive number from 1e-37 to 1e38, found 0.0"),
    ] {
        assert_eq!(Trainer::new(wrong, dataset(), Session::host()).expect_err("out of range").to_string(), told);
    }
}

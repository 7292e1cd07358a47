//! Identities of curvature on networks of each kind: they hold where they must, on the host and on a device, and fail
//! where they must not hold or where something is wrong.

use hillshade::{
    engine::{Conv, Graph, Session, block_on},
    lab::{
        BatchNorm, Check, Combination, Curvature, Dense, Likelihood, Matrix, Operator, Options, Parts, Problem, Result,
        Samples, Setting, Status, Verified, Verify, consistency, input, output, symmetries, verify,
    },
    models::{Builder, Loss, Mode, Network},
};
use nalgebra::DMatrix;

use crate::common::{gpu, noise, noise32};

fn executors() -> [(&'static str, Session); 2] {
    [("host", Session::host()), ("device", Session::device(gpu(false)))]
}

fn samples(n: usize, size: usize) -> Samples {
    let images = noise32(n * size * size, 3);
    let labels = (0..n as u32).map(|i| i % 10).collect();
    Samples::new(n).floats("images", images).and_then(|s| s.indices("labels", labels)).expect("they fit")
}

/// A network on random images of 8 × 8, its parameters on the session.
fn network(session: &mut Session, spec: &str, loss: Loss, n: usize) -> Problem {
    let network = Network::parse(spec).expect("a known network");
    let problem = Problem::classifier(network.clone(), loss, [8, 8, 1], 10, samples(n, 8));
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Eval);
    network.build(&mut b, g.input("images", &[n, 8, 8, 1]), 10).expect("it fits");
    b.initialize(session, 3).expect("there is room");
    problem
}

fn how(batch_norm: BatchNorm) -> Verify {
    Verify { batch_norm, ..Verify::default() }
}

fn of<'a>(checks: &'a [Check], name: &str) -> Vec<&'a Check> {
    let found: Vec<_> = checks.iter().filter(|c| c.name.starts_with(name)).collect();
    assert!(!found.is_empty(), "no {name} among {checks:#?}");
    found
}

#[track_caller]
fn all(what: &str, checks: &[Check], name: &str, status: &Status) {
    for check in of(checks, name) {
        let same = match (&check.status, status) {
            (Status::Skipped(why), Status::Skipped(word)) => why.contains(word.as_str()),
            (found, expected) => found == expected,
        };
        assert!(same, "{what}: expected {status:?}, found {check:?}");
    }
}

fn skipped(why: &str) -> Status {
    Status::Skipped(why.into())
}

fn passed(what: &str, done: &Verified) {
    let failed: Vec<_> = done.checks.iter().filter(|c| c.status == Status::Fail).collect();
    assert!(done.passed() && failed.is_empty(), "{what}: {failed:#?}");
    for name in ["symmetry, hessian", "linearity, ggn", "one at a time, empirical", "positivity, empirical"] {
        all(what, &done.checks, name, &Status::Pass);
    }
}

#[test]
fn with_batch_statistics_every_identity_holds() {
    for (executor, mut session) in executors() {
        for (spec, n, normed) in [("cnn", 16, 3), ("resnet20", 8, 21)] {
            let what = format!("{spec} on the {executor}");
            let problem = network(&mut session, spec, Loss::CrossEntropy, n);
            let done = verify(&mut session, &problem, &how(BatchNorm::Full)).expect("checks");
            passed(&what, &done);
            for name in ["batch-norm scale", "batch-norm slope"] {
                assert_eq!(of(&done.checks, name).len(), normed, "{what}: {name}");
                all(&what, &done.checks, name, &Status::Pass);
            }
            all(&what, &done.checks, "softmax shift", &Status::Pass);
            assert_eq!(of(&done.checks, "softmax shift").len(), 4, "weight and bias, two matrices");
            all(&what, &done.checks, "second difference", &skipped("relu"));
            assert_eq!((done.setting.samples, done.setting.batch_norm.as_str()), (n, "full"));
            assert!(!done.setting.adapter.is_empty());
            session.names().iter().for_each(|name| session.remove(name));
        }
    }
    let mut session = Session::host();
    let problem = network(&mut session, "cnn:widths=4-6", Loss::CrossEntropy, 16);
    let done = verify(&mut session, &problem, &how(BatchNorm::Batch(6))).expect("checks");
    passed("in ragged batches", &done);
    all("in ragged batches", &done.checks, "batch-norm scale", &Status::Pass);
}

/// What holds with batch statistics alone must not hold without: the checks can tell.
#[test]
fn with_running_statistics_those_of_batch_norm_fail() {
    for (executor, mut session) in executors() {
        let problem = network(&mut session, "cnn", Loss::CrossEntropy, 16);
        let done = verify(&mut session, &problem, &how(BatchNorm::Eval)).expect("checks");
        assert!(!done.passed());
        for check in of(&done.checks, "batch-norm scale") {
            assert!(check.status == Status::Fail && check.residual > Some(0.1), "{executor}: {check:?}");
        }
        for name in ["softmax shift", "symmetry", "linearity", "positivity"] {
            all(executor, &done.checks, name, &Status::Pass);
        }
    }
}

#[test]
fn layers_without_normalization_rescale() {
    for (executor, mut session) in executors() {
        for (spec, pairs) in [("mlp:widths=20-12", 2), ("cnn:widths=4-6,norm=none", 2), ("resnet20:norm=none", 9)] {
            let what = format!("{spec} on the {executor}");
            let problem = network(&mut session, spec, Loss::CrossEntropy, 8);
            for batch_norm in [BatchNorm::Full, BatchNorm::Eval] {
                let done = verify(&mut session, &problem, &how(batch_norm)).expect("checks");
                passed(&what, &done);
                assert_eq!(of(&done.checks, "relu rescaling").len(), pairs, "{what}");
                all(&what, &done.checks, "relu rescaling", &Status::Pass);
                all(&what, &done.checks, "batch-norm scale", &skipped("no layer feeds"));
            }
            session.names().iter().for_each(|name| session.remove(name));
        }
    }
}

#[test]
fn smooth_losses_curve_as_their_differences_say() {
    for (executor, mut session) in executors() {
        for (activation, loss) in
            [("tanh", Loss::CrossEntropy), ("gelu", Loss::Squared), ("softplus", Loss::CrossEntropy)]
        {
            let what = format!("{activation} on the {executor}");
            let problem = network(&mut session, &format!("mlp:widths=20-12,activation={activation}"), loss, 16);
            let done = verify(&mut session, &problem, &how(BatchNorm::Full)).expect("checks");
            passed(&what, &done);
            all(&what, &done.checks, "second difference", &Status::Pass);
            all(&what, &done.checks, "relu rescaling", &skipped("ReLU"));
            let shift = if loss == Loss::Squared { skipped("cross-entropy") } else { Status::Pass };
            all(&what, &done.checks, "softmax shift", &shift);
        }
    }
}

/// Biases before batch normalization, of a convolution and of a dense layer, in a smooth network.
#[test]
fn biases_before_batch_norm_do_nothing() {
    let problem = Problem::new(samples(12, 6), Some(Likelihood::Categorical), |b, n| {
        let y = b.conv_bias("conv", b.g.input("images", &[n, 6, 6, 1]), 4, 3, Conv::padded(1));
        let y = b.batch_norm("norm0", y).softplus();
        let y = b.flatten(y);
        let y = b.dense("dense", y, 7);
        let y = b.batch_norm("norm1", y).tanh();
        let outputs = b.dense("head", y, 10);
        let [losses, _] = outputs.cross_entropy(b.g.input_u32("labels", &[n]));
        Ok(Parts { losses, outputs })
    });
    for (executor, mut session) in executors() {
        for (name, shape) in [
            ("conv.weight", vec![3, 3, 1, 4]),
            ("conv.bias", vec![4]),
            ("dense.weight", vec![144, 7]),
            ("dense.bias", vec![7]),
            ("head.weight", vec![7, 10]),
            ("head.bias", vec![10]),
        ] {
            let values: Vec<f32> = noise(shape.iter().product(), 8).iter().map(|&x| 0.5 * x as f32).collect();
            session.set(name, &shape, &values).expect("it fits");
        }
        for (norm, c) in [("norm0", 4), ("norm1", 7)] {
            for (part, value) in [("weight", 1.0), ("bias", 0.1), ("running_mean", 0.0), ("running_var", 1.0)] {
                session.set(&format!("{norm}.{part}"), &[c], &vec![value; c]).expect("it fits");
            }
        }
        let done = verify(&mut session, &problem, &how(BatchNorm::Full)).expect("checks");
        passed(executor, &done);
        let layers: Vec<_> = of(&done.checks, "batch-norm offset").iter().map(|c| c.layer.clone()).collect();
        assert_eq!(layers, [Some("conv.bias".into()), Some("dense.bias".into())]);
        all(executor, &done.checks, "second difference", &Status::Pass);
        let done = verify(&mut session, &problem, &how(BatchNorm::Eval)).expect("checks");
        all(executor, &done.checks, "batch-norm offset", &Status::Fail);
        all(executor, &done.checks, "second difference", &Status::Pass);
    }
}

#[test]
fn a_wrong_operator_or_gradient_is_caught() {
    let mut session = Session::host();
    let problem = network(&mut session, "cnn:widths=4-6", Loss::CrossEntropy, 16);
    let options = |batch_norm| Options { batch_norm, ..Options::default() };
    let full = how(BatchNorm::Full);
    let new = |session: &mut Session, batch_norm| {
        Curvature::new(session, &problem, Matrix::Hessian, &options(batch_norm)).expect("an operator")
    };
    let mut h = new(&mut session, BatchNorm::Full);
    let gradient = block_on(session.get_wide(h.gradient())).expect("it is there");
    let mut check = |h: &mut dyn Operator, g: &[f64]| symmetries(&mut session, &problem, h, g, &full).expect("checks");
    let right = check(&mut h, &gradient);
    assert!(right.iter().all(|c| c.status != Status::Fail), "{right:#?}");
    let most = gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
    let mut wrong = gradient.clone();
    wrong[7] += most;
    let caught = check(&mut h, &wrong);
    let failed: Vec<_> = caught.iter().filter(|c| c.status == Status::Fail).collect();
    assert!(
        !failed.is_empty() && failed.iter().all(|c| c.layer.as_deref() == Some("block0.conv.weight")),
        "{caught:#?}"
    );
    let caught = check(&mut Combination::new(1.0, h).shifted(1e-2), &gradient);
    all("a shift", &caught, "batch-norm scale", &Status::Fail);
    all("a shift", &caught, "softmax shift", &Status::Fail);
    let mut elsewhere = new(&mut session, BatchNorm::Eval);
    let caught = symmetries(&mut session, &problem, &mut elsewhere, &gradient, &full).expect("checks");
    all("another mode", &caught, "batch-norm scale", &Status::Fail);
    let error = symmetries(&mut session, &problem, &mut elsewhere, &gradient[1..], &full).expect_err("too short");
    assert!(error.to_string().starts_with("gradient: expected one of"), "{error}");
}

/// `x ↦ |x|`, which is no matrix.
struct Magnitude;

impl Operator for Magnitude {
    fn dimension(&self) -> usize {
        6
    }

    fn apply(&mut self, session: &mut Session, k: usize) -> Result<()> {
        let x = block_on(session.get(&input(6, k)))?;
        Ok(session.set(&output(6, k), &[k, 6], &x.iter().map(|x| x.abs()).collect::<Vec<_>>())?)
    }

    fn setting(&self) -> Setting {
        Setting { operator: "magnitude".into(), ..Setting::default() }
    }
}

#[test]
fn what_is_no_symmetric_matrix_is_caught() {
    let mut session = Session::host();
    let right = DMatrix::from_fn(6, 6, |i, j| 1.0 / (i + j + 1) as f64);
    let mut check = |a: &mut dyn Operator| consistency(&mut session, a, true, 1).expect("checks");
    let dense = |a: &DMatrix<f64>| Dense::new(a).expect("it is square");
    let checks = check(&mut dense(&right));
    assert!(checks.iter().all(|c| c.status == Status::Pass), "{checks:#?}");
    let mut lopsided = right.clone();
    lopsided[(0, 5)] += 0.01;
    all("not symmetric", &check(&mut dense(&lopsided)), "symmetry", &Status::Fail);
    let negative = check(&mut dense(&-&right));
    all("negative", &negative, "positivity", &Status::Fail);
    all("negative", &negative, "symmetry", &Status::Pass);
    let magnitude = check(&mut Magnitude);
    all("not linear", &magnitude, "linearity", &Status::Fail);
    all("not linear", &magnitude, "one at a time", &skipped("one direction"));
    let nothing = check(&mut dense(&DMatrix::zeros(6, 6)));
    assert!(nothing.iter().all(|c| c.status == Status::Pass && c.residual == Some(0.0)), "{nothing:#?}");
}

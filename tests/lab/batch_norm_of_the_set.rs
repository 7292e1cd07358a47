//! Batch normalization with the statistics of the whole set: the same in micro-batches, layer by layer, as in one batch.

use hillshade::{
    engine::{Conv, Session, Tensor, block_on},
    lab::{BatchNorm, Curvature, Error, Gradient, Matrix, Operator, Options, Problem, Samples, Vectors, input, output},
    models::Builder,
};

use crate::common::{
    assert_close,
    lab::{classified, drawn, executors, gradient, labels, norm, params, product, set},
    noise,
};

/// Three normalizations, one behind a residual connection, and a kink.
fn net<'g>(b: &mut Builder<'g>, n: usize) -> Tensor<'g> {
    let x = b.conv("first", b.g.input("x", &[n, 5, 4, 2]), 3, 3, Conv::padded(1));
    let x = b.batch_norm("norm1", x).softplus();
    let y = b.conv("second", x, 3, 3, Conv::padded(1));
    let y = x + b.batch_norm("norm2", y).relu();
    let y = b.batch_norm("norm3", y.global_avg_pool());
    b.dense("head", y, 4)
}

fn normed(n: usize) -> Problem {
    let samples = Samples::new(n).floats("x", drawn(40 * n, 1, 1.5)).and_then(|s| s.indices("y", labels(n, 4)));
    classified(samples.expect("it fits"), net)
}

fn start(session: &mut Session) {
    let shapes: [(&str, &[usize]); 10] = [
        ("first.weight", &[3, 3, 2, 3]),
        ("norm1.weight", &[3]),
        ("norm1.bias", &[3]),
        ("second.weight", &[3, 3, 3, 3]),
        ("norm2.weight", &[3]),
        ("norm2.bias", &[3]),
        ("norm3.weight", &[3]),
        ("norm3.bias", &[3]),
        ("head.weight", &[3, 4]),
        ("head.bias", &[4]),
    ];
    set(session, &params(&shapes, 0.8));
}

fn full(micro_batch: Option<usize>) -> Options {
    Options { batch_norm: BatchNorm::Full, micro_batch, width: Some(3), seed: 5, ..Options::default() }
}

/// Loss and gradient, products with each matrix, alone and several at once, in pieces of 4, 4 and 3 and of 5, 5 and 1.
#[test]
fn layer_by_layer_is_one_batch() {
    let problem = normed(11);
    for (executor, mut session, bound) in executors() {
        let bound = if executor == "reference" { 1e-10 } else { 20.0 * bound };
        start(&mut session);
        let kinds = [Matrix::Hessian, Matrix::Ggn, Matrix::Empirical, Matrix::Fisher { draws: 2 }];
        for kind in kinds {
            let mut whole = Curvature::new(&mut session, &problem, kind, &full(None)).expect("an operator");
            let n = whole.dimension();
            let v = [noise(n, 5), noise(n, 6)];
            let want = [0, 1].map(|i| product(&mut session, &mut whole, &v[i]));
            let slope = gradient(&session, &whole);
            for (size, keep) in [(4, false), (4, true), (5, false), (5, true)] {
                let what = format!("{kind} on the {executor} by {size}, kept: {keep}");
                let options = Options { linearize: Some(keep), ..full(Some(size)) };
                let mut a = Curvature::new(&mut session, &problem, kind, &options).expect("an operator");
                assert_close(&what, &[a.point().loss], &[whole.point().loss], bound);
                assert_close(&format!("gradient, {what}"), &gradient(&session, &a), &slope, bound);
                assert_close(&what, &product(&mut session, &mut a, &v[0]), &want[0], bound);
                Vectors::new(n).ports(&mut session, 3).expect("there is room");
                let stack: Vec<f32> = v[1].iter().chain(&v[0]).chain(&v[1]).map(|&v| v as f32).collect();
                session.set(&input(n, 3), &[3, n], &stack).expect("it fits");
                a.apply(&mut session, 3).expect("products");
                let got = block_on(session.get_wide(&output(n, 3))).expect("they are there");
                assert_close(&what, &got[..n], &want[1], bound);
                assert_close(&what, &got[n..2 * n], &want[0], bound);
                let setting = a.setting();
                assert_eq!((setting.batch_norm.as_str(), setting.micro_batch), ("full", size));
                assert!(!setting.linearized && whole.setting().linearized);
            }
        }
    }
}

/// Another point: products follow once the operator is there too.
#[test]
fn layer_by_layer_follows_the_parameters() {
    let (problem, mut session) = (normed(11), Session::reference());
    start(&mut session);
    let mut a = Curvature::new(&mut session, &problem, Matrix::Hessian, &full(Some(4))).expect("an operator");
    session.set("norm1.weight", &[3], &[0.3, -0.7, 1.1]).expect("it fits");
    a.linearize(&mut session).expect("a finite loss");
    let v = noise(a.dimension(), 7);
    let got = product(&mut session, &mut a, &v);
    let mut whole = Curvature::new(&mut session, &problem, Matrix::Hessian, &full(None)).expect("an operator");
    assert_close("elsewhere", &got, &product(&mut session, &mut whole, &v), 1e-10);
    // Ghost batches of the same sizes are another matrix.
    let ghost = Options { batch_norm: BatchNorm::Batch(4), ..Options::default() };
    let mut ghost = Curvature::new(&mut session, &problem, Matrix::Hessian, &ghost).expect("an operator");
    let other: Vec<f64> = product(&mut session, &mut ghost, &v).iter().zip(&got).map(|(a, b)| a - b).collect();
    assert!(norm(&other) > 1e-2 * norm(&got));
}

/// A set whose product does not fit goes in pieces by itself; what does not fit then is refused with numbers.
#[test]
fn sets_that_do_not_fit_go_layer_by_layer() {
    let (problem, mut session) = (normed(1000), Session::host());
    start(&mut session);
    let new = |session: &mut Session, options: &Options| Curvature::new(session, &problem, Matrix::Hessian, options);
    let whole = new(&mut session, &Options { linearize: Some(false), ..full(None) }).expect("an operator");
    assert_eq!(whole.setting().micro_batch, 1000);
    let needed = |memory, options: Options| {
        let mut session = Session::host();
        start(&mut session);
        match new(&mut session, &Options { memory: Some(memory), ..options }) {
            Err(Error::Memory { needed, fits, .. }) => (needed, fits),
            other => panic!("expected too little memory, found {other:?}"),
        }
    };
    let again = Options { linearize: Some(false), ..full(Some(13)) };
    let (in_pieces, fits) = needed(1, again.clone());
    assert_eq!(fits, "not even one sample at a time would fit");
    let (in_one, _) = needed(1, full(Some(1000)));
    assert!(5 * in_pieces < in_one, "{in_pieces} {in_one}");
    let (by_128, _) = needed(1, full(Some(128)));
    assert!(by_128 < in_one, "{by_128} {in_one}");
    let some = Options { memory: Some((by_128 + in_one) / 2), linearize: Some(false), ..full(None) };
    assert_eq!(new(&mut session, &some).expect("an operator").setting().micro_batch, 128);
    assert!(needed(by_128 / 2, full(None)).1.starts_with("a micro-batch of "));
    // Kept from pass to pass it takes more than computed again, and does not always fit.
    let (kept, fits) = needed(in_pieces, Options { linearize: Some(true), ..again });
    assert!(kept > in_pieces && fits.ends_with(&format!("it needs {in_pieces}")), "{kept} {fits}");
    let mut gradient = Gradient::new(&mut session, &problem, BatchNorm::Full, Some(13), &[]).expect("a gradient");
    let loss = gradient.run(&mut session).expect("a finite loss");
    assert_close("loss", &[loss], &[whole.point().loss], 1e-5);
}

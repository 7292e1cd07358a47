//! What curvature operators are as matrices: symmetric and linear, the same however the samples are cut and ordered, what
//! their definitions say, and on every executor what they are in f64.

use hillshade::{
    engine::{Conv, Session, Tensor, block_on},
    lab::{
        BatchNorm, Combination, Curvature, Gradient, Matrix, Operator, Options, Problem, Samples, Vectors, dense,
        input, output,
    },
    models::Builder,
};
use nalgebra::{DMatrix, DVector};

use crate::common::{
    assert_close, dot,
    lab::{
        Params, assert_matrix, classified, drawn, executors, joined, labels, matrix, narrow, norm, operator, params,
        product, set, small, small_net, spectrum, squared,
    },
    noise,
};

const MATRICES: [Matrix; 4] = [Matrix::Hessian, Matrix::Ggn, Matrix::Fisher { draws: 2 }, Matrix::Empirical];

/// Numbers in f32, as products take them.
fn vector(n: usize, stream: u32) -> Vec<f64> {
    noise(n, stream)
}

/// The same loss over other samples.
fn over(problem: &Problem, samples: Samples) -> Problem {
    let mut other = problem.clone();
    other.samples = samples;
    other
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

#[test]
fn operators_are_symmetric_and_linear() {
    let (problem, params) = small();
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        for kind in MATRICES {
            let what = format!("{kind} on the {executor}");
            let mut a = operator(&mut session, &problem, kind);
            let n = a.dimension();
            let (u, v) = (vector(n, 1), vector(n, 2));
            let (au, av) = (product(&mut session, &mut a, &u), product(&mut session, &mut a, &v));
            let skew = (dot(&u, &av) - dot(&v, &au)).abs();
            assert!(skew <= bound * norm(&u) * norm(&av), "{what}: {skew:e}");
            // 0.5 u − 2 v is exact only where it is rounded before both sides see it.
            let mix: Vec<f64> = u.iter().zip(&v).map(|(u, v)| f64::from((0.5 * u - 2.0 * v) as f32)).collect();
            let want: Vec<f64> = au.iter().zip(&av).map(|(u, v)| 0.5 * u - 2.0 * v).collect();
            assert_close(&what, &product(&mut session, &mut a, &mix), &want, bound.max(1e-6));
        }
    }
}

#[test]
fn directions_at_once_are_those_one_by_one() {
    let (problem, params) = small();
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        for kind in MATRICES {
            let mut a = operator(&mut session, &problem, kind);
            let (n, k) = (a.dimension(), 5);
            let stack: Vec<f64> = (0..k).flat_map(|i| vector(n, 10 + i as u32)).collect();
            Vectors::new(n).ports(&mut session, k).expect("there is room");
            session.set(&input(n, k), &[k, n], &narrow(&stack)).expect("it fits");
            a.apply(&mut session, k).expect("products");
            let got = block_on(session.get_wide(&output(n, k))).expect("it is there");
            for (v, got) in stack.chunks(n).zip(got.chunks(n)) {
                let want = product(&mut session, &mut a, v);
                assert_close(&format!("{kind} on the {executor}"), got, &want, bound.min(1e-6));
            }
        }
    }
}

#[test]
fn ragged_micro_batches_and_the_order_of_samples_change_nothing() {
    let (problem, params) = small();
    let count = problem.samples.count();
    let order: Vec<usize> = (0..count).map(|i| (i * 4 + 3) % count).collect();
    let (x, y) = (drawn(55, 1, 1.5), labels(11, 4));
    let samples = Samples::new(count)
        .floats("x", order.iter().flat_map(|&i| x[5 * i..5 * i + 5].to_vec()).collect())
        .and_then(|s| s.indices("y", order.iter().map(|&i| y[i]).collect()));
    let shuffled = over(&problem, samples.expect("it fits"));
    assert_ne!(shuffled.samples, problem.samples);
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        let n = joined(&params).len();
        let v = vector(n, 3);
        for kind in MATRICES {
            let of = |session: &mut Session, problem: &Problem, micro_batch: usize| {
                let options = Options { micro_batch: Some(micro_batch), ..Options::default() };
                let mut a = Curvature::new(session, problem, kind, &options).expect("an operator");
                product(session, &mut a, &v)
            };
            let want = of(&mut session, &problem, count);
            for micro_batch in [1, 3, 4, 10] {
                let got = of(&mut session, &problem, micro_batch);
                assert_close(&format!("{kind} by {micro_batch} on the {executor}"), &got, &want, bound.min(1e-6));
            }
            // Draws belong to the numbers of samples.
            if !matches!(kind, Matrix::Fisher { .. }) {
                let got = of(&mut session, &shuffled, 4);
                assert_close(&format!("{kind} shuffled on the {executor}"), &got, &want, bound.min(1e-6));
            }
        }
    }
}

/// Two operators of one kind on vectors of one length: both stay what they were built to be.
#[test]
fn operators_of_one_kind_live_side_by_side() {
    let (problem, params) = small();
    let part = |from: usize, to: usize| {
        let samples = Samples::new(to - from)
            .floats("x", drawn(55, 1, 1.5)[5 * from..5 * to].to_vec())
            .and_then(|s| s.indices("y", labels(11, 4)[from..to].to_vec()));
        over(&problem, samples.expect("it fits"))
    };
    let (first, second) = (part(0, 5), part(5, 10));
    let mut session = Session::reference();
    set(&mut session, &params);
    for kind in MATRICES {
        let mut a = operator(&mut session, &first, kind);
        let v = vector(a.dimension(), 4);
        let before = product(&mut session, &mut a, &v);
        let mut b = operator(&mut session, &second, kind);
        let other = product(&mut session, &mut b, &v);
        assert!(distance(&before, &other) > 1e-3 * norm(&before), "{kind}: the halves differ");
        assert_eq!(product(&mut session, &mut a, &v), before, "{kind}: the first operator has changed");
    }
    let mut covariance = Curvature::covariance(&mut session, &first, &Options::default()).expect("an operator");
    let v = vector(covariance.dimension(), 4);
    let before = product(&mut session, &mut covariance, &v);
    operator(&mut session, &second, Matrix::Hessian);
    assert_eq!(product(&mut session, &mut covariance, &v), before, "the covariance has changed");
}

#[test]
fn gauss_newton_and_fisher_matrices_have_no_negative_eigenvalue() {
    let (problem, params) = small();
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        for kind in [Matrix::Ggn, Matrix::Fisher { draws: 2 }, Matrix::Empirical] {
            let values = spectrum(&matrix(&mut session, &problem, kind));
            assert!(values[0] >= -bound * values[values.len() - 1], "{kind} on the {executor}: {:e}", values[0]);
        }
        let values = spectrum(&matrix(&mut session, &problem, Matrix::Hessian));
        assert!(values[0] < -1e-3 * values[values.len() - 1], "the Hessian has some: {}", values[0]);
    }
}

#[test]
fn the_hessian_of_a_model_linear_in_its_parameters_is_gauss_newton() {
    fn build<'g>(b: &mut Builder<'g>, n: usize) -> Tensor<'g> {
        b.dense("only", b.g.input("x", &[n, 5]), 3)
    }
    let x = || Samples::new(7).floats("x", drawn(35, 5, 2.0)).expect("it fits");
    let problems = [
        classified(x().indices("y", labels(7, 3)).expect("it fits"), build),
        squared(x().floats("y", drawn(21, 6, 1.0)).expect("it fits"), 0.5, build),
    ];
    for problem in problems {
        for (executor, mut session, bound) in executors() {
            set(&mut session, &params(&[("only.weight", &[5, 3]), ("only.bias", &[3])], 1.0));
            let [h, g] = [Matrix::Hessian, Matrix::Ggn].map(|kind| matrix(&mut session, &problem, kind));
            assert_matrix(executor, &h, &g, bound);
        }
    }
}

#[test]
fn decay_adds_to_weights_alone_and_blocks_are_parts_of_the_matrix() {
    let (problem, params) = small();
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        for linearize in [true, false] {
            let mut of = |options: Options| {
                let options = Options { linearize: Some(linearize), ..options };
                let mut a = Curvature::new(&mut session, &problem, Matrix::Hessian, &options).expect("an operator");
                (dense(&mut session, &mut a).expect("products"), a.layout().to_vec())
            };
            let (h, layout) = of(Options::default());
            let (decayed, _) = of(Options { weight_decay: 0.25, ..Options::default() });
            let mut want = h.clone();
            for block in layout.iter().filter(|b| b.name.ends_with("weight")) {
                block.range.clone().for_each(|i| want[(i, i)] += 0.25);
            }
            assert_matrix(executor, &decayed, &want, bound);
            let (last, own) = of(Options { blocks: vec!["last".into()], ..Options::default() });
            assert_eq!(own.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["last.weight", "last.bias"]);
            assert_matrix(executor, &last, &h.view((36, 36), (28, 28)).into_owned(), bound);
        }
    }
}

#[test]
fn combinations_are_sums_of_matrices() {
    let (problem, params) = small();
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        let [h, g, e] = [Matrix::Hessian, Matrix::Ggn, Matrix::Empirical].map(|k| matrix(&mut session, &problem, k));
        let want = &h - 2.0 * (&g + 0.5 * &e) + DMatrix::identity(64, 64) * 0.125;
        let [h, g, e] = [Matrix::Hessian, Matrix::Ggn, Matrix::Empirical].map(|k| operator(&mut session, &problem, k));
        let inner = Combination::new(1.0, g).plus(0.5, e).expect("one length");
        let mut sum = Combination::new(1.0, h).plus(-2.0, inner).expect("one length").shifted(0.125);
        assert_matrix(executor, &dense(&mut session, &mut sum).expect("products"), &want, 5.0 * bound);
    }
}

/// Every sample's gradient, by problems of one sample.
fn gradients(session: &mut Session) -> Vec<DVector<f64>> {
    let (problem, _) = small();
    let (x, y) = (drawn(55, 1, 1.5), labels(11, 4));
    let of = |i: usize| {
        let samples =
            Samples::new(1).floats("x", x[5 * i..5 * i + 5].to_vec()).and_then(|s| s.indices("y", vec![y[i]]));
        let own = over(&problem, samples.expect("it fits"));
        let mut gradient = Gradient::new(session, &own, BatchNorm::Eval, Some(1), &[]).expect("a gradient");
        gradient.run(session).expect("a finite loss");
        DVector::from_vec(block_on(session.get_wide(gradient.state())).expect("it is there"))
    };
    (0..11).map(of).collect()
}

#[test]
fn the_empirical_fisher_matrix_is_the_mean_of_outer_products_and_the_covariance_their_spread() {
    let (problem, params) = small();
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        let own = gradients(&mut session);
        let count = own.len() as f64;
        let n = own[0].len();
        let outer = own.iter().fold(DMatrix::zeros(n, n), |sum, g| sum + g * g.transpose() / count);
        assert_matrix(executor, &matrix(&mut session, &problem, Matrix::Empirical), &outer, bound);
        let mean = own.iter().fold(DVector::zeros(n), |sum, g| sum + g / count);
        let spread =
            own.iter().fold(DMatrix::zeros(n, n), |sum, g| sum + (g - &mean) * (g - &mean).transpose() / count);
        let mut covariance = Curvature::covariance(&mut session, &problem, &Options::default()).expect("an operator");
        let got = dense(&mut session, &mut covariance).expect("products");
        assert_matrix(executor, &got, &spread, bound);
        assert!((&outer - &spread).amax() > 100.0 * bound * outer.amax(), "the mean gradient matters");
    }
}

/// Quadratic forms of the sampled Fisher matrix, over seeds, lie about that of the Gauss-Newton matrix within 4 standard
/// errors, and many draws lie closer to it than one.
#[test]
fn sampled_fisher_matrices_converge_to_gauss_newton() {
    let targets = Samples::new(11).floats("x", drawn(55, 1, 1.5)).and_then(|s| s.floats("y", drawn(44, 7, 1.0)));
    let (problem, params) = small();
    let problems = [problem, squared(targets.expect("it fits"), 1.5, small_net)];
    let mut session = Session::reference();
    set(&mut session, &params);
    for (which, problem) in problems.iter().enumerate() {
        let n = joined(&params).len();
        let directions: Vec<Vec<f64>> = (0..4).map(|i| vector(n, 20 + i)).collect();
        let mut forms = |kind: Matrix, seed: u64| -> Vec<f64> {
            let options = Options { seed, linearize: Some(false), ..Options::default() };
            let mut a = Curvature::new(&mut session, problem, kind, &options).expect("an operator");
            directions.iter().map(|v| dot(v, &product(&mut session, &mut a, v))).collect()
        };
        let want = forms(Matrix::Ggn, 0);
        let seeds = 48;
        let singles: Vec<Vec<f64>> = (0..seeds).map(|s| forms(Matrix::Fisher { draws: 1 }, s)).collect();
        let many = forms(Matrix::Fisher { draws: 1024 }, 77);
        for (i, want) in want.iter().enumerate() {
            let mean = singles.iter().map(|f| f[i]).sum::<f64>() / seeds as f64;
            let deviation = (singles.iter().map(|f| (f[i] - mean).powi(2)).sum::<f64>() / (seeds - 1) as f64).sqrt();
            assert!(deviation > 0.0, "seeds draw differently");
            let z = (mean - want) / deviation * (seeds as f64).sqrt();
            assert!(z.abs() <= 4.0, "problem {which}, {seeds} seeds: {mean} for {want}, {z} standard errors");
            let z = (many[i] - want) / deviation * 32.0;
            assert!(z.abs() <= 4.0, "problem {which}, 1024 draws: {} for {want}, {z} standard errors", many[i]);
        }
    }
}

/// A network with its parameters and batch-norm mode.
fn networks() -> Vec<(&'static str, Problem, Params, BatchNorm)> {
    let samples = Samples::new(10).floats("x", drawn(120, 8, 1.5)).and_then(|s| s.indices("y", labels(10, 5)));
    let mlp = classified(samples.expect("it fits"), |b, n| {
        let x = b.g.input("x", &[n, 12]);
        let x = [("a", 14), ("b", 8)].into_iter().fold(x, |x, (name, outs)| b.dense(name, x, outs).tanh());
        b.dense("c", x, 5)
    });
    let shapes: [(&str, &[usize]); 6] = [
        ("a.weight", &[12, 14]),
        ("a.bias", &[14]),
        ("b.weight", &[14, 8]),
        ("b.bias", &[8]),
        ("c.weight", &[8, 5]),
        ("c.bias", &[5]),
    ];
    let samples = Samples::new(6).floats("x", drawn(6 * 30, 9, 1.5)).and_then(|s| s.indices("y", labels(6, 3)));
    let normed = classified(samples.expect("it fits"), |b, n| {
        let x = b.g.input("x", &[n, 5, 6, 1]);
        let x = ["a", "b"].into_iter().fold(x, |x, name| {
            let y = b.conv(name, x, 4, 3, Conv::padded(1));
            b.batch_norm(&format!("norm_{name}"), y).gelu()
        });
        b.dense("head", x.global_avg_pool(), 3)
    });
    let mut of_normed = params(
        &[
            ("a.weight", &[3, 3, 1, 4]),
            ("norm_a.weight", &[4]),
            ("norm_a.bias", &[4]),
            ("b.weight", &[3, 3, 4, 4]),
            ("norm_b.weight", &[4]),
            ("norm_b.bias", &[4]),
            ("head.weight", &[4, 3]),
            ("head.bias", &[3]),
        ],
        0.6,
    );
    for (name, shape, values) in &mut of_normed {
        if name.starts_with("norm") && name.ends_with("weight") {
            values.iter_mut().for_each(|v| *v += 1.0);
        }
        assert_eq!(values.len(), shape.iter().product::<usize>());
    }
    vec![
        ("tanh", mlp, params(&shapes, 0.6), BatchNorm::Eval),
        ("conv and batch norm", normed, of_normed, BatchNorm::Full),
    ]
}

#[test]
fn whole_matrices_on_every_executor_are_those_in_f64() {
    for (what, problem, params, batch_norm) in networks() {
        let of = |mut session: Session| {
            set(&mut session, &params);
            for name in ["norm_a", "norm_b"] {
                session.set(&format!("{name}.running_mean"), &[4], &[0.0; 4]).expect("it fits");
                session.set(&format!("{name}.running_var"), &[4], &[1.0; 4]).expect("it fits");
            }
            let options = Options { batch_norm, ..Options::default() };
            let mut a = Curvature::new(&mut session, &problem, Matrix::Hessian, &options).expect("an operator");
            dense(&mut session, &mut a).expect("products")
        };
        let want = of(Session::reference());
        assert!((&want - want.transpose()).amax() <= 1e-10 * want.amax(), "{what}");
        let values = spectrum(&want);
        let most = values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        for (executor, session, _) in executors().into_iter().skip(1) {
            let got = of(session);
            assert_matrix(&format!("{what} on the {executor}"), &got, &want, 1e-4);
            for (got, want) in spectrum(&got).iter().zip(&values) {
                assert!((got - want).abs() <= 1e-4 * most, "{what} on the {executor}: {got} for {want}");
            }
        }
    }
}

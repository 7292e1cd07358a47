//! Fisher matrices and covariances where a sample has several targets, as a sequence has tokens.

use hillshade::{
    engine::{Session, block_on},
    lab::{BatchNorm, Curvature, Gradient, Likelihood, Matrix, Options, Parts, Problem, Samples, dense},
};
use nalgebra::{DMatrix, DVector};

use crate::common::lab::{
    assert_matrix, classified, drawn, executors, joined, labels, operator, set, small_net, small_params,
};

const TARGETS: usize = 3;
const COUNT: usize = 6;

/// The net of `small` on each of so many inputs of a sample.
fn sequences(x: &[f32], y: &[u32]) -> Problem {
    let samples = Samples::new(x.len() / (5 * TARGETS)).floats("x", x.to_vec());
    let samples = samples.and_then(|s| s.indices("y", y.to_vec())).expect("it fits");
    let mut problem = Problem::new(samples, Some(Likelihood::Categorical), |b, n| {
        let rows = b.g.input("x", &[n, TARGETS, 5]).reshape(&[n * TARGETS, 5]);
        let hidden = b.dense("first", rows, 6).tanh();
        let outputs = b.dense("last", hidden, 4).reshape(&[n, TARGETS, 4]);
        let labels = b.g.input_u32("y", &[n, TARGETS]).reshape(&[n * TARGETS]);
        let [losses, _] = outputs.reshape(&[n * TARGETS, 4]).cross_entropy(labels);
        Ok(Parts { losses: losses.reshape(&[n, TARGETS]).mean(&[1]), outputs })
    });
    problem.targets = TARGETS;
    problem
}

fn matrix(session: &mut Session, problem: &Problem, kind: Matrix) -> DMatrix<f64> {
    let options = Options { micro_batch: Some(4), seed: 3, ..Options::default() };
    let mut a = Curvature::new(session, problem, kind, &options).expect("an operator");
    dense(session, &mut a).expect("products")
}

#[test]
fn each_target_counts_in_a_fisher_matrix_and_each_sample_in_a_covariance() {
    let (x, y) = (drawn(5 * TARGETS * COUNT, 1, 1.5), labels(TARGETS * COUNT, 4));
    let whole = sequences(&x, &y);
    let samples = Samples::new(TARGETS * COUNT).floats("x", x.clone()).and_then(|s| s.indices("y", y.clone()));
    let apart = classified(samples.expect("it fits"), small_net);
    for (executor, mut session, bound) in executors() {
        set(&mut session, &small_params());
        // The same draws: a target's is by its place among all.
        for kind in [Matrix::Ggn, Matrix::Fisher { draws: 2 }, Matrix::Empirical] {
            let [got, want] = [&whole, &apart].map(|problem| matrix(&mut session, problem, kind));
            assert_matrix(&format!("{kind} on the {executor}"), &got, &want, bound);
        }
        let n = joined(&small_params()).len();
        let gradients: Vec<DVector<f64>> = (0..COUNT)
            .map(|i| {
                let one = sequences(&x[15 * i..15 * (i + 1)], &y[3 * i..3 * (i + 1)]);
                let mut g = Gradient::new(&mut session, &one, BatchNorm::Eval, None, &[]).expect("a gradient");
                g.run(&mut session).expect("a finite loss");
                DVector::from_vec(block_on(session.get_wide(g.state())).expect("it is there"))
            })
            .collect();
        let mean = gradients.iter().fold(DVector::zeros(n), |sum, g| sum + g / COUNT as f64);
        let outer = |of: &dyn Fn(&DVector<f64>) -> DVector<f64>| {
            gradients.iter().map(of).fold(DMatrix::zeros(n, n), |sum, g| sum + &g * g.transpose() / COUNT as f64)
        };
        let moment = matrix(&mut session, &whole, Matrix::Moment);
        assert_matrix(&format!("moment on the {executor}"), &moment, &outer(&|g| g.clone()), bound);
        let options = Options::default();
        let mut covariance = Curvature::covariance(&mut session, &whole, &options).expect("an operator");
        let got = dense(&mut session, &mut covariance).expect("products");
        assert_matrix(&format!("covariance on the {executor}"), &got, &outer(&|g| g - &mean), bound);
        let empirical = matrix(&mut session, &whole, Matrix::Empirical);
        assert!((&moment - &empirical).amax() > 0.1 * empirical.amax(), "targets of a sample differ");
    }
}

#[test]
fn outputs_must_have_the_targets() {
    let (x, y) = (drawn(5 * TARGETS * 4, 1, 1.5), labels(TARGETS * 4, 4));
    let mut session = Session::host();
    set(&mut session, &small_params());
    let mut wrong = sequences(&x, &y);
    wrong.targets = 2;
    let error = Curvature::new(&mut session, &wrong, Matrix::Ggn, &Options::default()).expect_err("2 are not 3");
    assert!(error.to_string().contains("outputs that begin with [1, 2], found losses [1]"), "{error}");
    let _right = operator(&mut session, &sequences(&x, &y), Matrix::Ggn);
}

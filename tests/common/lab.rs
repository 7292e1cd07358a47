//! Problems and matrices that tests of the lab share.

use hillshade::{
    engine::{Session, Tensor, block_on},
    lab::{Curvature, Likelihood, Matrix, Operator, Options, Parts, Problem, Samples, Vectors, dense, input, output},
    models::{Builder, Init},
};
use nalgebra::{DMatrix, SymmetricEigen};

use crate::common::{assert_close, dot, gpu, noise};

/// Every executor, and the error that products may have on it, as a share of the largest entry.
pub fn executors() -> [(&'static str, Session, f64); 3] {
    [
        ("reference", Session::reference(), 1e-9),
        ("host", Session::host(), 1e-5),
        ("device", Session::device(gpu(false)), 1e-5),
    ]
}

/// Parameters: name, shape, values.
pub type Params = Vec<(&'static str, Vec<usize>, Vec<f32>)>;

pub fn set(session: &mut Session, params: &Params) {
    for (name, shape, values) in params {
        session.set(name, shape, values).expect("it fits");
    }
}

/// All parameters' values, one after the other.
pub fn joined(params: &Params) -> Vec<f64> {
    params.iter().flat_map(|(_, _, v)| v.iter().map(|&v| f64::from(v))).collect()
}

pub fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&v| v as f32).collect()
}

/// `noise` times a scale, in f32.
pub fn drawn(len: usize, stream: u32, scale: f64) -> Vec<f32> {
    noise(len, stream).iter().map(|v| (scale * v) as f32).collect()
}

/// OperandData parameters of these shapes.
pub fn params(shapes: &[(&'static str, &[usize])], scale: f64) -> Params {
    let draw = |(i, (name, shape)): (usize, &(&'static str, &[usize]))| {
        (*name, shape.to_vec(), drawn(shape.iter().product(), 100 + i as u32, scale))
    };
    shapes.iter().enumerate().map(draw).collect()
}

pub fn labels(n: usize, classes: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i + 2 * i) % classes).collect()
}

/// A product, as wide as the executor computes it; `v` must be representable in f32.
pub fn product(session: &mut Session, a: &mut dyn Operator, v: &[f64]) -> Vec<f64> {
    let n = a.dimension();
    Vectors::new(n).ports(session, 1).expect("there is room");
    session.set(&input(n, 1), &[1, n], &narrow(v)).expect("it fits");
    a.apply(session, 1).expect("a product");
    block_on(session.get_wide(&output(n, 1))).expect("it is there")
}

pub fn operator(session: &mut Session, problem: &Problem, kind: Matrix) -> Curvature {
    Curvature::new(session, problem, kind, &Options::default()).expect("an operator")
}

/// The gradient at the point where the operator was linearized.
pub fn gradient(session: &Session, a: &Curvature) -> Vec<f64> {
    block_on(session.get_wide(a.gradient())).expect("it is there")
}

pub fn matrix(session: &mut Session, problem: &Problem, kind: Matrix) -> DMatrix<f64> {
    let mut a = operator(session, problem, kind);
    dense(session, &mut a).expect("products")
}

/// Eigenvalues, ascending.
pub fn spectrum(a: &DMatrix<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = SymmetricEigen::new(0.5 * (a + a.transpose())).eigenvalues.iter().copied().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Asserts that two matrices agree to a share of the largest entry.
pub fn assert_matrix(what: &str, got: &DMatrix<f64>, want: &DMatrix<f64>, tolerance: f64) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    assert_close(what, got.as_slice(), want.as_slice(), tolerance);
}

pub fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

/// Cross-entropy of what is built, at labels `y`.
pub fn classified(
    samples: Samples, outputs: impl for<'g> Fn(&mut Builder<'g>, usize) -> Tensor<'g> + Send + Sync + 'static,
) -> Problem {
    Problem::new(samples, Some(Likelihood::Categorical), move |b, n| {
        let outputs = outputs(b, n);
        let [losses, _] = outputs.cross_entropy(b.g.input_u32("y", &[n]));
        Ok(Parts { losses, outputs })
    })
}

/// `scale` times the sum of squared differences between a sample's outputs and its targets `y`.
pub fn squared(
    samples: Samples, scale: f64,
    outputs: impl for<'g> Fn(&mut Builder<'g>, usize) -> Tensor<'g> + Send + Sync + 'static,
) -> Problem {
    let likelihood = Likelihood::Gaussian { curvature: 2.0 * scale };
    Problem::new(samples, Some(likelihood), move |b, n| {
        let outputs = outputs(b, n);
        let shape = outputs.shape()?;
        let off = outputs - b.g.input("y", shape);
        Ok(Parts { losses: (off * off).sum(&(1..shape.len()).collect::<Vec<_>>()) * scale, outputs })
    })
}

/// `x w`, without a bias.
pub fn weigh<'g>(b: &mut Builder<'g>, name: &str, x: Tensor<'g>, outs: usize) -> Tensor<'g> {
    let [_, ins] = x.dims().expect("rows");
    x.matmul(b.param(name, &[ins, outs], Init::Zeros))
}

/// 5 inputs, 6 hidden units with tanh, 4 classes, 11 samples: 64 parameters.
pub fn small() -> (Problem, Params) {
    let samples = Samples::new(11).floats("x", drawn(55, 1, 1.5)).and_then(|s| s.indices("y", labels(11, 4)));
    (classified(samples.expect("it fits"), small_net), small_params())
}

pub fn small_net<'g>(b: &mut Builder<'g>, n: usize) -> Tensor<'g> {
    let x = b.g.input("x", &[n, 5]);
    let hidden = b.dense("first", x, 6).tanh();
    b.dense("last", hidden, 4)
}

pub fn small_params() -> Params {
    params(&[("first.weight", &[5, 6]), ("first.bias", &[6]), ("last.weight", &[6, 4]), ("last.bias", &[4])], 0.8)
}

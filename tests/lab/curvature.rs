//! Curvature operators against golden values made with curvlinops and PyTorch in f64, and against themselves: whole and
//! linearized, one direction and several, one batch and ragged ones.

use std::collections::HashMap;

use hillshade::{
    engine::{Conv, Session, Tensor, block_on},
    lab::{
        BatchNorm, Curvature, Error, Matrix, Operator, Options, Parts, Problem, Samples, Vectors, dense, input, output,
    },
    models::Builder,
};
use nalgebra::SymmetricEigen;
use safetensors::SafeTensors;

use crate::common::{
    assert_close, golden, gpu,
    lab::{classified, gradient, product, squared},
    noise,
};

/// The tensors of the golden file, in f64.
struct Golden(HashMap<String, (Vec<usize>, Vec<f64>)>);

impl Golden {
    fn read() -> Self {
        let bytes = golden::bytes("curvature");
        let file = SafeTensors::deserialize(&bytes).expect("a whole file");
        let wide = |b: &[u8]| b.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
        Golden(file.iter().map(|(name, t)| (name.into(), (t.shape().to_vec(), wide(t.data())))).collect())
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}")).1
    }

    fn shape(&self, name: &str) -> &[usize] {
        &self.0[name].0
    }

    fn narrow(&self, name: &str) -> Vec<f32> {
        self.get(name).iter().map(|&v| v as f32).collect()
    }
}

/// A golden case: its problem, and its parameters in the order of the layers.
struct TestCase {
    name: &'static str,
    problem: Problem,
    params: &'static [&'static str],
    batch_norm: BatchNorm,
}

const DENSE: [&str; 4] = ["dense0.weight", "dense0.bias", "dense1.weight", "dense1.bias"];
const NORMED: [&str; 5] = ["conv.weight", "norm.weight", "norm.bias", "head.weight", "head.bias"];

fn mlp<'g>(b: &mut Builder<'g>, n: usize) -> Tensor<'g> {
    let hidden = b.dense("dense0", b.g.input("x", &[n, 6]), 5).tanh();
    b.dense("dense1", hidden, 4)
}

fn normed<'g>(b: &mut Builder<'g>, n: usize) -> Tensor<'g> {
    let y = b.conv("conv", b.g.input("x", &[n, 5, 4, 1]), 3, 3, Conv::padded(1));
    let y = b.batch_norm("norm", y).softplus().global_avg_pool();
    b.dense("head", y, 4)
}

fn cases(golden: &Golden) -> Vec<TestCase> {
    let samples = |case: &str| {
        let x = golden.narrow(&format!("{case}.x"));
        let y = golden.get(&format!("{case}.y"));
        let n = golden.shape(&format!("{case}.x"))[0];
        let with = Samples::new(n).floats("x", x).expect("it fits");
        match case {
            "mse" => with.floats("y", y.iter().map(|&v| v as f32).collect()),
            _ => with.indices("y", y.iter().map(|&v| v as u32).collect()),
        }
        .expect("it fits")
    };
    let case = |name, problem, params, batch_norm| TestCase { name, problem, params, batch_norm };
    vec![
        case("mlp", classified(samples("mlp"), mlp), &DENSE[..], BatchNorm::Eval),
        case("mse", squared(samples("mse"), 0.5, mlp), &DENSE[..], BatchNorm::Eval),
        case("bn", classified(samples("bn"), normed), &NORMED[..], BatchNorm::Full),
        case("bn_eval", classified(samples("bn_eval"), normed), &NORMED[..], BatchNorm::Eval),
    ]
}

fn set(session: &mut Session, golden: &Golden, case: &TestCase) {
    let running: &[&str] = match case.name {
        "bn_eval" => &["norm.running_mean", "norm.running_var"],
        _ => &[],
    };
    for name in case.params.iter().chain(running) {
        let key = format!("{}.{name}", case.name);
        session.set(name, golden.shape(&key), &golden.narrow(&key)).expect("it fits");
    }
}

/// The parameters' parts of a vector, one after the other.
fn joined(golden: &Golden, case: &TestCase, what: &str) -> Vec<f64> {
    case.params.iter().flat_map(|p| golden.get(&format!("{}.{what}.{p}", case.name)).to_vec()).collect()
}

fn executors() -> [(&'static str, Session, f64); 3] {
    [
        ("reference", Session::reference(), 1e-9),
        ("host", Session::host(), 2e-5),
        ("device", Session::device(gpu(false)), 2e-5),
    ]
}

#[test]
fn products_are_those_of_curvlinops() {
    let golden = Golden::read();
    for case in cases(&golden) {
        for (executor, mut session, bound) in executors() {
            set(&mut session, &golden, &case);
            let v = joined(&golden, &case, "v");
            for (kind, key) in [(Matrix::Hessian, "Hv"), (Matrix::Ggn, "Gv"), (Matrix::Empirical, "Ev")] {
                for linearize in [true, false] {
                    let what = format!("{} {key} on the {executor}, linearized: {linearize}", case.name);
                    let options =
                        Options { batch_norm: case.batch_norm, linearize: Some(linearize), ..Options::default() };
                    let mut a = Curvature::new(&mut session, &case.problem, kind, &options).expect("an operator");
                    assert_eq!(a.is_linearized(), linearize);
                    let got = product(&mut session, &mut a, &v);
                    assert_close(&what, &got, &joined(&golden, &case, key), bound);
                    let point = a.linearize(&mut session).expect("a finite loss");
                    assert_close(&what, &[point.loss], golden.get(&format!("{}.loss", case.name)), bound);
                    assert_close(&what, &gradient(&session, &a), &joined(&golden, &case, "g"), bound);
                }
            }
        }
    }
}

/// The whole matrix by products, its eigenvalues and trace.
#[test]
fn dense_matrices_have_the_golden_eigenvalues() {
    let golden = Golden::read();
    for case in cases(&golden) {
        let mut session = Session::reference();
        set(&mut session, &golden, &case);
        let options = Options { batch_norm: case.batch_norm, ..Options::default() };
        let mut a = Curvature::new(&mut session, &case.problem, Matrix::Hessian, &options).expect("an operator");
        let h = dense(&mut session, &mut a).expect("products");
        assert!((&h - h.transpose()).amax() < 1e-12 * h.amax(), "{}: not symmetric", case.name);
        let mut values: Vec<f64> = SymmetricEigen::new(h).eigenvalues.iter().copied().collect();
        values.sort_by(f64::total_cmp);
        assert_close(case.name, &values, golden.get(&format!("{}.eig", case.name)), 1e-9);
        assert_close(case.name, &[values.iter().sum()], golden.get(&format!("{}.trace", case.name)), 1e-9);
    }
}

#[test]
fn micro_batches_and_stacks_change_nothing() {
    let golden = Golden::read();
    for case in cases(&golden).iter().filter(|c| c.batch_norm == BatchNorm::Eval) {
        for (executor, mut session, bound) in executors() {
            set(&mut session, &golden, case);
            for linearize in [true, false] {
                // 7 samples by 3: a last batch of one; 6 by 4: one of two.
                let options = Options {
                    micro_batch: Some(if case.name == "bn_eval" { 4 } else { 3 }),
                    linearize: Some(linearize),
                    ..Options::default()
                };
                for (kind, key) in [(Matrix::Hessian, "Hv"), (Matrix::Ggn, "Gv"), (Matrix::Empirical, "Ev")] {
                    let what = format!("{} {key} on the {executor}", case.name);
                    let mut a = Curvature::new(&mut session, &case.problem, kind, &options).expect("an operator");
                    let v = joined(&golden, case, "v");
                    assert_close(&what, &product(&mut session, &mut a, &v), &joined(&golden, case, key), bound);
                    let n = a.dimension();
                    Vectors::new(n).ports(&mut session, 3).expect("there is room");
                    let w = noise(n, 5);
                    let stack: Vec<f32> = w.iter().chain(&v).chain(&w).map(|&v| v as f32).collect();
                    session.set(&input(n, 3), &[3, n], &stack).expect("it fits");
                    a.apply(&mut session, 3).expect("a product");
                    let got = block_on(session.get_wide(&output(n, 3))).expect("it is there");
                    assert_close(&what, &got[n..2 * n], &joined(&golden, case, key), bound);
                    assert_close(&what, &got[..n], &product(&mut session, &mut a, &w), bound);
                    assert_eq!(got[..n], got[2 * n..], "{what}: equal directions");
                }
            }
        }
    }
}

/// Ghost batches: the weighted mean of each batch's matrix.
#[test]
fn batches_are_weighted_by_their_samples() {
    let golden = Golden::read();
    let case = &cases(&golden)[2];
    let mut session = Session::reference();
    set(&mut session, &golden, case);
    let v = joined(&golden, case, "v");
    let of = |session: &mut Session, from: usize, to: usize| {
        let [x, y] = ["bn.x", "bn.y"].map(|k| golden.get(k));
        let samples = Samples::new(to - from)
            .floats("x", x[from * 20..to * 20].iter().map(|&v| v as f32).collect())
            .and_then(|s| s.indices("y", y[from..to].iter().map(|&v| v as u32).collect()))
            .expect("it fits");
        let mut problem = case.problem.clone();
        problem.samples = samples;
        let options = Options { batch_norm: BatchNorm::Full, ..Options::default() };
        let mut a = Curvature::new(session, &problem, Matrix::Hessian, &options).expect("an operator");
        product(session, &mut a, &v)
    };
    let (first, second) = (of(&mut session, 0, 4), of(&mut session, 4, 6));
    let want: Vec<f64> = first.iter().zip(&second).map(|(a, b)| (4.0 * a + 2.0 * b) / 6.0).collect();
    let options = Options { batch_norm: BatchNorm::Batch(4), ..Options::default() };
    let mut a = Curvature::new(&mut session, &case.problem, Matrix::Hessian, &options).expect("an operator");
    assert_close("batches of 4 and 2", &product(&mut session, &mut a, &v), &want, 1e-7);
    assert_eq!(a.setting().batch_norm, "batch(4)");
    for size in [0, 1, 5, 7] {
        let options = Options { batch_norm: BatchNorm::Batch(size), ..Options::default() };
        let error =
            Curvature::new(&mut session, &case.problem, Matrix::Hessian, &options).expect_err("no such batches");
        assert!(error.to_string().starts_with("batch-norm batch: expected"), "{error}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let golden = Golden::read();
    let case = &cases(&golden)[0];
    let mut session = Session::host();
    set(&mut session, &golden, case);
    let new = |session: &mut Session, problem: &Problem, kind, options: &Options| {
        Curvature::new(session, problem, kind, options).expect_err("it cannot be measured")
    };
    for (memory, fits) in [(1000, "a micro-batch of 3 would fit"), (100, "not even one sample at a time would fit")] {
        let small = Options { memory: Some(memory), ..Options::default() };
        let error = new(&mut session, &case.problem, Matrix::Hessian, &small);
        assert!(matches!(error, Error::Memory { available, .. } if available == memory), "{error}");
        assert!(error.to_string().contains(fits), "{error}");
    }
    let elsewhere = Options { blocks: vec!["conv".into()], ..Options::default() };
    let error = new(&mut session, &case.problem, Matrix::Hessian, &elsewhere).to_string();
    assert!(error.contains("dense0.weight") && error.contains("found conv"), "{error}");
    let mut unlikely = case.problem.clone();
    unlikely.likelihood = None;
    let error = new(&mut session, &unlikely, Matrix::Fisher { draws: 1 }, &Options::default()).to_string();
    assert!(error.starts_with("fisher: expected a problem with a likelihood"), "{error}");
    let dropping = Problem::new(case.problem.samples.clone(), None, |b, n| {
        let x = b.dropout(b.g.input("x", &[n, 6]), 0.5);
        let outputs = b.dense("dense0", x, 5);
        let [losses, _] = outputs.cross_entropy(b.g.input_u32("y", &[n]));
        Ok(Parts { losses, outputs })
    });
    let batch = Options { batch_norm: BatchNorm::Full, ..Options::default() };
    let error = new(&mut session, &dropping, Matrix::Hessian, &batch).to_string();
    assert!(error.contains("dropout"), "{error}");
    session.set("dense0.bias", &[5], &[f32::NAN; 5]).expect("it fits");
    let error = new(&mut session, &case.problem, Matrix::Hessian, &Options::default());
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
}

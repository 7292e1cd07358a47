//! What is built on operands, in every class of devices.

use hillshade::engine::{Class, Data, Graph, Session, Tensor};

use crate::common::*;

pub const INFINITY: f32 = f32::INFINITY;
pub const NAN: f32 = f32::NAN;

/// What makes results of operands, and a value of a value.
pub type Results = for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>;
pub type Function = for<'g> fn(Tensor<'g>) -> Tensor<'g>;

pub const CLASSES: [Class; 3] = [Class::GPU, Class::SOFTWARE, Class::Software { subgroups: true }];

/// An operand: its shape, and floats or indices.
pub enum X<'a> {
    F(&'a [usize], &'a [f32]),
    I(&'a [usize], &'a [u32]),
}

pub use X::{F, I};

/// The results of what is built on operands, on a session.
pub fn made(session: &mut Session, x: &[X], build: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>) -> Vec<Vec<f64>> {
    let g = Graph::new();
    let input = |(i, x): (usize, &X)| match x {
        F(shape, _) => g.input(&format!("x{i}"), shape),
        I(shape, _) => g.input_u32(&format!("x{i}"), shape),
    };
    let operands: Vec<Tensor> = x.iter().enumerate().map(input).collect();
    let y = build(&operands);
    let data = x.iter().map(|x| match x {
        F(_, x) => Data::F32(x),
        I(_, x) => Data::U32(x),
    });
    let feeds: Vec<_> = operands.iter().map(|x| x.var()).zip(data).collect();
    evaluate(session, &g, &y, feeds.as_slice())
}

/// Calls `check` with a class's name and the results in it.
pub fn in_each_class(
    x: &[X], build: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>, check: impl Fn(&str, Vec<Vec<f64>>),
) {
    for class in CLASSES {
        let y = made(&mut Session::device(gpu_as(Some(class), false)), x, build);
        check(&format!("{class:?}"), y);
    }
}

/// The same in the classes of software adapters, for what GPUs have loops for that a software adapter would cut.
pub fn on_software(x: &[X], build: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>, check: impl Fn(&str, Vec<Vec<f64>>)) {
    for class in &CLASSES[1..] {
        check(&format!("{class:?}"), made(&mut Session::device(gpu_as(Some(*class), false)), x, build));
    }
}

/// Asserts that results are those of the reference, to a tolerance.
pub fn as_reference(what: &str, x: &[X], build: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>, tolerance: f64) {
    let want = made(&mut Session::reference(), x, build);
    in_each_class(x, build, |class, got| {
        for (got, want) in got.iter().zip(&want) {
            assert_close(&format!("{what} in {class}"), got, want, tolerance);
        }
    });
}

/// Whether two numbers are the same to a share of the second, NaN and infinities among them.
pub fn same(a: f64, b: f64, share: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= share * b.abs()
}

/// A function of one number, by numbers and right values.
pub fn function(what: &str, f: for<'g> fn(Tensor<'g>) -> Tensor<'g>, of: &[(f32, f64)], share: f64) {
    let x: Vec<f32> = of.iter().map(|p| p.0).collect();
    for class in CLASSES {
        let g = Graph::new();
        let input = g.input("x", &[x.len()]);
        let y = f(input);
        let feeds = [(input.var(), Data::F32(&x[..]))];
        let y = evaluate(&mut Session::device(gpu_as(Some(class), false)), &g, &[y], feeds.as_slice());
        for (&(x, want), &got) in of.iter().zip(&y[0]) {
            assert!(same(got, want, share), "{what}({x}) in {class:?} is {got}, expected {want}");
        }
    }
}

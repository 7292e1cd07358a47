//! Formulas as they are written: operators between tensors and numbers, the ops that they become, and their values.

use hillshade::engine::{Generator, Session, Target, TestCase, shape::broadcast};

use crate::common::{Bench, Build, applied, assert_close, gpu};

/// A formula of `x` and `y`, its values, and its ops.
type Row = (&'static str, Build, fn(f64, f64) -> f64, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("x + y", |v| v[0] + v[1], |x, y| x + y, &["Add"]),
    ("x − y", |v| v[0] - v[1], |x, y| x - y, &["Sub"]),
    ("x y", |v| v[0] * v[1], |x, y| x * y, &["Mul"]),
    ("x / y", |v| v[0] / v[1], |x, y| x / y, &["Div"]),
    ("−x", |v| -v[0], |x, _| -x, &["Neg"]),
    ("x + 3", |v| v[0] + 3.0, |x, _| x + 3.0, &["Affine { scale: 1.0, shift: 3.0 }"]),
    ("3 + x", |v| 3.0 + v[0], |x, _| 3.0 + x, &["Affine { scale: 1.0, shift: 3.0 }"]),
    ("x − 3", |v| v[0] - 3.0, |x, _| x - 3.0, &["Affine { scale: 1.0, shift: -3.0 }"]),
    ("3 − x", |v| 3.0 - v[0], |x, _| 3.0 - x, &["Affine { scale: -1.0, shift: 3.0 }"]),
    ("3 x", |v| 3.0 * v[0], |x, _| 3.0 * x, &["Affine { scale: 3.0, shift: 0.0 }"]),
    ("x · 3", |v| v[0] * 3.0, |x, _| 3.0 * x, &["Affine { scale: 3.0, shift: 0.0 }"]),
    ("x / 4", |v| v[0] / 4.0, |x, _| x / 4.0, &["Affine { scale: 0.25, shift: 0.0 }"]),
    ("2 / x", |v| 2.0 / v[0], |x, _| 2.0 / x, &["Recip", "Affine { scale: 2.0, shift: 0.0 }"]),
    // A multiple and a number make one op.
    ("x · 2 + 1", |v| v[0] * 2.0 + 1.0, |x, _| 2.0 * x + 1.0, &["Affine { scale: 2.0, shift: 1.0 }"]),
    ("1 + 2 x", |v| 1.0 + 2.0 * v[0], |x, _| 2.0 * x + 1.0, &["Affine { scale: 2.0, shift: 1.0 }"]),
    ("x / 4 − 1", |v| v[0] / 4.0 - 1.0, |x, _| x / 4.0 - 1.0, &["Affine { scale: 0.25, shift: -1.0 }"]),
    (
        "(x + 1) · 2",
        |v| (v[0] + 1.0) * 2.0,
        |x, _| (x + 1.0) * 2.0,
        &["Affine { scale: 1.0, shift: 1.0 }", "Affine { scale: 2.0, shift: 0.0 }"],
    ),
    ("1 − y²", |v| 1.0 - v[1] * v[1], |_, y| 1.0 - y * y, &["Mul", "Affine { scale: -1.0, shift: 1.0 }"]),
    (
        "(1 − y²) x",
        |v| (1.0 - v[1] * v[1]) * v[0],
        |x, y| (1.0 - y * y) * x,
        &["Mul", "Affine { scale: -1.0, shift: 1.0 }", "Mul"],
    ),
    // The multiple is still there for who needs it.
    (
        "(2 x + 1) / (2 x)",
        |v| {
            let twice = v[0] * 2.0;
            (twice + 1.0) / twice
        },
        |x, _| (2.0 * x + 1.0) / (2.0 * x),
        &["Affine { scale: 2.0, shift: 0.0 }", "Affine { scale: 2.0, shift: 1.0 }", "Div"],
    ),
];

/// With a row of `y` for every row of `x`, and the other way round: operators broadcast.
#[test]
fn formulas_become_their_ops() {
    let (mut device, mut host, mut reference) = (Session::device(gpu(false)), Session::host(), Session::reference());
    for &(what, build, value, ops) in ROWS {
        for shapes in [[&[3, 5][..], &[5]], [&[5], &[3, 5]], [&[3, 5], &[3, 1]]] {
            let x = shapes.map(|shape| Generator::Range(shape.to_vec(), 0.5, 2.0)).to_vec();
            let b = Bench::new(&TestCase::one(what, x, build));
            let mut found = applied(&b.plan(Target::Reference));
            let mut expected: Vec<String> = ops.iter().map(|op| op.to_string()).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{what}");

            let [y] = &b.y()[..] else { panic!("{what} is one value") };
            let shape = y.shape().expect("the shapes broadcast");
            let want = &b.values(&mut reference)[0];
            let [x, y] = [0, 1].map(|i| spread(&b, i, shape));
            let closed: Vec<f64> = x.iter().zip(&y).map(|(&x, &y)| value(x, y)).collect();
            assert_close(what, want, &closed, 1e-15);
            for (name, session) in [("device", &mut device), ("host", &mut host)] {
                assert_close(&format!("{what} on the {name}"), &b.values(session)[0], want, 1e-6);
            }
        }
    }
}

/// Operand `i` as it is broadcast to a matrix or a vector.
fn spread(b: &Bench, i: usize, shape: &[usize]) -> Vec<f64> {
    let x = b.x()[i];
    if broadcast(x.shape().expect("no rule was broken"), shape).as_deref() != Some(shape) {
        // The formula is one of the other operand alone.
        return vec![f64::NAN; shape.iter().product()];
    }
    let own = x.broadcast(shape);
    let mut session = Session::reference();
    crate::common::evaluate(&mut session, &b.g, &[own], &b.inputs()).concat()
}

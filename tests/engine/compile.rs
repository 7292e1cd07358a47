//! What the compiler does to a graph: pruning, merging, and what it must not fuse. `fusions.rs` has what it fuses.

use std::fmt;

use hillshade::engine::{
    Class, Conv, Data, Graph, Launches, Op, Operand, OutMut, Plan, Result, Session, Step, Target, Tensor, TestCase,
    Type,
};

use crate::common::{Bench, applied, assert_close, evaluate, unit};

fn copies(plan: &Plan) -> usize {
    plan.steps.iter().filter(|s| matches!(s, Step::Copy { .. })).count()
}

#[test]
fn equal_nodes_merge_and_unused_ones_vanish() {
    let b = Bench::new(&TestCase::one("twice the same", vec![unit(&[5]), unit(&[5])], |x| {
        let (a, b) = (x[0].exp(), x[0].exp());
        let (c, d, other) = (a * 2.0, b * 2.0, b * 2.5);
        x[1].tanh();
        c * d * other
    }));
    for target in [Target::Reference, Target::Host, Target::GPU] {
        let plan = b.plan(target);
        assert_eq!(applied(&plan).len(), 5, "exp, two affine, two mul:\n{plan}");
        assert_eq!(plan.inputs.len(), 1, "what only unused nodes read is no input of the program");
    }
}

/// `y = scale x`, or `−scale x` as an op of another type, with a text that says neither.
#[derive(PartialEq)]
struct Scale<const NEGATIVE: bool>(f64);

impl<const NEGATIVE: bool> Scale<NEGATIVE> {
    fn scale(&self) -> f64 {
        if NEGATIVE { -self.0 } else { self.0 }
    }
}

impl<const NEGATIVE: bool> fmt::Debug for Scale<NEGATIVE> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Scale")
    }
}

impl<const NEGATIVE: bool> Op for Scale<NEGATIVE> {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        Ok(vec![x[0].clone()])
    }

    fn launch(&self, _: Class, _: &[&Type], _: &[&Type]) -> Launches {
        Launches::default()
    }

    fn host(&self, x: &[Operand<f32>], y: &mut [OutMut<f32>]) {
        y[0].floats_mut().iter_mut().zip(x[0].floats()).for_each(|(y, x)| *y = self.scale() as f32 * x);
    }

    fn reference(&self, x: &[Operand<f64>], y: &mut [OutMut<f64>]) {
        y[0].floats_mut().iter_mut().zip(x[0].floats()).for_each(|(y, x)| *y = self.scale() * x);
    }
}

/// Ops are the same by type and constants, not by what their text says of them.
#[test]
fn ops_are_merged_by_what_they_are() {
    let g = Graph::new();
    let x = g.input("x", &[3]);
    let [two, again, five] = [2.0, 2.0, 5.0].map(|scale| x.apply(Scale::<false>(scale)));
    let y = [two, again, five, x.apply(Scale::<true>(2.0))];
    for mut session in [Session::host(), Session::reference()] {
        let plan = session.plan(&g, &y).expect("the graph compiles");
        assert_eq!(applied(&plan), ["Scale"; 3], "on {}:\n{plan}", session.executor());
        assert_eq!(plan.outputs[0].0, plan.outputs[1].0, "equal ops of equal operands are computed once");
        let got = evaluate(&mut session, &g, &y, [(x, Data::F32(&[1.0, -2.0, 0.5]))]);
        let want = [2.0, 2.0, 5.0, -2.0].map(|scale| vec![scale, -2.0 * scale, 0.5 * scale]);
        assert_eq!(got, want, "on {}", session.executor());
    }
}

/// A zero is not its negative: one over it has either sign.
#[test]
fn constants_are_compared_bit_for_bit() {
    let g = Graph::new();
    let x = g.input("x", &[1]);
    let y = [(x * 0.0).recip(), (x * 0.0 + -0.0).recip()];
    for mut session in [Session::host(), Session::reference()] {
        let got = evaluate(&mut session, &g, &y, [(x, Data::F32(&[-1.0]))]);
        assert_eq!(got, [[f64::INFINITY], [f64::NEG_INFINITY]], "on {}", session.executor());
    }
}

/// Draws of one stream are one draw, draws of two are two.
#[test]
fn random_draws_merge_by_stream() {
    let g = Graph::new();
    let seed = g.input_u32("seed", &[3]);
    let draws = [4, 4, 5].map(|stream| seed.uniform(stream, &[9]));
    assert_eq!(applied(&Plan::new(Target::GPU, &g, &draws).expect("the graph compiles")).len(), 2);
}

/// The sum of two products.
fn two_products<'g>(x: &[Tensor<'g>]) -> Tensor<'g> {
    x[0].matmul(x[1]) + x[2].matmul(x[3])
}

/// Graphs that look like a pattern but are none.
fn near_misses() -> Vec<TestCase> {
    let four = || vec![unit(&[2, 5, 5]), unit(&[2, 5, 5]), unit(&[2, 5, 5]), unit(&[2, 5, 5])];
    let image = || vec![unit(&[2, 6, 6, 3]), unit(&[3, 3, 3, 3])];
    let norm = || vec![unit(&[5, 3, 7]), unit(&[7]), unit(&[7]), unit(&[7])];
    vec![
        TestCase::new("a term is wanted", four(), |x| {
            let (p, q) = (x[0].matmul(x[1]), x[2].matmul(x[3]));
            Ok(vec![p + q, p])
        }),
        TestCase::one("a term is used twice", four(), |x| {
            let (p, q) = (x[0].matmul(x[1]), x[2].matmul(x[3]));
            (p + q) * q
        }),
        TestCase::one("one term twice", four(), |x| {
            let p = x[0].matmul(x[1]);
            p + p
        }),
        TestCase::one("only one is transposed", four(), |x| x[0].matmul(x[1]) + x[2].matmul_as(true, x[3], false)),
        TestCase::one(
            "other inner extents",
            vec![unit(&[1, 5, 7]), unit(&[1, 7, 5]), unit(&[1, 5, 2]), unit(&[1, 2, 5])],
            two_products,
        ),
        TestCase::new("before the ends is wanted", image(), |x| {
            let p = x[0].conv2d(x[1], Conv::padded(1));
            Ok(vec![p.relu(), p])
        }),
        TestCase::one("a number for each pixel is no scale", image(), |x| {
            let p = x[0].conv2d(x[1], Conv::padded(1));
            p * x[0].sum(&[3]).reshape(&[2, 6, 6, 1])
        }),
        TestCase::one("a bias for each row", vec![unit(&[2, 5, 7]), unit(&[2, 7, 5]), unit(&[5, 1])], |x| {
            x[0].matmul(x[1]) + x[2]
        }),
        TestCase::one("a bias for all", vec![unit(&[2, 5, 7]), unit(&[2, 7, 5]), unit(&[1])], |x| {
            x[0].matmul(x[1]) + x[2]
        }),
        TestCase::one("the product is broadcast", vec![unit(&[1, 1, 7]), unit(&[1, 7, 1]), unit(&[5])], |x| {
            x[0].matmul(x[1]) + x[2]
        }),
        TestCase::one("the residual needs the statistics", norm(), |x| {
            let [y, mean, _] = x[0].batch_norm(x[1], x[2], 1e-5);
            y + mean.broadcast(&[5, 3, 7])
        }),
        TestCase::one("a shift is no residual", norm(), |x| x[0].batch_norm(x[1], x[2], 1e-5)[0] + x[3]),
        TestCase::one("the mean's relu", norm(), |x| x[0].batch_norm(x[1], x[2], 1e-5)[1].relu()),
        TestCase::new("before the relu is wanted", norm(), |x| {
            let [y, ..] = x[0].batch_norm(x[1], x[2], 1e-5);
            Ok(vec![y.relu(), y])
        }),
    ]
}

#[test]
fn what_anything_else_needs_is_not_fused_away() {
    let (mut host, mut reference) = (Session::host(), Session::reference());
    for case in near_misses() {
        let b = Bench::new(&case);
        let plain = applied(&b.plan(Target::Reference));
        for fused in [Target::Host, Target::GPU] {
            assert_eq!(applied(&b.plan(fused)), plain, "{}", case.what);
        }
        for (got, want) in b.values(&mut host).iter().zip(&b.values(&mut reference)) {
            assert_close(&case.what, got, want, 2e-6);
        }
    }
}

/// A value that a state is to hold is wanted too.
#[test]
fn assigned_values_are_not_fused_away() {
    let g = Graph::new();
    let (a, b) = (g.input("a", &[1, 4, 4]), g.input("b", &[1, 4, 4]));
    let (p, q) = (a.matmul(b), b.matmul(a));
    g.assign(g.state("s", &[1, 4, 4]), p);
    let plan = Plan::new(Target::GPU, &g, &[p + q]).expect("the graph compiles");
    // The product is computed right into the state, which nothing reads.
    assert_eq!((applied(&plan).len(), copies(&plan)), (3, 0), "{plan}");
}

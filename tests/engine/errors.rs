//! Broken rules wait in the graph, with their place in the source, until something returns a `Result`.

use hillshade::engine::{Conv, Error, Graph, Pool, Session, Sgd, Tensor};

use crate::common::{Build, each_case, inputs};

/// The line of this file on which an error says that a rule was broken.
fn line(error: &Error) -> u32 {
    let Error::At { place, .. } = error else { panic!("{error:?} has no place") };
    assert!(place.file().ends_with("errors.rs"), "{error}");
    assert!(error.to_string().ends_with(&format!("errors.rs:{}:{})", place.line(), place.column())), "{error}");
    place.line()
}

/// Whatever returns a `Result` gives the first broken rule, with op, shapes and place.
#[test]
fn the_first_broken_rule_waits() {
    let g = Graph::new();
    let (a, b) = (g.input("a", &[2, 3]), g.input("b", &[4, 5]));
    g.check().expect("nothing is broken so far");
    let (product, broken) = (a.matmul(b), line!());
    let later = b.reshape(&[7]);
    let loss = (product + later).tanh().sum_all();
    let session = Session::host();
    let errors = [
        g.check().expect_err("check"),
        product.ty().expect_err("ty"),
        product.shape().expect_err("shape"),
        product.dims::<2>().expect_err("dims"),
        product.count().expect_err("count"),
        product.node().expect_err("node"),
        later.dims::<1>().expect_err("dims of a rule that was broken later"),
        loss.dims::<0>().expect_err("dims of what follows"),
        loss.grad(&[a, b]).expect_err("grad"),
        loss.hvp(&[a], &[a]).expect_err("hvp"),
        a.sum_all().grad(&[a]).expect_err("grad of what is right, in a graph that is broken"),
        g.vjp(&[product], &[product], &[a]).expect_err("vjp"),
        g.jvp(&[product], &[a], &[a]).expect_err("jvp"),
        g.substitute(&[product], &[a], &[a]).expect_err("substitute"),
        g.vmap(&[product], &[a], &[a]).expect_err("vmap"),
        g.partial_eval(&[], &[product], &[a], "kept").expect_err("split"),
        a.sgd(Sgd { momentum: 0.0, nesterov: false, decay: 0.0 }, product, product, None).expect_err("sgd"),
        session.plan(&g, &[loss]).expect_err("plan"),
        session.compile(&g, &[loss]).expect_err("compile"),
        session.compile(&g, &[a]).expect_err("compile what is right, in a graph that is broken"),
    ];
    for error in &errors {
        assert_eq!(line(error), broken, "{error}");
        let Error::Shape { op: "matmul", got, .. } = error.cause() else { panic!("{error}") };
        assert!(got.contains("2, 3]") && got.contains("4, 5]"), "{got}");
        assert_eq!(error, &errors[0]);
    }
    assert_eq!(a.dims(), Ok([2, 3]), "what came before is as it was");
}

/// Another number of axes than one asks for is an error of who asks, and breaks nothing.
#[test]
fn dims_have_the_place_of_who_asks() {
    let g = Graph::new();
    let x = g.input("x", &[2, 3]);
    let (error, asked) = (x.dims::<4>().expect_err("two axes"), line!());
    assert_eq!(line(&error), asked);
    assert_eq!(error.cause().to_string(), "dims: has 4 axes, got [2, 3]");
    g.check().expect("asking breaks nothing");
}

const HALF: Conv = Conv { stride: [2, 2], padding: [0, 0], dilation: [1, 1], groups: 1 };

/// The place is in the user's source for every way in which an op is written: methods, operators, leaves, and what is made
/// of several ops.
#[test]
fn places_are_the_users() {
    let broken: [(u32, Build); 29] = [
        (line!(), |x| x[0].matmul(x[1])),
        (line!(), |x| x[0].matmul_as(true, x[1], true)),
        (line!(), |x| x[0].linear(x[1], x[1])),
        (line!(), |x| x[0] + x[1]),
        (line!(), |x| x[0] - x[1]),
        (line!(), |x| x[0] * x[1]),
        (line!(), |x| x[0] / x[1]),
        (line!(), |x| -x[2]),
        (line!(), |x| x[2] * 2.0),
        (line!(), |x| 2.0 / x[2]),
        (line!(), |x| x[0].select(x[1], x[1])),
        (line!(), |x| x[0].sum(&[5])),
        (line!(), |x| x[0].mean(&[5])),
        (line!(), |x| x[0].variance(&[5])),
        (line!(), |x| x[0].softmax(5)),
        (line!(), |x| x[0].max_over(&[5])),
        (line!(), |x| x[0].conv2d(x[1], HALF)),
        (line!(), |x| x[0].max_pool(Pool::square(2))[0]),
        (line!(), |x| x[0].global_avg_pool()),
        (line!(), |x| x[0].batch_norm(x[1], x[1], 1e-5)[0]),
        (line!(), |x| x[0].layer_norm(x[1], x[1], 1e-5)[0]),
        (line!(), |x| x[0].cross_entropy(x[1])[0]),
        (line!(), |x| x[0].reshape(&[7])),
        (line!(), |x| x[0].broadcast(&[7])),
        (line!(), |x| x[0].slice(0, 1, 7)),
        (line!(), |x| x[0].graph().concat(x, 0)),
        (line!(), |x| x[0].graph().input("x0", &[1])),
        (line!(), |x| x[0].graph().literal(&[3], &[1.0])),
        (line!(), |x| x[0].graph().fill(&[0], 1.0)),
    ];
    for (expected, build) in broken {
        let g = Graph::new();
        let x = [g.input("x0", &[2, 3]), g.input("x1", &[4, 5]), g.input_u32("x2", &[3])];
        assert!(build(&x).ty().is_err(), "line {expected} breaks no rule");
        let error = g.check().expect_err("a broken rule");
        assert_eq!(line(&error), expected, "{error}");
    }
}

/// A rule that `assign` refuses is kept like any other.
#[test]
fn assignments_wait_too() {
    let g = Graph::new();
    let (x, s) = (g.input("x", &[2]), g.state("s", &[3]));
    let broken = line!() + 1;
    g.assign(s, x);
    let error = Session::host().compile(&g, &[]).expect_err("the types differ");
    assert_eq!((line(&error), g.assigned(s)), (broken, None));
}

fn is_inert(x: Tensor) -> bool {
    x.ty().is_err()
}

/// What follows from a broken rule is inert, however long it goes on.
#[test]
fn what_follows_is_inert() {
    let g = Graph::new();
    let (x, s) = (g.input("x", &[2, 2]), g.state("s", &[2, 2]));
    let inert = x.reshape(&[3]);
    let first = g.check().expect_err("a broken rule");
    let mut y = inert;
    for _ in 0..1000 {
        y = (1.0 - (y * y + x) / 2.0).matmul(x).tanh();
    }
    let [wide, mean, _] = y.batch_norm(y, x, 1e-5);
    let all = [y, wide, mean, -y, 2.0 / y, y.softmax(1), y.mean_all(), x.matmul(y), g.concat(&[x, y], 0), y.pack_f16()];
    assert!(all.into_iter().all(is_inert));
    assert_eq!(g.check(), Err(first), "the first one stays");
    g.assign(s, y);
    g.assign(y, s);
    assert_eq!(g.assigned(s), None);
    assert!(format!("{y} {y:?} {g}").contains("%inert"));
}

/// Every op, in every case, on inert operands: results are inert, and nothing panics.
#[test]
fn every_op_takes_inert_operands() {
    each_case(|case| {
        for one in 0..=case.x.len() {
            let g = Graph::new();
            let operands = inputs(&g, case, "x");
            let inert = g.input("broken", &[2]).reshape(&[3]);
            // All of them, then each alone.
            let x: Vec<Tensor> =
                operands.iter().enumerate().map(|(i, &x)| if one == 0 || one == i + 1 { inert } else { x }).collect();
            let y = (case.build)(&x);
            // A fill needs of its operand the graph alone.
            let inert = y.as_ref().is_ok_and(|y| y.iter().all(|&y| is_inert(y)));
            assert!(one > 0 || y.is_err() || inert || case.what.starts_with("fill"), "{}: {y:?}", case.what);
        }
    });
}

fn is_foreign(error: &Error) -> bool {
    matches!(error.cause(), Error::Name { problem, .. } if problem.contains("another graph"))
}

#[test]
fn values_of_another_graph_are_no_operands() {
    let other = Graph::new();
    let elsewhere = other.state("s", &[2, 2]);
    let mixed: [for<'g> fn(&'g Graph, Tensor<'g>, Tensor<'g>); 6] = [
        |_, x, y| _ = x + y,
        |_, x, y| _ = x.matmul(y),
        |_, x, y| _ = x.batch_norm(x, y, 1e-5),
        |g, x, y| _ = g.concat(&[x, y], 0),
        |g, x, y| g.assign(x, y),
        |g, x, y| g.assign(y, x),
    ];
    for build in mixed {
        let g = Graph::new();
        build(&g, g.state("s", &[2, 2]), elsewhere);
        let error = g.check().expect_err("a value of another graph");
        assert!(is_foreign(&error), "{error}");
        assert_eq!(other.check(), Ok(()), "the other graph is whole");
    }
}

/// What has a number in a graph must not stand for what has that number in another one.
#[test]
fn values_of_another_graph_cannot_be_asked_for() {
    let (g, other) = (Graph::new(), Graph::new());
    let (x, elsewhere) = (g.state("s", &[2]), other.state("s", &[2]));
    let loss = (x * x).sum_all();
    let mut session = Session::host();
    session.set("s", &[2], &[1.0, 2.0]).expect("the sizes match");
    let refused = [
        ("vjp", g.vjp(&[elsewhere], &[elsewhere], &[x]).map(drop)),
        ("grad", loss.grad(&[elsewhere]).map(drop)),
        ("jvp", g.jvp(&[x], &[x], &[elsewhere]).map(drop)),
        ("substitute", g.substitute(&[loss], &[x], &[elsewhere]).map(drop)),
        ("vmap", g.vmap(&[elsewhere], &[x], &[g.input("tall", &[3, 2])]).map(drop)),
        ("split", g.partial_eval(&[], &[elsewhere], &[x], "kept").map(drop)),
        ("plan", session.plan(&g, &[elsewhere]).map(drop)),
        ("compile", session.compile(&g, &[elsewhere]).map(drop)),
    ];
    for (what, result) in refused {
        assert!(result.as_ref().is_err_and(is_foreign), "{what}: {result:?}");
    }
}

//! What the engine refuses and how it says so, and a device that is gone.

use hillshade::engine::{
    Attention, Class, Conv, DType, Data, Error, Gpu, Graph, Launches, Op, Operand, Options, OutMut, Pool, Result,
    Session, Sgd, Tensor, Type,
    ops::{Conv2d, Matmul},
};

use crate::common::{Build, gpu, pollster_block};

/// Inputs of these shapes.
fn inputs<'g>(g: &'g Graph, shapes: &[&[usize]]) -> Vec<Tensor<'g>> {
    shapes.iter().zip(0..).map(|(s, i)| g.input(&format!("x{i}"), s)).collect()
}

/// The error of building on inputs of these shapes.
fn refusal(shapes: &[&[usize]], build: Build) -> Error {
    let g = Graph::new();
    assert!(build(&inputs(&g, shapes)).ty().is_err(), "the shapes do not fit");
    cause(&g)
}

/// What was broken in a graph, without the place.
fn cause(g: &Graph) -> Error {
    g.check().expect_err("a rule was broken").cause().clone()
}

/// The result of an op that has one.
fn apply<'g>(op: impl Op, x: &[Tensor<'g>]) -> Tensor<'g> {
    let [y] = x[0].graph().apply(op, x);
    y
}

/// The first of several results, if there are any.
fn first<'g>(x: &[Tensor<'g>], made: Result<Vec<Tensor<'g>>>) -> Tensor<'g> {
    x[0].graph().wait(made.map(|y| y[0]))
}

const PLAIN: Sgd = Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };
const HOW: Attention = Attention { causal: false, scale: 1.0 };

fn attend<'g>(x: &[Tensor<'g>]) -> Tensor<'g> {
    x[0].attention(x[1], x[2], HOW, None)[0]
}

const TWO: Matmul = Matmul { ta: false, tb: false, terms: 2, bias: false };

/// Op, operands, and a part of the rule that they break.
const REFUSED: &[(&str, &[&[usize]], Build, &str)] = &[
    ("matmul", &[&[3, 4], &[5, 6]], |x| x[0].matmul(x[1]), "[b, m, k] [b, k, n]"),
    ("matmul", &[&[3, 4], &[6, 5]], |x| x[0].matmul_as(false, x[1], true), "[b, m, k] [b, n, k]"),
    ("matmul", &[&[4], &[4, 5]], |x| x[0].matmul(x[1]), "[…, m, k]"),
    ("matmul", &[&[2, 3, 4], &[3, 4, 5]], |x| x[0].matmul(x[1]), "[…, m, k]"),
    ("matmul", &[&[1, 2, 3], &[1, 3, 4], &[1, 2, 3], &[1, 3, 5]], |x| apply(TWO, x), "like the first"),
    ("matmul", &[&[1, 2, 3], &[1, 3, 4]], |x| apply(Matmul { terms: 0, ..TWO }, x), "one or two"),
    ("matmul", &[&[1, 2, 3], &[1, 3, 4], &[3]], |x| apply(Matmul { terms: 1, bias: true, ..TWO }, x), "[4]"),
    ("linear", &[&[2, 3], &[4], &[4]], |x| x[0].linear(x[1], x[2]), "[…, k] [k, n] [n]"),
    ("conv2d", &[&[2, 8, 7, 3], &[3, 3, 4, 5]], |x| x[0].conv2d(x[1], Conv::default()), "groups·ci"),
    ("conv2d", &[&[2, 2, 7, 3], &[3, 3, 3, 5]], |x| x[0].conv2d(x[1], Conv::default()), "the window fits"),
    ("conv2d", &[&[2, 8, 7, 3], &[3, 3, 3, 5]], |x| x[0].conv2d(x[1], Conv::default().strided(0)), "[0, 0]"),
    (
        "conv2d",
        &[&[1, 3, 3, 2], &[1, 1, 2, 4], &[3]],
        |x| apply(Conv2d { bias: true, ..Conv2d::new(Conv::default()) }, x),
        "[4]",
    ),
    (
        "conv2d_input_grad",
        &[&[2, 5, 5, 4], &[3, 3, 3, 4]],
        |x| x[0].conv2d_input_grad(x[1], Conv::default(), [8, 8]),
        "[8, 8]",
    ),
    (
        "conv2d_weight_grad",
        &[&[2, 8, 8, 3], &[2, 8, 8, 4]],
        |x| x[0].conv2d_weight_grad(x[1], Conv::default(), [3, 3]),
        "[3, 3]",
    ),
    ("max_pool", &[&[1, 1, 5, 2]], |x| x[0].max_pool(Pool::square(2))[0], "the window fits"),
    ("add", &[&[3, 4], &[5, 4]], |x| x[0] + x[1], "extents are equal or 1"),
    ("select", &[&[3], &[3], &[2]], |x| x[0].select(x[1], x[2]), "extents are equal or 1"),
    ("reshape", &[&[2, 3]], |x| x[0].reshape(&[7]), "[7] has as many elements"),
    ("reshape", &[&[1]], |x| x[0].reshape(&[1; 9]), "at most 8 axes"),
    ("concat", &[&[2, 3], &[2, 4]], |x| x[0].graph().concat(x, 0), "equal but for axis 0"),
    ("concat", &[&[2, 3], &[2, 3]], |x| x[0].graph().concat(x, 2), "equal but for axis 2"),
    ("sum", &[&[2, 3]], |x| x[0].sum(&[0, 2]), "axes [0, 2] exist"),
    ("sum_to", &[&[2, 6]], |x| x[0].sum_to(&[3, 4]), "[3, 4] broadcasts to it"),
    ("broadcast", &[&[2, 3]], |x| x[0].broadcast(&[3, 2]), "broadcasts to [3, 2]"),
    ("transpose", &[&[2, 3]], |x| x[0].transpose(&[0, 0]), "permutation"),
    ("slice", &[&[4]], |x| x[0].slice(0, 3, 2), "axis 0 holds 3..5"),
    ("batch_norm", &[&[4, 3], &[4], &[3]], |x| x[0].batch_norm(x[1], x[2], 1e-5)[0], "[c]"),
    ("layer_norm", &[&[4, 3], &[4], &[3]], |x| x[0].layer_norm(x[1], x[2], 1e-5)[0], "[c]"),
    ("rms_norm", &[&[], &[1]], |x| x[0].rms_norm(x[1], 1e-5)[0], "[c]"),
    ("attention", &[&[2, 5, 3, 8], &[2, 7, 2, 8], &[2, 7, 2, 8]], attend, "a multiple of kv_heads"),
    ("attention", &[&[2, 5, 2, 8], &[2, 7, 2, 8], &[2, 6, 2, 8]], attend, "k and v [n, s, kv_heads, d]"),
    ("attention", &[&[1, 1, 1, 257], &[1, 1, 1, 257], &[1, 1, 1, 257]], attend, "d at most 256"),
    ("attention", &[&[5, 8], &[5, 8], &[5, 8]], attend, "q is [n, t, heads, d]"),
    ("sgd", &[&[3], &[4], &[1]], |x| first(x, x[0].sgd(PLAIN, x[1], x[2], None)), "alike"),
    ("grad", &[&[3]], |x| first(x, x[0].grad(x)), "the loss is a scalar"),
    ("vjp", &[&[3], &[4]], |x| first(x, x[0].graph().vjp(&x[..1], &x[1..], &x[..1])), "types f32[3]"),
    ("jvp", &[&[3], &[4]], |x| first(x, x[0].graph().jvp(&x[..1], &x[..1], &x[1..])), "types f32[3]"),
];

/// A shape error names the op, the rule and the shapes.
#[test]
fn shape_errors_say_what_and_why() {
    for (op, shapes, build, rule) in REFUSED {
        let error = refusal(shapes, *build);
        let text = error.to_string();
        assert!(matches!(error, Error::Shape { op: named, .. } if named == *op), "{op}: {error:?}");
        assert!(text.starts_with(&format!("{op}: ")) && text.contains(rule), "{op}: {text}");
        let shape = match *op {
            "vjp" | "jvp" => shapes[1],
            _ => shapes[0],
        };
        // A matrix is a batch of one: [3, 4] is named as [1, 3, 4].
        let extents = format!("{shape:?}");
        assert!(text.contains(extents.trim_start_matches('[')), "{op}: {text} names {shape:?}");
    }
}

/// What is wrong with a graph that has an input x and a state s of three numbers.
fn broken(build: for<'g> fn(&'g Graph, Tensor<'g>, Tensor<'g>)) -> Error {
    let g = Graph::new();
    build(&g, g.input("x", &[3]), g.state("s", &[3]));
    cause(&g)
}

#[test]
fn graphs_refuse_wrong_values() {
    let name = |e: Error, what: &str| {
        assert!(matches!(e, Error::Name { what: w, .. } if w == what), "{e:?}");
    };
    name(broken(|g, _, _| _ = g.input("x", &[2])), "input");
    name(broken(|g, _, _| _ = g.state("s", &[3])), "state");
    name(broken(|g, x, s| g.assign(x, s)), "value");
    let longer = broken(|g, _, s| g.assign(s, g.input("longer", &[4])));
    assert!(matches!(longer, Error::Data { .. }), "{longer:?}");
    let twice = broken(|g, x, s| {
        g.assign(s, x);
        g.check().expect("the types match");
        g.assign(s, x);
    });
    name(twice, "state");
    let short = broken(|g, _, _| _ = g.literal(&[2], &[1.0]));
    assert!(matches!(short, Error::Data { .. }), "{short:?}");
    let wrong = broken(|_, x, s| _ = x.cross_entropy(s));
    assert_eq!(wrong.to_string(), "cross_entropy: operand 1 must be u32, got f32");
    let found = DType::U32;
    let expected = Error::DType { op: "add", operand: 1, expected: DType::F32, found };
    assert_eq!(broken(|g, x, _| _ = x + g.input_u32("index", &[3])), expected);
}

/// Nothing, too many axes, more than can be counted: refused where the value would come from.
#[test]
fn shapes_without_kernels_are_refused() {
    type Leaf = for<'g> fn(&'g Graph, &[usize]) -> Tensor<'g>;
    let leaves: [Leaf; 3] = [|g, s| g.input("x", s), |g, s| g.state("s", s), |g, s| g.fill(s, 1.0)];
    for shape in [&[3, 0][..], &[1; 9], &[1 << 40, 1 << 40]] {
        for leaf in leaves {
            let g = Graph::new();
            leaf(&g, shape);
            assert!(matches!(cause(&g), Error::Shape { .. }), "{shape:?}: {:?}", cause(&g));
        }
    }
    let g = Graph::new();
    let index = g.input_u32("index", &[1; 8]);
    index.ty().expect("eight axes");
    index.one_hot(3);
    assert!(matches!(cause(&g), Error::Shape { op: "one_hot", .. }));
}

/// An op without rules.
#[derive(Debug, PartialEq)]
struct Opaque;

impl Op for Opaque {
    fn name(&self) -> &'static str {
        "opaque"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        Ok(vec![x[0].clone()])
    }

    fn launch(&self, _: Class, _: &[&Type], _: &[&Type]) -> Launches {
        Launches::default()
    }

    fn host(&self, x: &[Operand<f32>], y: &mut [OutMut<f32>]) {
        y[0].copy_from(x[0].data);
    }

    fn reference(&self, x: &[Operand<f64>], y: &mut [OutMut<f64>]) {
        y[0].copy_from(x[0].data);
    }
}

/// A missing rule is an error that names it, also deep inside a program and for what only the compiler makes.
#[test]
fn missing_rules_are_errors() {
    let ops: [(&str, Build); 4] = [
        ("opaque", |x| x[0].apply(Opaque)),
        ("matmul", |x| apply(TWO, x)),
        ("matmul", |x| apply(Matmul { terms: 1, bias: true, ..TWO }, &x[..3])),
        ("conv2d", |x| {
            let [a, b] = [x[3], x[3]].map(|x| x.reshape(&[1, 1, 1, 4]));
            let w = x[0].reshape(&[1, 1, 4, 1]);
            apply(Conv2d { terms: 2, ..Conv2d::new(Conv::default()) }, &[a, w, b, w])
        }),
    ];
    let shapes: [&[&[usize]]; 4] = [
        &[&[3]],
        &[&[1, 2, 3], &[1, 3, 4], &[1, 2, 3], &[1, 3, 4]],
        &[&[1, 2, 3], &[1, 3, 4], &[4]],
        &[&[4], &[1], &[1], &[4]],
    ];
    for ((op, build), shapes) in ops.iter().zip(shapes) {
        let g = Graph::new();
        let x = inputs(&g, shapes);
        let y = build(&x).tanh();
        g.check().expect("the shapes fit");
        for (rule, error) in [("vjp", g.vjp(&[y], &[y], &x)), ("jvp", g.jvp(&[y], &x, &x))] {
            let missing = matches!(error.as_ref().map_err(Error::cause), Err(Error::NoRule { op: o, rule: r, .. }) if o == op && *r == rule);
            assert!(missing, "{op} {rule}: {error:?}");
        }
    }
}

/// `y = s + x` with a state of one element.
fn sum_graph(g: &Graph) -> Tensor<'_> {
    g.state("s", &[3]) + g.input("x", &[3])
}

fn sessions() -> [Session; 3] {
    [Session::device(gpu(false)), Session::host(), Session::reference()]
}

#[test]
fn programs_refuse_wrong_inputs() {
    let g = Graph::new();
    let y = sum_graph(&g);
    for mut session in sessions() {
        session.set("s", &[3], &[1.0, 2.0, 3.0]).expect("the sizes match");
        let mut program = session.compile(&g, &[y]).expect("the state is there");
        let x = [10.0; 3];
        let mut run = |inputs: &[(&str, Data)]| program.run(&mut session, inputs).map_err(|e| e.to_string());
        let missing = Err("input \"x\": not given".into());
        assert_eq!(run(&[]), missing);
        assert_eq!(run(&[("X", Data::F32(&x))]), missing, "a misspelt name");
        assert_eq!(run(&[("x", Data::F32(&x[..2]))]), Err("input \"x\": expected f32[3], got 2 of f32".into()));
        assert_eq!(run(&[("x", Data::U32(&[1; 3]))]), Err("input \"x\": expected f32[3], got 3 of u32".into()));
        assert_eq!(run(&[("for another program", Data::U32(&[])), ("x", Data::F32(&x))]), Ok(()));
        assert_eq!(program.read_now(&session, y), Ok(vec![11.0, 12.0, 13.0]));
        let input = g.node(1).y[0];
        let other = program.read_now(&session, input).expect_err("no output");
        assert!(matches!(other, Error::Name { what: "value", .. }), "{other}");
    }
}

#[test]
fn states_must_be_set() {
    let g = Graph::new();
    let y = sum_graph(&g);
    for mut session in sessions() {
        let text = |e: Result<()>| e.expect_err("refused").to_string();
        assert_eq!(
            text(session.compile(&g, &[y]).map(drop)),
            "state \"s\": expected f32[3], got nothing: it was never set"
        );
        assert_eq!(text(session.set("s", &[3], &[1.0])), "state \"s\": expected 3 values for [3], got 1");
        session.set("s", &[2], &[0.0; 2]).expect("the sizes match");
        assert_eq!(text(session.compile(&g, &[y]).map(drop)), "state \"s\": expected f32[3], got f32[2]");
        assert!(matches!(pollster_block(session.get("t")), Err(Error::Name { what: "state", .. })));

        session.set("s", &[3], &[0.0; 3]).expect("the sizes match");
        let mut program = session.compile(&g, &[y]).expect("the state is there");
        session.set("s", &[1, 3], &[0.0; 3]).expect("the sizes match");
        let again = program.run(&mut session, [("x", Data::F32(&[0.0; 3]))]);
        assert_eq!(text(again), "state \"s\": expected f32[3], got f32[1, 3]", "set anew after it was compiled");
        assert_eq!((session.names(), session.shape_of("s")), (vec!["s".to_string()], Some(vec![1, 3])));
    }
}

/// A program runs on its own executor only; on a device, on its own session only.
#[test]
fn programs_belong_to_their_session() {
    let g = Graph::new();
    let y = sum_graph(&g);
    let mut all: Vec<Session> = sessions().into_iter().chain([Session::device(gpu(false))]).collect();
    for session in &mut all {
        session.set("s", &[3], &[0.0; 3]).expect("the sizes match");
    }
    for own in 0..all.len() {
        let mut program = all[own].compile(&g, &[y]).expect("the state is there");
        for (i, session) in all.iter_mut().enumerate() {
            let ran = program.run(session, [("x", Data::F32(&[0.0; 3]))]);
            let read = pollster_block(program.read_wide(session, y));
            match i == own {
                true => assert!(ran.is_ok() && read.is_ok()),
                false => assert!(matches!(ran, Err(Error::Data { .. })), "{own} on {i}: {ran:?}"),
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let g = Graph::new();
    let y = g.input("x", &[1000]).exp();
    for (mut session, wide) in sessions().into_iter().zip([1, 1, 2]) {
        session.limit_memory(8000 * wide);
        assert_eq!(session.compile(&g, &[y]).expect("it fits").plan().bytes(), 8000);
        session.limit_memory(8000 * wide - 1);
        let refused = session.compile(&g, &[y]).map(drop);
        assert_eq!(refused, Err(Error::Memory { needed: 8000 * wide, available: 8000 * wide - 1 }));
    }
    let y = g.input("large", &[1 << 29]).exp();
    let refused = Session::host().compile(&g, &[y]).map(drop);
    assert!(matches!(refused, Err(Error::Limit { needed, limit, .. }) if (needed, limit) == (1 << 31, (1 << 31) - 1)));
}

#[test]
fn a_lost_device_is_an_error() {
    let g = Graph::new();
    let y = sum_graph(&g);
    let gpu = gpu(false);
    let mut session = Session::device(gpu.clone());
    session.set("s", &[3], &[1.0; 3]).expect("the sizes match");
    let mut program = session.compile(&g, &[y]).expect("the state is there");
    let inputs = [("x", Data::F32(&[0.0; 3]))];
    program.run(&mut session, inputs).expect("the input fits");
    gpu.destroy();
    let lost = |r: Result<()>| assert!(matches!(r, Err(Error::DeviceLost(_))), "{r:?}");
    for _ in 0..2 {
        lost(program.run(&mut session, inputs));
        lost(program.read_now(&session, y).map(drop));
        lost(pollster_block(session.get("s")).map(drop));
        lost(session.set("s", &[3], &[2.0; 3]));
        lost(session.set("new", &[3], &[2.0; 3]));
        lost(session.compile(&g, &[y]).map(drop));
    }
}

#[test]
fn an_unknown_adapter_is_an_error() {
    let adapter = Some("no such adapter".to_string());
    let opened = pollster_block(Gpu::open_with(Options { adapter, ..Options::default() }));
    let Err(Error::NoAdapter { wanted, available }) = opened else { panic!("{opened:?}") };
    assert!(wanted.contains("no such adapter"));
    assert!(available.contains(&gpu(false).adapter().name), "{available}");
}

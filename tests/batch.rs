//! Values for several operands at once against one at a time, and graphs in two halves against whole ones, on every case of
//! every op.

mod common;

use common::{Bench, assert_close, each_case, evaluate, gpu};
use hillshade::{
    engine::{Case, Data, Drawn, Graph, Sample, Session, Var, block_on},
    models::{Builder, Mode, Network},
};

const HEIGHT: usize = 3;

fn data(drawn: &Drawn) -> Data<'_> {
    match drawn {
        Drawn::Float(x) => Data::F32(x),
        Drawn::Index(x) => Data::U32(x),
    }
}

/// Draws that differ from member to member of a stack; what is given exactly stays the same.
fn members(case: &Case, operand: usize) -> Vec<Drawn> {
    (0..HEIGHT).map(|i| case.x[operand].draw((operand + 100 * i) as u32)).collect()
}

fn check_stacks(case: &Case, stacked: &[usize], open: fn() -> Session, bound: f64) {
    let mut b = Bench::new(case);
    let stacks: Vec<Vec<Drawn>> = stacked.iter().map(|&i| members(case, i)).collect();
    let mut tall = Vec::new();
    for &i in stacked {
        let shape = [&[HEIGHT], &case.x[i].ty().shape[..]].concat();
        tall.push(b.g.input(&format!("stack{i}"), &shape).expect("a new name"));
    }
    let from: Vec<Var> = stacked.iter().map(|&i| b.x[i]).collect();
    let all = b.g.batch(&b.y, &from, &tall).unwrap_or_else(|e| panic!("{}: {e}", case.what));
    let mut names: Vec<String> = (0..case.x.len()).map(|i| format!("x{i}")).collect();
    let mut drawn = b.drawn.clone();
    for (&i, stack) in stacked.iter().zip(&stacks) {
        names.push(format!("stack{i}"));
        drawn.push(Drawn::Float(
            stack.iter().flat_map(|d| if let Drawn::Float(x) = d { x.clone() } else { Vec::new() }).collect(),
        ));
    }
    let feeds: Vec<(&str, Data)> = names.iter().map(String::as_str).zip(drawn.iter().map(data)).collect();
    let got = evaluate(&mut open(), &b.g, &all, &feeds);
    for member in 0..HEIGHT {
        let mut own = b.drawn.clone();
        for (&i, stack) in stacked.iter().zip(&stacks) {
            own[i] = stack[member].clone();
        }
        let feeds: Vec<(&str, Data)> = names.iter().map(String::as_str).zip(own.iter().map(data)).collect();
        let want = evaluate(&mut open(), &b.g, &b.y, &feeds);
        for (got, want) in got.iter().zip(want) {
            let got = &got[member * want.len()..][..want.len()];
            let what = format!("{} with {stacked:?} stacked, member {member}", case.what);
            assert_close(&what, got, &want, bound);
        }
    }
}

fn each_stack(mut check: impl FnMut(&Case, &[usize])) {
    each_case(|case| {
        let floats: Vec<usize> = (0..case.x.len()).filter(|&i| matches!(case.x[i].draw(0), Drawn::Float(_))).collect();
        for &i in &floats {
            check(case, &[i]);
        }
        if floats.len() > 1 {
            check(case, &floats);
        }
    });
}

#[test]
fn stacks_are_as_one_at_a_time() {
    each_stack(|case, stacked| check_stacks(case, stacked, Session::twin, 1e-12));
}

/// Ops that take stacks as they are sum in the order in which they sum for one.
#[test]
fn stacks_on_the_host_are_bit_for_bit() {
    each_stack(|case, stacked| {
        if ["conv2d", "batch_norm"].iter().any(|op| case.what.starts_with(op)) {
            check_stacks(case, stacked, Session::host, 0.0);
        }
    });
}

/// Members of which the cache holds one are worked on one by one, to the same bits.
#[test]
fn long_members_are_bit_for_bit() {
    let (x, c) = (vec![700, 1000], vec![1000]);
    let shapes = [&x, &c, &c, &x, &x, &c, &c, &x];
    let samples = shapes.map(|shape| Sample::Range(shape.clone(), 0.5, 1.5)).to_vec();
    let case = Case::new("tangents of batch_norm", samples, |g, x| {
        let [_, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-2)?;
        let dy = g.batch_norm_tangent(x[0], x[1], [mean, rstd], [x[4], x[5], x[6]], 1e-2)?;
        let at = [x[0], x[1], mean, rstd, x[3]];
        let ddx = g.batch_norm_grad_tangent(&at, [x[4], x[5], dy[1], dy[2], x[7]], 1e-2)?;
        Ok([dy, ddx].concat())
    });
    check_stacks(&case, &[4, 5, 6, 7], Session::host, 0.0);
}

/// A network's Hessian product, its directions in states.
struct Product {
    b: Builder,
    g: Graph,
    loss: Var,
    directions: Vec<Var>,
    product: Vec<Var>,
    feeds: (Vec<f32>, Vec<u32>),
}

const IMAGES: usize = 4;

impl Product {
    fn new(spec: &str, mode: Mode) -> Self {
        let mut b = Builder::new(mode);
        let x = b.g.input("images", &[IMAGES, 8, 8, 2]).expect("a fresh graph");
        let labels = b.g.input_u32("labels", &[IMAGES]).expect("a fresh graph");
        let logits = Network::parse(spec).and_then(|n| n.build(&mut b, x, 10)).expect("known and fitting");
        let mut g = b.g.clone();
        let params: Vec<Var> = b.trained().map(|p| p.var).collect();
        let mut build = || {
            let [losses, _] = g.cross_entropy(logits, labels)?;
            let loss = g.mean(losses, &[0])?;
            let gradient = g.grad(loss, &params)?;
            let mut directions = Vec::new();
            for (i, &p) in params.iter().enumerate() {
                let shape = g.shape(p).to_vec();
                directions.push(g.state(&format!("v{i}"), &shape)?);
            }
            let product = g.jvp(&gradient, &params, &directions)?;
            Ok::<_, hillshade::engine::Error>((loss, directions, product))
        };
        let (loss, directions, product) = build().expect("every op has its rules");
        let draw = |stream| match Sample::Range(vec![IMAGES * 128], -1.0, 1.0).draw(stream) {
            Drawn::Float(x) => x,
            Drawn::Index(_) => Vec::new(),
        };
        Product { b, g, loss, directions, product, feeds: (draw(1), vec![3, 1, 4, 1]) }
    }

    fn feeds(&self) -> [(&'static str, Data<'_>); 2] {
        [("images", Data::F32(&self.feeds.0)), ("labels", Data::U32(&self.feeds.1))]
    }

    fn direction(&self, i: usize, member: usize) -> Vec<f32> {
        let n = self.g.ty(self.directions[i]).count();
        match Sample::Range(vec![n], -1.0, 1.0).draw((i + 1000 * (member + 1)) as u32) {
            Drawn::Float(x) => x,
            Drawn::Index(_) => Vec::new(),
        }
    }

    /// Sets parameters and a direction.
    fn prepare(&self, session: &mut Session, member: usize) {
        self.b.initialize(session, 5).expect("parameters fit");
        for i in 0..self.directions.len() {
            session
                .set(&format!("v{i}"), self.g.shape(self.directions[i]), &self.direction(i, member))
                .expect("it fits");
        }
    }

    fn whole(&self, mut session: Session, member: usize) -> Vec<f64> {
        self.prepare(&mut session, member);
        let g = self.g.without_assigns();
        evaluate(&mut session, &g, &self.product, &self.feeds()).concat()
    }
}

fn device() -> Session {
    Session::device(gpu(false))
}

fn running(session: &Session) -> Vec<Vec<f32>> {
    let names = session.names().into_iter().filter(|n| n.contains("running"));
    names.map(|n| block_on(session.get(&n)).expect("it is there")).collect()
}

#[test]
fn halves_are_as_the_whole() {
    for (spec, mode) in [("mlp:widths=7", Mode::Train), ("cnn:widths=3-5", Mode::Train), ("resnet20", Mode::Eval)] {
        let p = Product::new(spec, mode);
        let split = p.g.split(&[p.loss], &p.product, &p.directions, "kept").expect("the loss is fixed");
        for (name, open, bound) in
            [("twin", Session::twin as fn() -> Session, 1e-13), ("host", Session::host, 1e-5), ("device", device, 1e-5)]
        {
            let mut session = open();
            p.prepare(&mut session, 0);
            for kept in &split.kept {
                session.reserve(&kept.name, &kept.ty).expect("there is room");
            }
            let before = running(&session);
            evaluate(&mut session, &split.before, &split.fixed, &p.feeds());
            for member in [0, 1] {
                p.prepare(&mut session, member);
                let got = evaluate(&mut session, &split.after, &split.varying, &[]).concat();
                let want = p.whole(open(), member);
                assert_close(&format!("{spec} on the {name}"), &got, &want, bound);
            }
            assert_eq!(before, running(&session), "a product moved running statistics");
        }
    }
}

/// What is wanted before must not depend on the direction.
#[test]
fn a_value_that_varies_cannot_be_fixed() {
    let p = Product::new("mlp:widths=7", Mode::Eval);
    let error = p.g.split(&p.product[..1], &[], &p.directions, "kept").expect_err("it depends on the direction");
    assert!(error.to_string().contains("depends on what the graph is split on"), "{error}");
}

#[test]
fn stacks_of_other_shapes_are_refused() {
    let mut g = Graph::new();
    let x = g.input("x", &[2, 3]).expect("a fresh graph");
    let y = g.neg(x).expect("floats");
    let tall = g.input("tall", &[4, 3, 2]).expect("a new name");
    let error = g.batch(&[y], &[x], &[tall]).expect_err("the members are transposed").to_string();
    assert!(error.contains("stacks of one height of f32[2, 3]") && error.contains("f32[4, 3, 2]"), "{error}");
}

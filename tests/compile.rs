//! What the compiler does to a graph: pruning, merging, and what it must not fuse. `fusions.rs` has what it fuses.

mod common;

use common::{Bench, applied, assert_close, unit};
use hillshade::engine::{Case, Conv, Graph, Plan, Result, Session, Step, Var};

fn copies(plan: &Plan) -> usize {
    plan.steps.iter().filter(|s| matches!(s, Step::Copy { .. })).count()
}

#[test]
fn equal_nodes_merge_and_unused_ones_vanish() {
    let build = |g: &mut Graph, x: &[Var]| {
        let (a, b) = (g.exp(x[0])?, g.exp(x[0])?);
        let (c, d) = (g.affine(a, 2.0, 0.0)?, g.affine(b, 2.0, 0.0)?);
        let other = g.affine(b, 2.5, 0.0)?;
        g.tanh(x[1])?;
        let sum = g.mul(c, d)?;
        Ok(vec![g.mul(sum, other)?])
    };
    let b = Bench::new(&Case::new("twice the same", vec![unit(&[5]), unit(&[5])], build));
    for fuse in [false, true] {
        let plan = Plan::new(&b.g, &b.y, fuse).expect("the graph compiles");
        assert_eq!(applied(&plan).len(), 5, "exp, two affine, two mul:\n{plan}");
        assert_eq!(plan.inputs.len(), 1, "what only unused nodes read is no input of the program");
    }
}

/// Draws of one stream are one draw, draws of two are two.
#[test]
fn random_draws_merge_by_stream() {
    let mut g = Graph::new();
    let seed = g.input_u32("seed", &[3]).expect("a free name");
    let draws: Vec<Var> = [4, 4, 5].map(|stream| g.uniform(seed, stream, &[9]).expect("a seed")).to_vec();
    assert_eq!(applied(&Plan::new(&g, &draws, true).expect("the graph compiles")).len(), 2);
}

/// Graphs that look like a pattern but are none.
fn near_misses() -> Vec<Case> {
    let four = || vec![unit(&[2, 5, 5]), unit(&[2, 5, 5]), unit(&[2, 5, 5]), unit(&[2, 5, 5])];
    let image = || vec![unit(&[2, 6, 6, 3]), unit(&[3, 3, 3, 3])];
    let norm = || vec![unit(&[5, 3, 7]), unit(&[7]), unit(&[7]), unit(&[7])];
    vec![
        Case::new("a term is wanted", four(), |g, x| {
            let (p, q) = (g.matmul(x[0], x[1])?, g.matmul(x[2], x[3])?);
            Ok(vec![g.add(p, q)?, p])
        }),
        Case::new("a term is used twice", four(), |g, x| {
            let (p, q) = (g.matmul(x[0], x[1])?, g.matmul(x[2], x[3])?);
            let sum = g.add(p, q)?;
            Ok(vec![g.mul(sum, q)?])
        }),
        Case::new("one term twice", four(), |g, x| {
            let p = g.matmul(x[0], x[1])?;
            Ok(vec![g.add(p, p)?])
        }),
        Case::new("only one is transposed", four(), |g, x| {
            let (p, q) = (g.matmul(x[0], x[1])?, g.matmul_as(x[2], true, x[3], false)?);
            Ok(vec![g.add(p, q)?])
        }),
        Case::new(
            "other inner extents",
            vec![unit(&[1, 5, 7]), unit(&[1, 7, 5]), unit(&[1, 5, 2]), unit(&[1, 2, 5])],
            |g, x| {
                let (p, q) = (g.matmul(x[0], x[1])?, g.matmul(x[2], x[3])?);
                Ok(vec![g.add(p, q)?])
            },
        ),
        Case::new("before the ends is wanted", image(), |g, x| {
            let p = g.conv2d(x[0], x[1], Conv::padded(1))?;
            Ok(vec![g.relu(p)?, p])
        }),
        Case::new("a number for each pixel is no scale", image(), |g, x| {
            let p = g.conv2d(x[0], x[1], Conv::padded(1))?;
            let each = g.sum(x[0], &[3]).and_then(|each| g.reshape(each, &[2, 6, 6, 1]))?;
            Ok(vec![g.mul(p, each)?])
        }),
        Case::new("a bias for each row", vec![unit(&[2, 5, 7]), unit(&[2, 7, 5]), unit(&[5, 1])], |g, x| {
            let p = g.matmul(x[0], x[1])?;
            Ok(vec![g.add(p, x[2])?])
        }),
        Case::new("a bias for all", vec![unit(&[2, 5, 7]), unit(&[2, 7, 5]), unit(&[1])], |g, x| {
            let p = g.matmul(x[0], x[1])?;
            Ok(vec![g.add(p, x[2])?])
        }),
        Case::new("the product is broadcast", vec![unit(&[1, 1, 7]), unit(&[1, 7, 1]), unit(&[5])], |g, x| {
            let p = g.matmul(x[0], x[1])?;
            Ok(vec![g.add(p, x[2])?])
        }),
        Case::new("the residual needs the statistics", norm(), |g, x| {
            let [y, mean, _] = g.batch_norm(x[0], x[1], x[2], 1e-5)?;
            let residual = g.broadcast(mean, &[5, 3, 7])?;
            Ok(vec![g.add(y, residual)?])
        }),
        Case::new("a shift is no residual", norm(), |g, x| {
            let [y, ..] = g.batch_norm(x[0], x[1], x[2], 1e-5)?;
            Ok(vec![g.add(y, x[3])?])
        }),
        Case::new("the mean's relu", norm(), |g, x| {
            let [_, mean, _] = g.batch_norm(x[0], x[1], x[2], 1e-5)?;
            Ok(vec![g.relu(mean)?])
        }),
        Case::new("before the relu is wanted", norm(), |g, x| {
            let [y, ..] = g.batch_norm(x[0], x[1], x[2], 1e-5)?;
            Ok(vec![g.relu(y)?, y])
        }),
    ]
}

#[test]
fn what_anything_else_needs_is_not_fused_away() {
    let (mut host, mut twin) = (Session::host(), Session::twin());
    for case in near_misses() {
        let b = Bench::new(&case);
        let [plain, fused] = [false, true].map(|fuse| Plan::new(&b.g, &b.y, fuse).expect("the graph compiles"));
        assert_eq!(applied(&fused), applied(&plain), "{}", case.what);
        for (got, want) in b.values(&mut host).iter().zip(&b.values(&mut twin)) {
            assert_close(&case.what, got, want, 2e-6);
        }
    }
}

/// A value that a state is to hold is wanted too.
#[test]
fn assigned_values_are_not_fused_away() {
    let mut g = Graph::new();
    let build = |g: &mut Graph| -> Result<Var> {
        let (a, b) = (g.input("a", &[1, 4, 4])?, g.input("b", &[1, 4, 4])?);
        let (p, q, s) = (g.matmul(a, b)?, g.matmul(b, a)?, g.state("s", &[1, 4, 4])?);
        g.assign(s, p)?;
        g.add(p, q)
    };
    let y = build(&mut g).expect("the shapes fit");
    let plan = Plan::new(&g, &[y], true).expect("the graph compiles");
    // The product is computed right into the state, which nothing reads.
    assert_eq!((applied(&plan).len(), copies(&plan)), (3, 0), "{plan}");
}

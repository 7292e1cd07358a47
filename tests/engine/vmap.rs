//! Values for several operands at once against one at a time, on every case of every op.

use hillshade::engine::{DType, Generator, Graph, OperandData, Session, TestCase};

use crate::common::{Bench, assert_close, data, each_case, evaluate, vars};

const HEIGHT: usize = 3;

/// Draws that differ from member to member of a stack; what is given exactly stays the same.
fn members(case: &TestCase, operand: usize) -> Vec<OperandData> {
    (0..HEIGHT).map(|i| case.x[operand].draw((operand + 100 * i) as u32)).collect()
}

fn check_stacks(case: &TestCase, stacked: &[usize], open: fn() -> Session, bound: f64) {
    let b = Bench::new(case);
    let (x, y) = (b.x(), b.y());
    let stacks: Vec<Vec<OperandData>> = stacked.iter().map(|&i| members(case, i)).collect();
    let tall: Vec<_> = stacked
        .iter()
        .map(|&i| b.g.input(&format!("stack{i}"), &[&[HEIGHT], &case.x[i].ty().shape[..]].concat()))
        .collect();
    let from: Vec<_> = stacked.iter().map(|&i| x[i]).collect();
    let all = b.g.vmap(&y, &from, &tall).unwrap_or_else(|e| panic!("{}: {e}", case.what));
    let floats = |d: &OperandData| if let OperandData::Float(x) = d { x.clone() } else { Vec::new() };
    let joined: Vec<OperandData> =
        stacks.iter().map(|stack| OperandData::Float(stack.iter().flat_map(floats).collect())).collect();
    let inputs = [b.inputs(), vars(&tall).into_iter().zip(joined.iter().map(data)).collect()].concat();
    let got = evaluate(&mut open(), &b.g, &all, &inputs);
    for member in 0..HEIGHT {
        let mut own = b.drawn.clone();
        for (&i, stack) in stacked.iter().zip(&stacks) {
            own[i] = stack[member].clone();
        }
        let want = evaluate(&mut open(), &b.g, &y, &b.inputs_of(&own));
        for (got, want) in got.iter().zip(want) {
            let got = &got[member * want.len()..][..want.len()];
            let what = format!("{} with {stacked:?} stacked, member {member}", case.what);
            assert_close(&what, got, &want, bound);
        }
    }
}

fn each_stack(mut check: impl FnMut(&TestCase, &[usize])) {
    each_case(|case| {
        let floats: Vec<usize> = (0..case.x.len()).filter(|&i| case.x[i].ty().dtype == DType::F32).collect();
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
    each_stack(|case, stacked| check_stacks(case, stacked, Session::reference, 1e-12));
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
    let samples = shapes.map(|shape| Generator::Range(shape.clone(), 0.5, 1.5)).to_vec();
    let case = TestCase::new("tangents of batch_norm", samples, |x| {
        let [_, mean, rstd] = x[0].batch_norm(x[1], x[2], 1e-2);
        let dy = x[0].batch_norm_tangent(x[1], [mean, rstd], [x[4], x[5], x[6]], 1e-2);
        let d = [x[4], x[5], dy[1], dy[2], x[7]];
        let ddx = x[0].batch_norm_grad_tangent(x[1], [mean, rstd], x[3], d, 1e-2);
        Ok([dy, ddx].concat())
    });
    check_stacks(&case, &[4, 5, 6, 7], Session::host, 0.0);
}

#[test]
fn stacks_of_other_shapes_are_refused() {
    let g = Graph::new();
    let x = g.input("x", &[2, 3]);
    let tall = g.input("tall", &[4, 3, 2]);
    let error = g.vmap(&[-x], &[x], &[tall]).expect_err("the members are transposed").to_string();
    assert!(error.contains("stacks of one batch size of f32[2, 3]") && error.contains("f32[4, 3, 2]"), "{error}");
}

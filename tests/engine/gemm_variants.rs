//! Every variant of matrix products, asked for one by one, on all cases of products and convolutions.

use std::collections::BTreeSet;

use hillshade::engine::{
    Bind, Class, Cooperative, Data, GemmVariant, Graph, OperandData, Place, Plan, Session, Step, Target, TestCase, ops,
};

use crate::common::*;

/// A GPU whose products are of a variant, or of the table's.
fn target(variant: Option<GemmVariant>) -> Target {
    Target::device(Class::Gpu(variant))
}

/// The cases of products whose kernels a variant changes.
fn each_product(variant: GemmVariant, mut check: impl FnMut(usize, &TestCase, &Bench)) {
    const OPS: [&str; 4] = ["matmul", "conv2d", "conv2d_input_grad", "conv2d_weight_grad"];
    let (mut seen, mut failed) = (0, Vec::new());
    for case in ops::all().iter().filter(|(op, _)| OPS.contains(op)).flat_map(|(_, cases)| cases) {
        let b = Bench::new(case);
        let [table, own] = [None, Some(variant)].map(|v| b.plan(target(v)).to_string());
        // The variants of the table are tried by the ops' own tests.
        if table != own {
            seen += 1;
            failed.extend(fails(|| check(seen, case, &b)).then(|| case.what.clone()));
        }
    }
    assert!(seen > 5, "{variant}: {seen} cases");
    assert!(failed.is_empty(), "{variant}: {} of {seen} cases failed: {}", failed.len(), failed.join("; "));
}

/// Sessions with a variant, unchecked and checked; `None` where the adapter does not take it, which it says.
fn sessions(variant: GemmVariant) -> Option<[Session; 2]> {
    let gpus = [false, true].map(|checked| gpu_with(variant, checked));
    let said = gpus[0].to_string();
    match gpus[0].products() {
        Some(own) => {
            assert!(said.ends_with(&format!(", products: {variant}")), "{said}");
            assert_eq!(own.to_string(), variant.to_string());
            Some(gpus.map(Session::device))
        }
        None => {
            assert!(said.contains(", products in f32: "), "{said}");
            skip(format_args!("the adapter has no products of {variant}: {said}"));
            None
        }
    }
}

fn bits(v: &[Vec<f64>]) -> Vec<u64> {
    v.iter().flatten().map(|v| v.to_bits()).collect()
}

/// Every so many cases also run with all checks, or at all where they are slow.
const CHECKED: usize = 6;

/// In f32 every variant is the reference, and gives the same bits with all checks.
fn matches_reference(variant: GemmVariant) {
    let Some([mut device, mut checked]) = sessions(variant) else { return };
    let mut reference = Session::reference();
    each_product(variant, |seen, case, b| {
        let [got, want] = [&mut device, &mut reference].map(|s| b.values(s));
        // Sums that the loop does not divide lose more.
        let tolerance = if variant == GemmVariant::Naive { 2.0 * case.tolerance } else { case.tolerance };
        for (got, want) in got.iter().zip(&want) {
            assert_close(&format!("{}, {variant}", case.what), got, want, tolerance);
        }
        if seen.is_multiple_of(CHECKED) {
            assert_eq!(bits(&got), bits(&b.values(&mut checked)), "{}, {variant}, checked", case.what);
        }
    });
}

#[test]
fn naive_products() {
    matches_reference(GemmVariant::Naive);
}

#[test]
fn shared_products() {
    matches_reference(GemmVariant::Shared);
}

#[test]
fn products_in_registers() {
    matches_reference(GemmVariant::Registers);
}

#[test]
fn products_with_two_buffers() {
    matches_reference(GemmVariant::Buffered);
}

#[test]
fn products_in_subgroups() {
    matches_reference(GemmVariant::Subgroups);
}

#[test]
fn products_of_few_rows_or_columns() {
    matches_reference(GemmVariant::Vector);
}

/// Tiles of 128 × 128, which only products of many such tiles get, off their edges, with and without vec4s.
#[test]
fn large_tiles() {
    let (mut reference, mut device) = (Session::reference(), Session::device(gpu_as(Some(Class::GPU), false)));
    for (m, n, k) in [(120, 252, 12), (121, 251, 9)] {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let g = Graph::new();
            let a = g.input("a", &if ta { [64, k, m] } else { [64, m, k] });
            let b = g.input("b", &if tb { [64, n, k] } else { [64, k, n] });
            let y = a.matmul_as(ta, b, tb);
            let plan = Plan::new(Target::GPU, &g, &[y]).expect("the graph compiles").to_string();
            assert!(["ROWS\", 2", "DOWN\", 16", "ACROSS\", 16"].iter().all(|c| plan.contains(c)), "{plan}");
            let data = [noise32(64 * m * k, 1), noise32(64 * k * n, 2)];
            let [got, want] =
                [&mut device, &mut reference].map(|s| evaluate(s, &g, &[y], [(a, &data[0]), (b, &data[1])]));
            assert_close(&format!("{m} × {n} × {k} {ta} {tb}"), &got[0], &want[0], 1e-6);
        }
    }
}

/// The inputs that are factors of products in cooperative matrices; `None` where a factor is none of the inputs.
fn factors(plan: &Plan) -> Option<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for step in &plan.steps {
        let Step::Apply { x, launches, .. } = step else { continue };
        for launch in launches.list.iter().filter(|l| l.kernel.contains("_cooperative")) {
            for bind in &launch.bind[..4] {
                let Bind::In(i) = bind else { return None };
                let Place::Input(input) = x[*i].0 else { return None };
                found.insert(input);
            }
        }
    }
    Some(found)
}

fn halves(x: &OperandData) -> OperandData {
    match x {
        OperandData::Float(x) => OperandData::Float(x.iter().map(|&v| half::f16::from_f32(v).to_f32()).collect()),
        index => index.clone(),
    }
}

/// Products in cooperative matrices are those of the reference with factors rounded to 16-bit floats: to what sums in f32
/// lose, which is a fraction of what the rounding does.
#[test]
fn products_in_cooperative_matrices() {
    let variant = GemmVariant::Cooperative(Cooperative::default());
    let Some([mut device, mut checked]) = sessions(variant) else { return };
    let target = target(gpu_with(variant, false).products());
    let (mut reference, mut exact, mut seen) = (Session::reference(), 0, 0);
    each_product(variant, |number, case, b| {
        // Each takes a pipeline of its own, which software adapters are long at.
        if !number.is_multiple_of(CHECKED) {
            return;
        }
        let plan = b.plan(target);
        let Some(factors) = factors(&plan) else { return };
        let is_factor = |i: usize| factors.iter().any(|&f| plan.inputs[f].name == format!("x{i}"));
        let rounded: Vec<OperandData> =
            b.drawn.iter().enumerate().map(|(i, x)| if is_factor(i) { halves(x) } else { x.clone() }).collect();
        let [got, again] = [&mut device, &mut checked].map(|s| b.values(s));
        assert_eq!(bits(&got), bits(&again), "{}, checked", case.what);
        let want = evaluate(&mut reference, &b.g, &b.y(), &b.inputs_of(&rounded));
        let unrounded = b.values(&mut reference);
        for (got, want) in got.iter().zip(&want) {
            assert_close(&case.what, got, want, 1e-5);
        }
        exact += usize::from(bits(&want) == bits(&unrounded));
        seen += 1;
    });
    assert!(seen > 8 && exact < seen / 4, "{seen} cases, {exact} of which nothing is rounded");
}

/// What halves do not hold makes results infinite or not a number, and those that it has no part in stay right.
#[test]
fn beyond_halves() {
    let variant = GemmVariant::Cooperative(Cooperative::default());
    let Some([mut device, _]) = sessions(variant) else { return };
    let g = Graph::new();
    let [a, b] = ["a", "b"].map(|name| g.input(name, &[33, 33]));
    let y = a.matmul(b);
    let mut left = vec![1.0; 33 * 33];
    (left[5 * 33 + 7], left[6 * 33 + 8]) = (65_504.0, -70_000.0);
    let inputs = [(a, Data::F32(&left)), (b, Data::F32(&[1.0; 33 * 33]))];
    let y = evaluate(&mut device, &g, &[y], inputs).concat();
    for (at, &v) in y.iter().enumerate() {
        match at / 33 {
            5 => assert_eq!(v, 65_536.0),
            6 => assert!(!v.is_finite(), "{v}"),
            _ => assert_eq!(v, 33.0),
        }
    }
}

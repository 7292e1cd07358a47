//! Five checks over the list of ops, once, for every op.

use hillshade::engine::{Class, Data, OperandData, Result, Session, Target, Tensor, TestCase, Var};

use crate::common::*;

/// The kernels of all classes, in f32 on the device, and the host are the reference, in f64.
#[test]
fn kernels_and_host_match_reference() {
    let classes = classes();
    let mut devices: Vec<_> = classes.iter().map(|&c| Session::device(gpu_as(Some(c), false))).collect();
    let (mut host, mut reference) = (Session::host(), Session::reference());
    each_case(|case| {
        let b = Bench::new(case);
        let want = b.values(&mut reference);
        let own = devices.iter_mut().zip(&classes).filter(|(_, class)| is_first(&b, &classes, **class));
        let own = own.map(|(session, class)| (format!("{class:?}"), session));
        for (name, session) in own.chain([("host".into(), &mut host)]) {
            for (i, (got, want)) in b.values(session).iter().zip(&want).enumerate() {
                assert_close(&format!("{}, result {i}, {name}", case.what), got, want, case.tolerance);
            }
        }
    });
}

/// The classes whose kernels the device can run.
fn classes() -> Vec<Class> {
    let subgroups = gpu(false).adapter().subgroup >= 8;
    [Class::GPU, Class::SOFTWARE].into_iter().chain(subgroups.then_some(Class::Software { subgroups })).collect()
}

/// Whether none of the classes before this one has the same kernels for a case.
fn is_first(b: &Bench, classes: &[Class], class: Class) -> bool {
    let plan = |class| b.plan(Target::device(class)).to_string();
    let own = plan(class);
    classes.iter().take_while(|&&other| other != class).all(|&other| plan(other) != own)
}

/// Kernels compiled with all checks give the same bits as without.
#[test]
fn checked_kernels_agree() {
    let classes = classes();
    for &class in &classes {
        let (mut unchecked, mut checked) =
            (Session::device(gpu_as(Some(class), false)), Session::device(gpu_as(Some(class), true)));
        each_case_of(6, |case| {
            let b = Bench::new(case);
            if !is_first(&b, &classes, class) {
                return;
            }
            let [want, got] = [&mut unchecked, &mut checked].map(|s| b.values(s));
            let bits = |v: &[Vec<f64>]| v.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got), bits(&want), "{}", case.what);
        });
    }
}

/// A case with its operands rounded to multiples of 2^-14, so that a step of 2^-13 moves them exactly.
fn movable(case: &TestCase) -> Bench {
    let mut b = Bench::new(case);
    for drawn in &mut b.drawn {
        if let OperandData::Float(x) = drawn {
            x.iter_mut().for_each(|x| *x = (*x * 16384.0).round() / 16384.0);
        }
    }
    b
}

/// The central difference of `f` at a case's operands along directions of those that are floats, with step 2^-13.
fn difference(b: &Bench, directions: &[Vec<f64>], mut f: impl FnMut(&[(Var, Data)]) -> Vec<f64>) -> Vec<f64> {
    const STEP: f64 = 1.0 / 8192.0;
    let mut at = |sign: f64| {
        let mut directions = directions.iter();
        let move_along = |drawn: &OperandData| match drawn {
            OperandData::Float(x) => {
                let along = directions.next().expect("each operand that is floats has a direction");
                OperandData::Float(x.iter().zip(along).map(|(x, d)| x + (sign * STEP * d) as f32).collect())
            }
            index => index.clone(),
        };
        let moved: Vec<OperandData> = b.drawn.iter().map(move_along).collect();
        (f(&b.inputs_of(&moved)), moved)
    };
    let ((plus, p), (minus, m)) = (at(1.0), at(-1.0));
    assert_ne!(format!("{p:?}"), format!("{m:?}"), "the operands moved");
    plus.iter().zip(&minus).map(|(p, m)| (p - m) / (2.0 * STEP)).collect()
}

/// Signs, as directions.
fn signs(len: usize, stream: u32) -> Vec<f64> {
    noise(len, stream).iter().map(|v| if *v < 0.0 { -1.0 } else { 1.0 }).collect()
}

/// For each tensor numbers of a stream of its own.
fn each(x: &[Tensor], stream: u32, draw: fn(usize, u32) -> Vec<f64>) -> Vec<Vec<f64>> {
    let count = |x: &Tensor| x.count().expect("no rule was broken");
    x.iter().zip(stream..).map(|(x, stream)| draw(count(x), stream)).collect()
}

/// Literals of the shapes of tensors.
fn literals<'g>(like: &[Tensor<'g>], data: &[Vec<f64>]) -> Result<Vec<Tensor<'g>>> {
    let narrow = |data: &[f64]| data.iter().map(|&v| v as f32).collect::<Vec<_>>();
    like.iter().zip(data).map(|(x, data)| Ok(x.graph().literal(x.shape()?, &narrow(data)))).collect()
}

/// In f64: the jvp is the central difference, and ⟨ct, J dx⟩ = ⟨Jᵀ ct, dx⟩.
#[test]
fn first_derivatives() {
    let mut reference = Session::reference();
    each_case(|case| {
        if case.order == 0 {
            return;
        }
        let b = movable(case);
        let (wrt, y) = (b.floats(), floats(b.y()));
        let (directions, cts) = (each(&wrt, 100, signs), each(&y, 200, noise));
        let derivatives = || -> Result<_> {
            let (dx, ct) = (literals(&wrt, &directions)?, literals(&y, &cts)?);
            Ok((b.g.jvp(&y, &wrt, &dx)?, b.g.vjp(&y, &ct, &wrt)?))
        };
        let (dy, back) = derivatives().unwrap_or_else(|e| panic!("{}: {e}", case.what));
        let values = evaluate(&mut reference, &b.g, &[dy.clone(), back].concat(), &b.inputs());
        let (dy, back) = values.split_at(dy.len());
        let forward: f64 = dy.iter().zip(&cts).map(|(a, b)| dot(a, b)).sum();
        let reverse: f64 = back.iter().zip(&directions).map(|(a, b)| dot(a, b)).sum();
        let scale: f64 = dy.iter().zip(&cts).map(|(a, b)| (dot(a, a) * dot(b, b)).sqrt()).sum::<f64>().max(1e-9);
        assert!(
            (forward - reverse).abs() <= 1e-12 * scale,
            "{}: ⟨ct, J dx⟩ {forward}, ⟨Jᵀ ct, dx⟩ {reverse}",
            case.what
        );
        let difference = difference(&b, &directions, |inputs| evaluate(&mut reference, &b.g, &y, inputs).concat());
        assert_close(&format!("{}: jvp", case.what), &dy.concat(), &difference, 3e-6);
    });
}

/// In f64, for L = Σ ct·y + ½ Σ ct·y²: H v is the central difference of the gradient, and ⟨u, H v⟩ = ⟨v, H u⟩.
#[test]
fn second_derivatives() {
    let mut reference = Session::reference();
    each_case(|case| {
        if case.order < 2 {
            return;
        }
        let b = movable(case);
        let (wrt, y) = (b.floats(), floats(b.y()));
        let (v, u) = (each(&wrt, 100, signs), each(&wrt, 400, signs));
        let derivatives = || -> Result<_> {
            let gradient = bent_loss(&y, 300)?.grad(&wrt)?;
            let product = |v: &[Vec<f64>]| b.g.jvp(&gradient, &wrt, &literals(&wrt, v)?);
            let products = [product(&v)?, product(&u)?];
            Ok((gradient, products))
        };
        let (gradient, products) = derivatives().unwrap_or_else(|e| panic!("{}: {e}", case.what));
        let [hv, hu] = products.map(|product| evaluate(&mut reference, &b.g, &product, &b.inputs()).concat());
        let (left, right) = (dot(&u.concat(), &hv), dot(&v.concat(), &hu));
        let scale = (dot(&hv, &hv) * u.concat().len() as f64).sqrt().max(1e-9);
        assert!((left - right).abs() <= 1e-11 * scale, "{}: ⟨u, H v⟩ {left}, ⟨v, H u⟩ {right}", case.what);
        let difference = difference(&b, &v, |inputs| evaluate(&mut reference, &b.g, &gradient, inputs).concat());
        let norm = dot(&difference, &difference).sqrt().max(1e-6);
        let error = hv.iter().zip(&difference).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        assert!(error <= 2e-6 * norm, "{}: H v differs from the difference by {:e}", case.what, error / norm);
    });
}

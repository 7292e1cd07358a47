//! Five checks over the list of ops, once, for every op.

mod common;

use common::*;
use hillshade::engine::{Class, Data, Drawn, Plan, Session};

/// The kernels of all classes, in f32 on the device, and the host are the twin, in f64.
#[test]
fn kernels_and_host_match_twins() {
    let classes = classes();
    let mut devices: Vec<_> = classes.iter().map(|&c| Session::device(gpu_as(Some(c), false))).collect();
    let (mut host, mut twin) = (Session::host(), Session::twin());
    each_case(|case| {
        let b = Bench::new(case);
        let names = input_names(&b.g);
        let feeds = feeds(&names, &b.drawn);
        let want = evaluate(&mut twin, &b.g, &b.y, &feeds);
        let own = devices.iter_mut().zip(&classes).filter(|(_, class)| is_first(&b, &classes, **class));
        let own = own.map(|(session, class)| (format!("{class:?}"), session));
        for (name, session) in own.chain([("host".into(), &mut host)]) {
            let got = evaluate(session, &b.g, &b.y, &feeds);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
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
    let plan = |class| Plan::for_class(class, &b.g, &b.y, true).expect("the graph compiles").to_string();
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
        each_case(|case| {
            let b = Bench::new(case);
            if !is_first(&b, &classes, class) {
                return;
            }
            let names = input_names(&b.g);
            let feeds = feeds(&names, &b.drawn);
            let [want, got] = [&mut unchecked, &mut checked].map(|s| evaluate(s, &b.g, &b.y, &feeds));
            let bits = |v: &[Vec<f64>]| v.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got), bits(&want), "{}", case.what);
        });
    }
}

/// A case with its operands rounded to multiples of 2^-14, so that a step of 2^-13 moves them exactly.
fn movable(case: &hillshade::engine::Case) -> Bench {
    let mut b = Bench::new(case);
    for drawn in &mut b.drawn {
        if let Drawn::Float(x) = drawn {
            x.iter_mut().for_each(|x| *x = (*x * 16384.0).round() / 16384.0);
        }
    }
    b
}

/// Runs a graph on the twin with some inputs moved along a direction.
struct Moved<'a> {
    names: &'a [String],
    drawn: &'a [Drawn],
    directions: &'a [Vec<f64>],
}

impl Moved<'_> {
    /// Central difference of `f` at these operands, with step 2^-13.
    fn difference(&self, mut f: impl FnMut(&[(&str, Data)]) -> Vec<f64>) -> Vec<f64> {
        const STEP: f64 = 1.0 / 8192.0;
        let mut at = |sign: f64| {
            let mut k = 0;
            let moved: Vec<Drawn> = self
                .drawn
                .iter()
                .map(|d| match d {
                    Drawn::Float(x) => {
                        k += 1;
                        let along = self.directions[k - 1].iter();
                        Drawn::Float(x.iter().zip(along).map(|(x, d)| x + (sign * STEP * d) as f32).collect())
                    }
                    index => index.clone(),
                })
                .collect();
            (f(&feeds(self.names, &moved)), moved)
        };
        let ((plus, p), (minus, m)) = (at(1.0), at(-1.0));
        assert_ne!(format!("{p:?}"), format!("{m:?}"), "the operands moved");
        plus.iter().zip(&minus).map(|(p, m)| (p - m) / (2.0 * STEP)).collect()
    }
}

/// Signs, as directions.
fn signs(len: usize, stream: u32) -> Vec<f64> {
    noise(len, stream).iter().map(|v| if *v < 0.0 { -1.0 } else { 1.0 }).collect()
}

fn floats(drawn: &[Drawn]) -> Vec<usize> {
    (0..drawn.len()).filter(|&i| matches!(drawn[i], Drawn::Float(_))).collect()
}

/// In f64: the jvp is the central difference, and ⟨ct, J dx⟩ = ⟨Jᵀ ct, dx⟩.
#[test]
fn first_derivatives() {
    let mut twin = Session::twin();
    each_case(|case| {
        if case.order == 0 {
            return;
        }
        let mut b = movable(case);
        let wrt: Vec<_> = floats(&b.drawn).into_iter().map(|i| b.x[i]).collect();
        let y: Vec<_> = b.y.iter().copied().filter(|&y| b.g.ty(y).dtype == hillshade::engine::DType::F32).collect();
        let names = input_names(&b.g);
        let directions: Vec<Vec<f64>> =
            wrt.iter().enumerate().map(|(i, &x)| signs(b.g.ty(x).count(), 100 + i as u32)).collect();
        let cts: Vec<Vec<f64>> = y.iter().enumerate().map(|(i, &y)| noise(b.g.ty(y).count(), 200 + i as u32)).collect();
        let plain = b.g.clone();
        let literal = |g: &mut hillshade::engine::Graph, like, data: &[f64]| {
            let data: Vec<f32> = data.iter().map(|&v| v as f32).collect();
            g.literal(&g.shape(like).to_vec(), &data).expect("sizes agree")
        };
        let dx: Vec<_> = wrt.iter().zip(&directions).map(|(&x, d)| literal(&mut b.g, x, d)).collect();
        let ct: Vec<_> = y.iter().zip(&cts).map(|(&y, d)| literal(&mut b.g, y, d)).collect();
        let dy = b.g.jvp(&y, &wrt, &dx).unwrap_or_else(|e| panic!("{}: {e}", case.what));
        let back = b.g.vjp(&y, &ct, &wrt).unwrap_or_else(|e| panic!("{}: {e}", case.what));
        let here = feeds(&names, &b.drawn);
        let values = evaluate(&mut twin, &b.g, &[dy.clone(), back].concat(), &here);
        let (dy, back) = values.split_at(dy.len());
        let forward: f64 = dy.iter().zip(&cts).map(|(a, b)| dot(a, b)).sum();
        let reverse: f64 = back.iter().zip(&directions).map(|(a, b)| dot(a, b)).sum();
        let scale: f64 = dy.iter().zip(&cts).map(|(a, b)| (dot(a, a) * dot(b, b)).sqrt()).sum::<f64>().max(1e-9);
        assert!(
            (forward - reverse).abs() <= 1e-12 * scale,
            "{}: ⟨ct, J dx⟩ {forward}, ⟨Jᵀ ct, dx⟩ {reverse}",
            case.what
        );
        let moved = Moved { names: &names, drawn: &b.drawn, directions: &directions };
        let difference = moved.difference(|feeds| evaluate(&mut twin, &plain, &y, feeds).concat());
        assert_close(&format!("{}: jvp", case.what), &dy.concat(), &difference, 3e-6);
    });
}

/// In f64, for L = Σ ct·y + ½ Σ ct·y²: H v is the central difference of the gradient, and ⟨u, H v⟩ = ⟨v, H u⟩.
#[test]
fn second_derivatives() {
    let mut twin = Session::twin();
    each_case(|case| {
        if case.order < 2 {
            return;
        }
        let mut b = movable(case);
        let wrt: Vec<_> = floats(&b.drawn).into_iter().map(|i| b.x[i]).collect();
        let names = input_names(&b.g);
        let y: Vec<_> = b.y.iter().copied().filter(|&y| b.g.ty(y).dtype == hillshade::engine::DType::F32).collect();
        let build = |g: &mut hillshade::engine::Graph| -> hillshade::engine::Result<_> {
            let mut loss = g.fill(&[], 0.0)?;
            for (i, &y) in y.iter().enumerate() {
                let ct: Vec<f32> = noise(g.ty(y).count(), 300 + i as u32).iter().map(|&v| v as f32).collect();
                let ct = g.literal(&g.shape(y).to_vec(), &ct)?;
                let half = g.affine(y, 0.5, 1.0)?;
                let term = g.mul(y, half)?;
                let term = g.mul(term, ct)?;
                let axes: Vec<usize> = (0..g.shape(term).len()).collect();
                let term = g.sum(term, &axes)?;
                loss = g.add(loss, term)?;
            }
            let gradient = g.grad(loss, &wrt)?;
            let mut products = Vec::new();
            for stream in [100, 400] {
                let mut v = Vec::new();
                for (i, &x) in wrt.iter().enumerate() {
                    let d: Vec<f32> = signs(g.ty(x).count(), stream + i as u32).iter().map(|&v| v as f32).collect();
                    v.push(g.literal(&g.shape(x).to_vec(), &d)?);
                }
                products.push(g.jvp(&gradient, &wrt, &v)?);
            }
            Ok((gradient, products))
        };
        let (gradient, products) = build(&mut b.g).unwrap_or_else(|e| panic!("{}: {e}", case.what));
        let directions = |stream: u32| -> Vec<Vec<f64>> {
            wrt.iter().enumerate().map(|(i, &x)| signs(b.g.ty(x).count(), stream + i as u32)).collect()
        };
        let (v, u) = (directions(100), directions(400));
        let here = feeds(&names, &b.drawn);
        let hv = evaluate(&mut twin, &b.g, &products[0], &here).concat();
        let hu = evaluate(&mut twin, &b.g, &products[1], &here).concat();
        let (left, right) = (dot(&u.concat(), &hv), dot(&v.concat(), &hu));
        let scale = (dot(&hv, &hv) * u.concat().len() as f64).sqrt().max(1e-9);
        assert!((left - right).abs() <= 1e-11 * scale, "{}: ⟨u, H v⟩ {left}, ⟨v, H u⟩ {right}", case.what);
        let moved = Moved { names: &names, drawn: &b.drawn, directions: &v };
        let difference = moved.difference(|feeds| evaluate(&mut twin, &b.g, &gradient, feeds).concat());
        let norm = dot(&difference, &difference).sqrt().max(1e-6);
        let error = hv.iter().zip(&difference).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        assert!(error <= 2e-6 * norm, "{}: H v differs from the difference by {:e}", case.what, error / norm);
    });
}

//! Traces, diagonals and densities: exact where they must be, and with honest errors where they are estimates.

use hillshade::{
    engine::{Session, block_on},
    lab::{
        self, Dense, Density, Estimate, Matrix, Operator, Probe, Quadrature, Sampling, Vectors, dense, hutch_plus_plus,
        hutchinson, input, layer_traces, xtrace,
    },
};
use nalgebra::{DMatrix, DVector};

use crate::{
    common::{
        assert_close, dot, gpu,
        lab::{operator, set, small, spectrum},
        noise,
    },
    spectra::{diagonal, symmetric},
};

/// Of this rank, with small whole numbers as entries: f32 has them exactly.
fn low_rank(n: usize, rank: usize) -> DMatrix<f64> {
    let b = DMatrix::from_vec(n, rank, noise(n * rank, 40)).map(|v| (4.0 * v).round());
    let signs = DMatrix::from_fn(rank, rank, |i, j| if i != j { 0.0 } else { 1.0 - 2.0 * f64::from(u8::from(i == 1)) });
    &b * signs * b.transpose()
}

fn measure(session: &mut Session, a: &DMatrix<f64>, quadrature: Quadrature) -> Density {
    let mut a = Dense::new(a).expect("it is square");
    Density::measure(session, &mut a, quadrature, None, &mut |_, _| (), |_| Ok(())).expect("a density")
}

fn cpu() -> [(&'static str, Session, f64); 2] {
    [("reference", Session::reference(), 1e-9), ("host", Session::host(), 1e-4)]
}

/// `Σ wₖ θₖᵖ = zᵀ Aᵖ z / zᵀz` for all `p ≤ 2m − 1`, and not for `p = 2m`.
#[test]
fn quadratures_of_m_steps_are_exact_for_powers_below_2m() {
    let (n, m, seed) = (40, 5, 11);
    let a = symmetric(n, 1);
    let mut session = Session::reference();
    for probe in [Probe::Rademacher, Probe::Gaussian] {
        let density = measure(&mut session, &a, Quadrature { steps: m, probes: 2, probe, seed });
        assert_eq!(density.products, 2 * m as u64);
        for (index, nodes) in density.probes.iter().enumerate() {
            let mut vectors = Vectors::new(n);
            vectors.ports(&mut session, 1).expect("there is room");
            vectors.draw(&mut session, &input(n, 1), probe, seed, index as u32).expect("it is there");
            let z = DVector::from_vec(block_on(session.get_wide(&input(n, 1))).expect("it is there")).normalize();
            let mut power = z.clone();
            for p in 0..=2 * m {
                let want = z.dot(&power);
                let got: f64 = nodes.iter().map(|(t, w)| w * t.powi(p as i32)).sum();
                let size: f64 = nodes.iter().map(|(t, w)| w * t.abs().powi(p as i32)).sum();
                match p < 2 * m {
                    true => assert!((got - want).abs() <= 1e-10 * size, "{probe:?}, p = {p}: {got} for {want}"),
                    false => assert!((got - want).abs() >= 1e-4 * size, "{probe:?}: more exact than it can be"),
                }
                power = &a * power;
            }
        }
    }
}

/// An estimator of traces.
type Method = fn(&mut Session, &mut dyn Operator, Sampling) -> lab::Result<Estimate>;

type Function = fn(f64) -> f64;

/// `zᵀ f(A) z` is the trace of `f(A)` for `z` of ±1 and diagonal `A`; `n` steps have it for every `f`.
#[test]
fn diagonal_matrices_have_exact_traces_from_one_probe() {
    let values: Vec<f64> = (0..20).map(|i| f64::from(i) * 0.25 - 1.625).collect();
    let (n, a) = (values.len(), diagonal(&values));
    for (executor, mut session, bound) in cpu() {
        let mut operator = Dense::new(&a).expect("it is square");
        let sampling = Sampling { tolerance: 0.0, products: 12, ..Sampling::default() };
        let trace = values.iter().sum::<f64>();
        let e = hutchinson(&mut session, &mut operator, sampling, &mut |_, _| ()).expect("an estimate");
        assert!((e.value - trace).abs() <= 1e-5 && e.standard_error <= 1e-6, "{executor}: {e:?}");
        let gaussian = Sampling { probe: Probe::Gaussian, ..sampling };
        let e = hutchinson(&mut session, &mut operator, gaussian, &mut |_, _| ()).expect("an estimate");
        assert!(e.standard_error > 0.1, "{executor}: normal probes vary");
        let density = measure(&mut session, &a, Quadrature { steps: n, probes: 1, ..Quadrature::default() });
        let functions: [(&str, Function); 4] = [
            ("exp", f64::exp),
            ("modulus", f64::abs),
            ("negative", |t| f64::from(u8::from(t < 0.0))),
            ("narrow", |t| (-50.0 * (t - 0.375) * (t - 0.375)).exp()),
        ];
        for (what, f) in functions {
            let want = values.iter().map(|&v| f(v)).sum::<f64>();
            let got = density.trace_of(f);
            assert_close(&format!("{what} on the {executor}"), &[got.value], &[want], bound);
            assert!(got.standard_error.is_infinite(), "one probe does not know its error");
        }
        let [_, (_, squares), _, (_, negative)] = density.summary();
        assert_close(executor, &[squares.value], &[dot(&values, &values)], bound);
        assert_close(executor, &[negative.value], &[7.0], bound);
    }
}

#[test]
fn densities_of_zero_and_of_one_number_have_one_node() {
    for (executor, mut session, bound) in cpu() {
        for value in [0.0, 2.5] {
            let density =
                measure(&mut session, &diagonal(&[value; 30]), Quadrature { probes: 2, ..Quadrature::default() });
            assert_eq!(density.products, 2, "{executor}");
            for nodes in &density.probes {
                assert_eq!(nodes.len(), 1);
                assert!((nodes[0].0 - value).abs() <= bound && (nodes[0].1 - 1.0).abs() <= 1e-12, "{nodes:?}");
            }
        }
    }
}

#[test]
fn stored_densities_go_on_where_they_stopped() {
    let a = symmetric(40, 7);
    let mut session = Session::host();
    let mut operator = Dense::new(&a).expect("it is square");
    let of = |probes| Quadrature { steps: 12, probes, ..Quadrature::default() };
    let mut told = Vec::new();
    let whole = Density::measure(&mut session, &mut operator, of(5), None, &mut |_, _| (), |d| {
        told.push(d.clone());
        Ok(())
    });
    let whole = whole.expect("a density");
    assert_eq!(told.iter().map(|d| d.probes.len()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let stored = Some(told[1].clone());
    let on = Density::measure(&mut session, &mut operator, of(5), stored, &mut |_, _| (), |_| Ok(()));
    assert_eq!(on.expect("a density"), whole);
    let other = Some(Density { seed: 1, ..told[1].clone() });
    let error = Density::measure(&mut session, &mut operator, of(5), other, &mut |_, _| (), |_| Ok(()));
    assert!(error.expect_err("another seed").to_string().starts_with("stored density"));
}

/// PackF16 as many columns as rows, of variance 1: the eigenvalues of `XᵀX/N` fill `(1 ± √½)²` with the density of Marchenko
/// and Pastur, here smoothed as the estimate is, and its cumulative one.
#[test]
fn wishart_matrices_have_the_density_of_marchenko_and_pastur() {
    let (rows, n) = (800, 400);
    let x = DMatrix::from_vec(rows, n, noise(rows * n, 50)) * 3f64.sqrt();
    let a = x.transpose() * &x / rows as f64;
    let ratio = n as f64 / rows as f64;
    let [low, high] = [-1.0, 1.0].map(|s| (1.0 + s * ratio.sqrt()).powi(2));
    let law = |t: f64| ((high - t) * (t - low)).max(0.0).sqrt() / (std::f64::consts::TAU * ratio * t);
    let points = 4000;
    let step = (high - low) / points as f64;
    let nodes: Vec<(f64, f64)> =
        (0..points).map(|i| low + (i as f64 + 0.5) * step).map(|t| (t, law(t) * step)).collect();
    assert!((nodes.iter().map(|n| n.1).sum::<f64>() - 1.0).abs() < 1e-3, "the law is a density");
    let mut session = Session::host();
    let density = measure(&mut session, &a, Quadrature { steps: 40, probes: 10, seed: 2, ..Quadrature::default() });
    // Twice as wide as where neighbouring nodes still show.
    let sigma = 2.0 * density.sigma();
    let kernel = |d: f64| (-0.5 * (d / sigma).powi(2)).exp() / (sigma * std::f64::consts::TAU.sqrt());
    let mean = |x: Vec<f64>| x.iter().sum::<f64>() / x.len() as f64;
    let (mut got, mut want) = (Vec::new(), Vec::new());
    let grid: Vec<f64> = (0..60).map(|i| 0.01 + 0.055 * f64::from(i)).collect();
    for &t in &grid {
        got.push(mean(density.at(t, sigma)));
        want.push(nodes.iter().map(|(at, w)| w * kernel(t - at)).sum::<f64>());
    }
    assert_close("density", &got, &want, 0.12);
    let below = |t: f64, of: &[(f64, f64)]| of.iter().filter(|n| n.0 <= t).map(|n| n.1).sum::<f64>();
    for t in grid {
        let got = mean(density.probes.iter().map(|p| below(t, p)).collect());
        assert!((got - below(t, &nodes)).abs() <= 0.03, "cumulative at {t}: {got} for {}", below(t, &nodes));
    }
}

/// The rank at which each is exact, and one more.
#[test]
fn sketches_are_exact_for_low_rank() {
    let n = 60;
    for (method, rank) in [(hutch_plus_plus as Method, 6), (xtrace as Method, 8)] {
        for (executor, mut session, bound) in cpu() {
            for probe in [Probe::Rademacher, Probe::Gaussian] {
                let sampling = Sampling { products: 18, probe, ..Sampling::default() };
                let mut of = |rank: usize| {
                    let a = low_rank(n, rank);
                    assert_eq!(a.clone().svd(false, false).rank(1e-6), rank);
                    let e = method(&mut session, &mut Dense::new(&a).expect("it is square"), sampling);
                    (e.expect("an estimate"), a.trace())
                };
                let (e, want) = of(rank);
                let what = format!("{} on the {executor}, {probe:?}: {e:?} for {want}", e.method);
                assert_eq!(e.products, 18, "{what}");
                assert!((e.value - want).abs() <= bound * want.abs(), "{what}");
                assert!(e.standard_error <= bound * want.abs(), "{what}");
                let (e, want) = of(rank + 2);
                assert!((e.value - want).abs() > 10.0 * bound * want.abs(), "{} of a higher rank is exact", e.method);
            }
        }
    }
}

/// Over 100 seeds: every error within 4 standard deviations of theory, no bias, the spread that theory says, and the
/// truth within 2 of the reported standard errors as often as those promise.
#[test]
fn hutchinson_estimates_vary_as_theory_says() {
    let (n, products) = (40, 32);
    let a = symmetric(n, 2);
    let all = a.norm_squared();
    let off = all - a.diagonal().norm_squared();
    let mut session = Session::host();
    let mut operator = Dense::new(&a).expect("it is square");
    for (probe, variance) in [(Probe::Rademacher, 2.0 * off), (Probe::Gaussian, 2.0 * all)] {
        let deviation = (variance / products as f64).sqrt();
        let (mut scores, mut covered) = (Vec::new(), 0);
        for seed in 0..100 {
            let sampling = Sampling { tolerance: 0.0, products, probe, seed };
            let e = hutchinson(&mut session, &mut operator, sampling, &mut |_, _| ()).expect("an estimate");
            assert_eq!((e.samples, e.products), (32, 32));
            scores.push((e.value - a.trace()) / deviation);
            covered += usize::from((e.value - a.trace()).abs() <= 2.0 * e.standard_error);
        }
        let mean = scores.iter().sum::<f64>() / 100.0;
        let square = scores.iter().map(|z| z * z).sum::<f64>() / 100.0;
        assert!(scores.iter().all(|z| z.abs() <= 4.0), "{probe:?}: {scores:?}");
        assert!(mean.abs() <= 0.4, "{probe:?}: bias {mean}");
        assert!((square - 1.0).abs() <= 4.0 * 0.02f64.sqrt(), "{probe:?}: variance {square} of theory");
        assert!(covered >= 85, "{probe:?}: {covered} of 100 within two standard errors");
    }
}

#[test]
fn standard_errors_of_sketches_are_honest_and_smaller_than_hutchinsons() {
    let n = 60;
    let values: Vec<f64> =
        (0..n).map(|i| if i < 5 { 10.0 * f64::from(5 - i) } else { 1.0 + f64::from(i).sin() }).collect();
    let rotation = nalgebra::SymmetricEigen::new(symmetric(n as usize, 3)).eigenvectors;
    let a = &rotation * diagonal(&values) * rotation.transpose();
    let mut session = Session::host();
    let mut operator = Dense::new(&a).expect("it is square");
    let plain = |s: &mut Session, a: &mut Dense, of: Sampling| hutchinson(s, a, of, &mut |_, _| ());
    for method in [hutch_plus_plus as Method, xtrace as Method] {
        let (mut covered, mut smaller, mut total) = (0, 0, 0.0);
        let mut name = String::new();
        for seed in 0..100 {
            let sampling = Sampling { tolerance: 0.0, products: 36, seed, ..Sampling::default() };
            let e = method(&mut session, &mut operator, sampling).expect("an estimate");
            let h = plain(&mut session, &mut operator, sampling).expect("an estimate");
            assert_eq!(h.products, e.products);
            covered += usize::from((e.value - a.trace()).abs() <= 2.0 * e.standard_error);
            smaller += usize::from(2.0 * e.standard_error < h.standard_error);
            total += (e.value - a.trace()) / 100.0;
            name = e.method;
        }
        assert!(covered >= 85, "{name}: {covered} of 100 within two standard errors");
        assert!(smaller >= 95, "{name}: {smaller} of 100 less than half of Hutchinson's error");
        assert!(total.abs() <= 0.01 * a.trace(), "{name}: bias {total}");
    }
}

#[test]
fn a_seed_gives_the_same_estimates_on_every_executor() {
    let a = symmetric(50, 6) + DMatrix::identity(50, 50) * 5.0;
    let sampling = Sampling { tolerance: 0.0, products: 24, seed: 5 << 32 | 9, ..Sampling::default() };
    let of = |mut session: Session| {
        let mut operator = Dense::new(&a).expect("it is square");
        let e = [
            hutchinson(&mut session, &mut operator, sampling, &mut |_, _| ()),
            hutch_plus_plus(&mut session, &mut operator, sampling),
            xtrace(&mut session, &mut operator, sampling),
        ];
        let density = measure(&mut session, &a, Quadrature { steps: 10, probes: 3, ..Quadrature::default() });
        let mut all: Vec<Estimate> = e.map(|e| e.expect("an estimate")).into();
        all.push(density.trace_of(|t| t * t));
        all
    };
    let want = of(Session::reference());
    for session in [Session::host(), Session::device(gpu(false))] {
        for (got, want) in of(session).iter().zip(&want) {
            let what = format!("{got:?} for {want:?}");
            assert!((got.value - want.value).abs() <= 1e-5 * want.value, "{what}");
            assert!((got.standard_error - want.standard_error).abs() <= 1e-3 * want.standard_error, "{what}");
        }
    }
}

#[test]
fn estimates_stop_at_their_tolerance() {
    let a = symmetric(50, 4) + DMatrix::identity(50, 50) * 10.0;
    let mut session = Session::host();
    let mut operator = Dense::new(&a).expect("it is square");
    let sampling = Sampling { tolerance: 0.004, products: 5000, ..Sampling::default() };
    let mut heard = Vec::new();
    let e = hutchinson(&mut session, &mut operator, sampling, &mut |done, most| heard.push((done, most)));
    let e = e.expect("an estimate");
    assert!(e.standard_error <= 0.004 * e.value && e.products < 5000, "{e:?}");
    assert!(e.standard_error > 0.001 * e.value, "no later than it must: {e:?}");
    assert_eq!(heard.last(), Some(&(e.products, 5000)));
}

#[test]
fn diagonals_and_traces_of_layers_are_those_of_the_matrix() {
    let a = symmetric(40, 5);
    let (problem, params) = small();
    for (executor, mut session, _) in cpu() {
        let sampling = Sampling { products: 400, seed: 3, ..Sampling::default() };
        let mut operator_a = Dense::new(&a).expect("it is square");
        let d = lab::diagonal(&mut session, &mut operator_a, sampling).expect("an estimate");
        assert_eq!((d.values.len(), d.products), (40, 400));
        for i in 0..40 {
            // The variance of one probe: the squares off the diagonal.
            let theory = ((a.row(i).norm_squared() - a[(i, i)].powi(2)) / 400.0).sqrt();
            assert!((d.values[i] - a[(i, i)]).abs() <= 4.0 * theory, "{executor}, entry {i}");
            assert!((d.standard_errors[i] / theory - 1.0).abs() <= 0.2, "{executor}, error of entry {i}");
        }
        set(&mut session, &params);
        let mut h = operator(&mut session, &problem, Matrix::Hessian);
        let whole = dense(&mut session, &mut h).expect("products");
        let layout = h.layout().to_vec();
        let before = h.products();
        let traces = layer_traces(&mut session, &mut h, &layout, sampling).expect("estimates");
        assert_eq!(h.products() - before, 400, "all layers from the same products");
        assert_eq!(traces.len(), 4);
        for (block, (name, e)) in layout.iter().zip(&traces) {
            let want: f64 = block.range.clone().map(|i| whole[(i, i)]).sum();
            assert_eq!(&block.name, name);
            assert!((e.value - want).abs() <= 4.0 * e.standard_error, "{executor}, {name}: {e:?} for {want}");
            assert!(e.standard_error <= 0.2 * spectrum(&whole)[63], "{executor}, {name}: {e:?}");
        }
    }
}

//! Eigenvalues by Lanczos, LOBPCG and power iteration, on matrices whose eigenvalues are known.

use std::collections::BTreeSet;

use hillshade::{
    engine::{Session, block_on},
    lab::{
        Curvature, Dense, Eigen, End, Lobpcg, Matrix, Operator, Options, Search, Value, dense, eigenvalues, found,
        power_iteration,
    },
};
use nalgebra::{DMatrix, DVector, SymmetricEigen};

use crate::common::{
    assert_close, dot, gpu,
    lab::{executors, norm, product, set, small, spectrum},
    noise, noise32,
};

pub fn diagonal(values: &[f64]) -> DMatrix<f64> {
    DMatrix::from_diagonal(&DVector::from_column_slice(values))
}

/// Symmetric, of normal-like entries, exact in f32.
pub fn symmetric(n: usize, stream: u32) -> DMatrix<f64> {
    let a = DMatrix::from_vec(n, n, noise(n * n, stream));
    DMatrix::from_fn(n, n, |i, j| if i < j { a[(i, j)] } else { a[(j, i)] })
}

fn sought(session: &mut Session, a: &DMatrix<f64>, search: Search) -> Eigen {
    let mut operator = Dense::new(a).expect("it is square");
    eigenvalues(session, &mut operator, search, &mut |_, _| ()).expect("eigenvalues")
}

fn values(of: &[Value]) -> Vec<f64> {
    of.iter().map(|v| v.value).collect()
}

/// Asserts that every value is an eigenvalue of its own: none is reported more often than it is there.
fn assert_no_ghosts(what: &str, got: &[f64], all: &[f64], bound: f64) {
    let mut left = all.to_vec();
    for value in got {
        let at = left.iter().position(|v| (v - value).abs() <= bound);
        let at = at.unwrap_or_else(|| panic!("{what}: {value} is no eigenvalue, or once too often: {got:?}"));
        left.remove(at);
    }
}

fn cpu() -> [(&'static str, Session); 2] {
    [("reference", Session::reference()), ("host", Session::host())]
}

/// 1 to 90, and 120 four times: 94, which no block of 4 or 5 divides.
fn clustered() -> Vec<f64> {
    (1..=90).map(f64::from).chain([120.0; 4]).collect()
}

#[test]
fn lanczos_makes_no_copies_of_eigenvalues() {
    let all = clustered();
    for (executor, mut session) in cpu() {
        for block in [1, 4, 5] {
            let what = format!("{executor}, block {block}");
            let search = Search {
                count: 30,
                end: End::Both,
                tolerance: 1e-5,
                basis: Some(all.len()),
                block,
                ..Search::default()
            };
            let e = sought(&mut session, &diagonal(&all), search);
            assert!(e.top.iter().chain(&e.bottom).all(|v| v.converged), "{what}: {e:?}");
            assert!(e.orthogonality <= 1e-5, "{what}: {}", e.orthogonality);
            let mut got = values(&e.top);
            got.extend(values(&e.bottom));
            assert_no_ghosts(&what, &got, &all, 2e-3);
            assert_close(&what, &values(&e.bottom), &all[..30], 1e-5);
            if block > 1 {
                let want: Vec<f64> = all.iter().rev().take(30).copied().collect();
                assert_close(&what, &values(&e.top), &want, 1e-5);
            } else {
                assert!((e.top[0].value - 120.0).abs() < 2e-3, "{what}: {:?}", e.top[0]);
            }
        }
    }
}

/// The three-term recurrence alone, in f32: it loses orthogonality when the largest eigenvalue has converged, and finds it
/// again. The same operator, through the library, has it once.
#[test]
fn without_reorthogonalization_ghosts_appear() {
    let all: Vec<f64> = (1..=100).map(|i| f64::from(i) / 100.0).chain([4.0]).collect();
    let (n, steps) = (all.len(), 80);
    let mut v = noise32(n, 1);
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let mut old = vec![0.0f32; n];
    let (mut t, mut beta) = (DMatrix::zeros(steps, steps), 0.0f32);
    let scale = length(&v);
    v.iter_mut().for_each(|x| *x /= scale);
    for j in 0..steps {
        let mut w: Vec<f32> = v.iter().zip(&all).zip(&old).map(|((v, a), old)| *a as f32 * v - beta * old).collect();
        let alpha: f32 = v.iter().zip(&w).map(|(v, w)| v * w).sum();
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= alpha * v);
        t[(j, j)] = f64::from(alpha);
        beta = length(&w);
        if j + 1 < steps {
            t[(j, j + 1)] = f64::from(beta);
            t[(j + 1, j)] = f64::from(beta);
        }
        old = std::mem::replace(&mut v, w.iter().map(|w| w / beta).collect());
    }
    let copies = |values: &[f64]| values.iter().filter(|v| (**v - 4.0).abs() < 1e-3).count();
    let plain = copies(&spectrum(&t));
    assert!(plain > 1, "the recurrence alone keeps {plain} copies");
    let search = Search { count: 40, tolerance: 1e-6, basis: Some(n), ..Search::default() };
    let e = sought(&mut Session::host(), &diagonal(&all), search);
    assert!(e.products >= steps as u64, "as long a search: {}", e.products);
    assert_eq!(copies(&values(&e.top)), 1);
    assert_no_ghosts("lanczos", &values(&e.top), &all, 1e-4);
}

#[test]
fn operators_that_lead_nowhere_new_are_measured_too() {
    let n = 30;
    for (executor, mut session) in cpu() {
        for block in [1, 3] {
            let what = format!("{executor}, block {block}");
            let both = Search { count: 3, end: End::Both, block, ..Search::default() };
            let zero = sought(&mut session, &DMatrix::zeros(n, n), both);
            assert!(zero.top.iter().chain(&zero.bottom).all(|v| v.value == 0.0 && v.converged), "{what}: {zero:?}");
            let one = sought(&mut session, &DMatrix::identity(n, n), both);
            assert!(one.top.iter().all(|v| v.converged), "{what}: {one:?}");
            assert_close(&what, &values(&one.top), &[1.0; 3], 1e-6);
            assert_close(&what, &values(&one.bottom), &[1.0; 3], 1e-6);
            // Rank 2: one eigenvalue above 0, one below.
            let (u, v) = (DVector::from_vec(noise(n, 1)), DVector::from_vec(noise(n, 2)));
            let v = &v - &u * (u.dot(&v) / u.norm_squared());
            let a = &u * u.transpose() / u.norm_squared() * 3.0 - &v * v.transpose() / v.norm_squared() * 2.0;
            let e = sought(&mut session, &a, both);
            assert!(e.top.iter().chain(&e.bottom).all(|v| v.value.abs() < 1e-5 || v.converged), "{what}: {e:?}");
            assert_close(&what, &values(&e.top), &[3.0, 0.0, 0.0], 1e-5);
            assert_close(&what, &values(&e.bottom), &[-2.0, 0.0, 0.0], 1e-5);
        }
    }
}

/// A block of any width, and matrices of full rank and of rank 4, whose other eigenvalues are 0 six times.
#[test]
fn all_eigenvalues_of_a_small_matrix_are_found() {
    let n = 10;
    let thin = DMatrix::from_vec(n, 4, noise(4 * n, 8));
    for (executor, mut session) in cpu() {
        for a in [symmetric(n, 7), &thin * thin.transpose()] {
            let want: Vec<f64> = spectrum(&a).into_iter().rev().collect();
            for block in 1..=n {
                let search = Search { count: n, tolerance: 1e-5, block, ..Search::default() };
                let e = sought(&mut session, &a, search);
                let what = format!("{executor}, block {block}");
                assert_close(&what, &values(&e.top), &want, 1e-5);
                assert!(e.orthogonality <= 1e-5, "{what}: {}", e.orthogonality);
            }
        }
    }
}

#[test]
fn both_ends_of_an_indefinite_matrix_are_found_with_honest_residuals() {
    let (n, count) = (90, 4);
    let a = symmetric(n, 3);
    let all = spectrum(&a);
    let want: Vec<f64> = all.iter().rev().take(count).chain(&all[..count]).copied().collect();
    for (executor, mut session) in cpu().into_iter().chain([("device", Session::device(gpu(false)))]) {
        for (block, tolerance) in [(1, 1e-5), (4, 1e-5), (1, 1e-2)] {
            let what = format!("{executor}, block {block}, to {tolerance}");
            let search = Search { count, end: End::Both, tolerance, block, ..Search::default() };
            let mut operator = Dense::new(&a).expect("it is square");
            let e = eigenvalues(&mut session, &mut operator, search, &mut |_, _| ()).expect("eigenvalues");
            let got: Vec<Value> = e.top.iter().chain(&e.bottom).copied().collect();
            assert!(got.iter().all(|v| v.converged && v.residual <= tolerance * v.value.abs()), "{what}: {e:?}");
            for (got, want) in got.iter().zip(&want) {
                let slack = 1e-6 * all[n - 1];
                assert!((got.value - want).abs() <= got.residual + slack, "{what}: {got:?} for {want}");
            }
            // The residuals of the vectors that were left on the session.
            let vectors = block_on(session.get_wide(&found(n))).expect("they are there");
            assert_eq!(vectors.len(), 2 * count * n);
            for (v, own) in vectors.chunks(n).zip(&got) {
                assert!((norm(v) - 1.0).abs() < 1e-5, "{what}: a unit vector");
                let av = product(&mut session, &mut operator, v);
                let rest: Vec<f64> = av.iter().zip(v).map(|(a, v)| a - own.value * v).collect();
                assert!((norm(&rest) - own.residual).abs() <= 5e-6 * all[n - 1], "{what}: {own:?}, {}", norm(&rest));
            }
        }
    }
}

/// 400 eigenvalues, neighbours 0.25 % of the largest apart, from 24 vectors.
#[test]
fn restarts_find_crowded_eigenvalues_with_a_small_basis() {
    let n = 400;
    let all: Vec<f64> = (1..=n).map(|i| f64::from((i as f64 / n as f64) as f32)).collect();
    for (executor, mut session) in cpu() {
        for (end, block) in [(End::Top, 1), (End::Both, 1), (End::Top, 3)] {
            let what = format!("{executor}, {end:?}, block {block}");
            let search =
                Search { count: 3, end, tolerance: 1e-3, products: 4000, basis: Some(24), block, ..Search::default() };
            let e = sought(&mut session, &diagonal(&all), search);
            // What the search has kept is there until the session is next changed.
            let basis = session.names().into_iter().find(|name| name.ends_with("/basis")).expect("a basis");
            let rows = session.shape_of(&basis).expect("it is there")[0];
            assert!(rows <= 24 + block, "{what}: {rows} rows");
            assert!(e.products > 60, "{what}: it has restarted, {} products", e.products);
            assert!(e.top.iter().all(|v| v.converged), "{what}: {e:?}");
            let want: Vec<f64> = all.iter().rev().take(3).copied().collect();
            assert_close(&what, &values(&e.top), &want, 2e-4);
            if end == End::Both {
                assert_close(&what, &values(&e.bottom), &all[..3], 2e-4);
            }
            assert!(e.orthogonality <= 1e-5, "{what}: {}", e.orthogonality);
        }
    }
}

/// A search that stops for want of products says so.
#[test]
fn searches_that_run_out_of_products_do_not_claim_convergence() {
    let all: Vec<f64> = (1..=300).map(f64::from).collect();
    let search = Search { count: 3, tolerance: 1e-6, products: 25, ..Search::default() };
    let e = sought(&mut Session::host(), &diagonal(&all), search);
    assert_eq!(e.products, 25);
    assert!(e.top.iter().any(|v| !v.converged), "{e:?}");
    for v in &e.top {
        assert!(all.iter().any(|a| (a - v.value).abs() <= v.residual + 1e-3), "{v:?} bounds its error");
    }
}

#[test]
fn lobpcg_agrees_with_lanczos_and_restarts_from_what_it_had() {
    let (n, count) = (120, 3);
    let mut all: Vec<f64> = (0..n).map(|i| 10.0 * 0.93f64.powi(i as i32) - 1.0).collect();
    all.reverse();
    let rotation = SymmetricEigen::new(symmetric(n, 4)).eigenvectors;
    let a = &rotation * diagonal(&all) * rotation.transpose();
    let near = &a + symmetric(n, 5) * 1e-3;
    let search = Search { count, tolerance: 1e-4, ..Search::default() };
    for (executor, mut session) in cpu() {
        let mut lobpcg = Lobpcg::new(n, count, 7).expect("it fits");
        let mut products = Vec::new();
        for a in [&a, &near] {
            let want = sought(&mut session, a, search);
            let mut operator = Dense::new(a).expect("it is square");
            let e = lobpcg.run(&mut session, &mut operator, search).expect("eigenvalues");
            assert!(e.top.iter().all(|v| v.converged), "{executor}: {e:?}");
            assert!(e.orthogonality <= 1e-5, "{executor}: {}", e.orthogonality);
            assert_close(executor, &values(&e.top), &values(&want.top), 1e-5);
            products.push(e.products);
            // Its vectors are left where those of Lanczos are.
            let vectors = block_on(session.get_wide(&found(n))).expect("they are there");
            for (v, own) in vectors.chunks(n).zip(&e.top) {
                let av = product(&mut session, &mut operator, v);
                let rest: Vec<f64> = av.iter().zip(v).map(|(a, v)| a - own.value * v).collect();
                assert!(norm(&rest) <= own.residual + 1e-5 * all[n - 1], "{executor}: {own:?}, {}", norm(&rest));
                assert!((dot(v, &av) - own.value).abs() <= 1e-4, "{executor}: {own:?}");
            }
        }
        assert!(3 * products[1] <= products[0], "{executor}: {products:?} products, cold and warm");
    }
}

/// Two searches of one size on a session, in turn: each goes on from its own vectors.
#[test]
fn searches_of_one_size_keep_to_themselves() {
    let n = 60;
    let all: Vec<f64> = (0..n).map(|i| 10.0 * 0.8f64.powi(i)).collect();
    let a = diagonal(&all);
    let b = diagonal(&all.iter().rev().copied().collect::<Vec<_>>());
    let search = Search { count: 2, tolerance: 1e-4, ..Search::default() };
    let mut session = Session::reference();
    let mut run = |lobpcg: &mut Lobpcg, a: &DMatrix<f64>| {
        let e = lobpcg.run(&mut session, &mut Dense::new(a).expect("it is square"), search).expect("eigenvalues");
        assert_close("eigenvalues", &values(&e.top), &[10.0, 8.0], 1e-5);
        e.products
    };
    let [mut first, mut second] = [1, 2].map(|seed| Lobpcg::new(n as usize, 2, seed).expect("it fits"));
    let cold = [run(&mut first, &a), run(&mut second, &b)];
    let warm = [run(&mut first, &a), run(&mut second, &b)];
    assert!(warm.iter().zip(&cold).all(|(warm, cold)| 3 * warm <= *cold), "{cold:?} products, then {warm:?}");
}

/// What an operator has kept goes when the next one is built.
#[test]
fn linearizations_do_not_outlive_their_operators() {
    let (problem, params) = small();
    let mut session = Session::host();
    set(&mut session, &params);
    let kept = |session: &Session| {
        session.names().into_iter().filter(|name| name.starts_with("scope/")).collect::<BTreeSet<_>>()
    };
    let new = |session: &mut Session, kind, linearize| {
        let options = Options { linearize: Some(linearize), ..Options::default() };
        Curvature::new(session, &problem, kind, &options).expect("an operator")
    };
    let mut first = new(&mut session, Matrix::Hessian, true);
    let own = kept(&session);
    assert!(own.len() > 1, "the gradient and more: {own:?}");
    let second = new(&mut session, Matrix::Ggn, true);
    assert!(kept(&session).is_superset(&own) && kept(&session).len() > own.len() + 1);
    drop(second);
    let third = new(&mut session, Matrix::Ggn, false);
    let more = [third.gradient().to_string()].into();
    assert_eq!(kept(&session), &own | &more);
    first.product(&mut session, &vec![1.0; first.dimension()]).expect("the first is as it was");
}

#[test]
fn power_iteration_finds_the_largest_moduli_in_turn() {
    let n = 40;
    let mut all: Vec<f64> = (0..n).map(|i| f64::from(i) / 40.0).collect();
    all[..4].copy_from_slice(&[8.0, -5.0, 3.0, 2.0]);
    let rotation = SymmetricEigen::new(symmetric(n as usize, 6)).eigenvectors;
    let a = &rotation * diagonal(&all) * rotation.transpose();
    for (executor, mut session) in cpu() {
        let mut operator = Dense::new(&a).expect("it is square");
        let search = Search { count: 4, tolerance: 1e-4, ..Search::default() };
        let e = power_iteration(&mut session, &mut operator, search).expect("eigenvalues");
        assert!(e.top.iter().all(|v| v.converged), "{executor}: {e:?}");
        assert_close(executor, &values(&e.top), &[8.0, -5.0, 3.0, 2.0], 1e-4);
        assert!(e.orthogonality <= 1e-5, "{executor}: {}", e.orthogonality);
        let none = Search { products: 3, ..search };
        let e = power_iteration(&mut session, &mut operator, none).expect("eigenvalues");
        assert!(e.top.iter().any(|v| !v.converged), "{executor}: {e:?}");
        assert_eq!(operator.dimension(), n as usize);
    }
}

/// Operators that take two directions at once, on a problem whose parameters then move.
#[test]
fn curvature_has_the_eigenvalues_of_its_matrix_and_follows_the_parameters() {
    let (problem, mut params) = small();
    for (executor, mut session, _) in executors() {
        set(&mut session, &params);
        let options = Options { width: Some(2), ..Options::default() };
        let mut h = Curvature::new(&mut session, &problem, Matrix::Hessian, &options).expect("an operator");
        let n = h.dimension();
        let mut lobpcg = Lobpcg::new(n, 3, 1).expect("it fits");
        for shift in [0.0, 0.02] {
            params[0].2.iter_mut().for_each(|w| *w += shift);
            set(&mut session, &params);
            h.linearize(&mut session).expect("a finite loss");
            let all = spectrum(&dense(&mut session, &mut h).expect("products"));
            let both = Search { count: 3, end: End::Both, tolerance: 1e-4, block: 3, ..Search::default() };
            let before = h.products();
            let e = eigenvalues(&mut session, &mut h, both, &mut |_, _| ()).expect("eigenvalues");
            assert_eq!(h.products() - before, e.products, "{executor}");
            let want: Vec<f64> = all.iter().rev().take(3).chain(&all[..3]).copied().collect();
            let got: Vec<f64> = values(&e.top).into_iter().chain(values(&e.bottom)).collect();
            assert_close(executor, &got, &want, 1e-5);
            let before = h.products();
            let e = lobpcg.run(&mut session, &mut h, both).expect("eigenvalues");
            assert_eq!(h.products() - before, e.products, "{executor}");
            assert_close(executor, &values(&e.top), &want[..3], 1e-5);
            assert!(e.top.iter().all(|v| v.converged), "{executor}: {e:?}");
        }
    }
}

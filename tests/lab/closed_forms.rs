//! Curvature against what is known in closed form: the matrices of small models, and the identities that follow from a
//! loss's symmetries.

use hillshade::{
    engine::Conv,
    lab::{Matrix, Parts, Problem, Samples, Search, eigenvalues},
    models::Init,
};
use nalgebra::DMatrix;

use crate::common::{
    assert_close,
    lab::{
        Params, assert_matrix, classified, drawn, executors, gradient, joined, labels, matrix, norm, operator, params,
        product, set, small, spectrum, squared, weigh,
    },
    noise,
};

/// Rows of f32 as a matrix.
fn rows(n: usize, d: usize, x: &[f32]) -> DMatrix<f64> {
    DMatrix::from_row_iterator(n, d, x.iter().map(|&v| f64::from(v)))
}

fn identity(n: usize) -> DMatrix<f64> {
    DMatrix::identity(n, n)
}

/// `H = (2/(N C)) XᵀX ⊗ I` for the mean of squares over samples and outputs, weights `[d, C]`.
#[test]
fn linear_regression_has_the_gram_matrix_for_each_output() {
    let (n, d, c) = (9, 5, 3);
    let x = drawn(n * d, 1, 2.0);
    let want = (rows(n, d, &x).transpose() * rows(n, d, &x)).kronecker(&identity(c)) * (2.0 / (n * c) as f64);
    let samples = Samples::new(n).floats("x", x).and_then(|s| s.floats("y", drawn(n * c, 2, 1.0)));
    let problem = squared(samples.expect("it fits"), 1.0 / c as f64, move |b, n| {
        let x = b.g.input("x", &[n, d]);
        weigh(b, "w", x, c)
    });
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params(&[("w", &[d, c])], 1.0));
        for kind in [Matrix::Hessian, Matrix::Ggn] {
            assert_matrix(&format!("{kind} on the {executor}"), &matrix(&mut session, &problem, kind), &want, bound);
        }
    }
}

/// `H = XᵀX/N ⊗ (I/C − 1 1ᵀ/C²)`: every eigenvalue `sⱼ` of `XᵀX/N` appears as `sⱼ/C`, `C − 1` times, and `d` zeros.
#[test]
fn softmax_regression_at_zero_has_multiple_eigenvalues_that_blocks_find() {
    let (n, d, c) = (12, 4, 4);
    let x = drawn(n * d, 3, 2.0);
    let gram = rows(n, d, &x).transpose() * rows(n, d, &x) / n as f64;
    let samples = Samples::new(n).floats("x", x).and_then(|s| s.indices("y", labels(n, c as u32)));
    let problem = classified(samples.expect("it fits"), move |b, n| {
        let x = b.g.input("x", &[n, d]);
        weigh(b, "w", x, c)
    });
    let once: Vec<f64> = spectrum(&gram).iter().rev().map(|s| s / c as f64).collect();
    let many: Vec<f64> = once.iter().flat_map(|&s| [s; 3]).collect();
    for (executor, mut session, bound) in executors() {
        session.set("w", &[d, c], &vec![0.0; d * c]).expect("it fits");
        let h = matrix(&mut session, &problem, Matrix::Hessian);
        let centred = identity(c) / c as f64 - DMatrix::from_element(c, c, 1.0 / (c * c) as f64);
        assert_matrix(executor, &h, &gram.kronecker(&centred), bound);
        let values: Vec<f64> = spectrum(&h).into_iter().rev().collect();
        let want: Vec<f64> = many.iter().copied().chain([0.0; 4]).collect();
        assert_close(executor, &values, &want, bound);
        let mut a = operator(&mut session, &problem, Matrix::Hessian);
        let single = Search { count: d, tolerance: 1e-4, ..Search::default() };
        let block = Search { count: 3 * d, block: 3, ..single };
        for (search, want) in [(single, &once), (block, &many)] {
            let found = eigenvalues(&mut session, &mut a, search, &mut |_, _| ()).expect("eigenvalues");
            let what = format!("{executor}, block {}: {:?}", search.block, found.top);
            assert!(found.top.iter().all(|v| v.converged), "{what}");
            assert_close(&what, &found.top.iter().map(|v| v.value).collect::<Vec<_>>(), want, 1e-5);
        }
    }
}

/// `H = Xᵀ diag(p (1 − p)) X / N`.
#[test]
fn logistic_regression_weighs_the_gram_matrix() {
    let (n, d) = (10, 4);
    let (x, w) = (drawn(n * d, 4, 2.0), drawn(d, 5, 1.0));
    let (big, flat) = (rows(n, d, &x), rows(d, 1, &w));
    let slopes = (&big * flat).map(|z| 1.0 / ((1.0 + (-z).exp()) * (1.0 + z.exp())));
    let want = big.transpose() * DMatrix::from_diagonal(&slopes.column(0)) * &big / n as f64;
    let samples = Samples::new(n).floats("x", x).and_then(|s| s.floats("y", vec![1.0; n])).expect("it fits");
    let problem = Problem::new(samples, None, move |b, n| {
        let x = b.g.input("x", &[n, d]);
        let outputs = weigh(b, "w", x, 1);
        let (z, y) = (outputs.reshape(&[n]), b.g.input("y", &[n]));
        Ok(Parts { losses: z.softplus() - y * z, outputs })
    });
    for (executor, mut session, bound) in executors() {
        session.set("w", &[d, 1], &w).expect("it fits");
        for kind in [Matrix::Hessian, Matrix::Ggn] {
            assert_matrix(&format!("{kind} on the {executor}"), &matrix(&mut session, &problem, kind), &want, bound);
        }
    }
}

/// `H = (2/#outputs) PᵀP ⊗ I` with the patches `P`, weights `[kh, kw, ci, co]`.
#[test]
fn a_convolution_with_squared_loss_has_the_gram_matrix_of_its_patches() {
    let [n, height, width, ci, co, k, stride, padding] = [3, 5, 6, 2, 3, 3, 2, 1];
    let conv = Conv::padded(padding).strided(stride);
    let (ho, wo) = (conv.out(0, height, k).expect("it fits"), conv.out(1, width, k).expect("it fits"));
    let x = drawn(n * height * width * ci, 6, 2.0);
    let pixel = |image: usize, at: [usize; 2], channel: usize| match at.map(|a| a.checked_sub(padding)) {
        [Some(i), Some(j)] if i < height && j < width => {
            f64::from(x[((image * height + i) * width + j) * ci + channel])
        }
        _ => 0.0,
    };
    let patches = DMatrix::from_fn(n * ho * wo, k * k * ci, |row, column| {
        let (image, i, j) = (row / (ho * wo), row / wo % ho, row % wo);
        let (a, b, channel) = (column / (k * ci), column / ci % k, column % ci);
        pixel(image, [i * stride + a, j * stride + b], channel)
    });
    let outputs = ho * wo * co;
    let want = (patches.transpose() * &patches).kronecker(&identity(co)) * (2.0 / (n * outputs) as f64);
    let samples = Samples::new(n).floats("x", x.clone()).and_then(|s| s.floats("y", drawn(n * outputs, 7, 1.0)));
    let problem = squared(samples.expect("it fits"), 1.0 / outputs as f64, move |b, n| {
        b.conv("conv", b.g.input("x", &[n, height, width, ci]), co, k, conv)
    });
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params(&[("conv.weight", &[k, k, ci, co])], 0.5));
        assert_matrix(executor, &matrix(&mut session, &problem, Matrix::Hessian), &want, bound);
    }
}

/// `L = (u v − y)²/2`: `H = [[v², 2uv − y], [2uv − y, u²]]`.
#[test]
fn a_product_of_two_numbers_has_its_hessian() {
    let [u, v, y] = [1.5f64, -0.75, 2.0];
    let samples = Samples::new(1).floats("y", vec![y as f32]).expect("it fits");
    let problem = squared(samples, 0.5, |b, n| {
        let (u, v) = (b.param("u", &[1], Init::Zeros), b.param("v", &[1], Init::Zeros));
        (u * v).reshape(&[n, 1])
    });
    let off = 2.0 * u * v - y;
    for (executor, mut session, bound) in executors() {
        set(&mut session, &vec![("u", vec![1], vec![u as f32]), ("v", vec![1], vec![v as f32])]);
        let h = matrix(&mut session, &problem, Matrix::Hessian);
        assert_close(executor, h.as_slice(), &[v * v, off, off, u * u], bound);
    }
}

/// `L = ‖W₁ W₂ − M‖²/2` at `W₁ = U √S`, `W₂ = √S Vᵀ`, `M = U S Vᵀ`: all `σᵢ + σⱼ`, and `d²` zeros.
#[test]
fn two_linear_layers_at_the_balanced_optimum_have_sums_of_singular_values() {
    const D: usize = 4;
    // Orthogonal, with entries ±1/2, and roots of σ: all exact in f32.
    let u = DMatrix::from_row_slice(
        D,
        D,
        &[1., 1., 1., 1., 1., -1., 1., -1., 1., 1., -1., -1., 1., -1., -1., 1.].map(|v: f64| v / 2.0),
    );
    let v = DMatrix::from_fn(D, D, |i, j| u[(i, (j + 1) % D)]);
    let roots = DMatrix::from_diagonal(&nalgebra::DVector::from_vec(vec![3.0, 2.0, 1.0, 0.5]));
    let flat = |m: DMatrix<f64>| m.transpose().iter().map(|&v| v as f32).collect::<Vec<_>>();
    let (first, second) = (&u * &roots, &roots * v.transpose());
    let target = flat(&first * &second);
    let samples = Samples::new(D).floats("x", flat(identity(D))).and_then(|s| s.floats("y", target));
    // The mean over samples is 1/d of their sum.
    let problem = squared(samples.expect("it fits"), 0.5 * D as f64, |b, n| {
        let x = b.g.input("x", &[n, D]);
        let hidden = weigh(b, "first", x, D);
        weigh(b, "second", hidden, D)
    });
    let sigma = [9.0, 4.0, 1.0, 0.25];
    let mut want: Vec<f64> = sigma.iter().flat_map(|a| sigma.map(|b| a + b)).chain([0.0; D * D]).collect();
    want.sort_by(f64::total_cmp);
    for (executor, mut session, bound) in executors() {
        set(
            &mut session,
            &vec![("first", vec![D, D], flat(first.clone())), ("second", vec![D, D], flat(second.clone()))],
        );
        let mut a = operator(&mut session, &problem, Matrix::Hessian);
        let top = eigenvalues(&mut session, &mut a, Search::default(), &mut |_, _| ()).expect("eigenvalues").top[0];
        assert!((top.value - 18.0).abs() <= 1e-3, "{executor}: {top:?}");
        assert_close(executor, &spectrum(&matrix(&mut session, &problem, Matrix::Hessian)), &want, bound);
    }
}

/// A number added to all logits changes nothing: `H D = 0` and `G D = 0` for `D = 1` on the last bias, and for `D = u 1ᵀ` on
/// the last weights.
#[test]
fn logits_that_shift_together_have_no_curvature() {
    let (problem, params) = small();
    let (hidden, classes) = (6, 4);
    let n = joined(&params).len();
    let mut bias = vec![0.0; n];
    bias[n - classes..].fill(1.0);
    let mut weights = vec![0.0; n];
    let u = noise(hidden, 8);
    let at = n - classes - hidden * classes;
    (0..hidden * classes).for_each(|i| weights[at + i] = u[i / classes]);
    // The first column alone is no symmetry.
    let broken: Vec<f64> =
        weights.iter().enumerate().map(|(i, w)| if i % classes == at % classes { *w } else { 0.0 }).collect();
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        for kind in [Matrix::Hessian, Matrix::Ggn, Matrix::Fisher { draws: 3 }] {
            let mut a = operator(&mut session, &problem, kind);
            let size = norm(&product(&mut session, &mut a, &noise(n, 9)));
            for (what, d) in [("bias", &bias), ("weights", &weights)] {
                let left = norm(&product(&mut session, &mut a, d));
                // A sampled Fisher matrix has its draws in f32.
                let bound = if kind == Matrix::Hessian || kind == Matrix::Ggn { bound } else { bound.max(1e-6) };
                assert!(left <= bound * size, "{kind} on the {executor}, {what}: {left:e} of {size:e}");
            }
            assert!(norm(&product(&mut session, &mut a, &broken)) > 1e-3 * size, "{kind}: one class alone");
        }
    }
}

/// Three dense layers with ReLU.
fn rectified() -> (Problem, Params) {
    let samples = Samples::new(9).floats("x", drawn(36, 11, 2.0)).and_then(|s| s.indices("y", labels(9, 3)));
    let problem = classified(samples.expect("it fits"), |b, n| {
        let x = b.g.input("x", &[n, 4]);
        let x = [("a", 7), ("b", 6)].into_iter().fold(x, |x, (name, outs)| b.dense(name, x, outs).relu());
        b.dense("c", x, 3)
    });
    let shapes: [(&str, &[usize]); 6] = [
        ("a.weight", &[4, 7]),
        ("a.bias", &[7]),
        ("b.weight", &[7, 6]),
        ("b.bias", &[6]),
        ("c.weight", &[6, 3]),
        ("c.bias", &[3]),
    ];
    (problem, params(&shapes, 0.8))
}

/// A layer's weights and bias times `α`, the next one's weights over `α`: the loss stays, so for `D = (Wₗ, bₗ, −Wₗ₊₁)`
/// `H D = (−g_{Wₗ}, −g_{bₗ}, +g_{Wₗ₊₁})`.
#[test]
fn rescaled_relu_layers_turn_the_hessian_into_the_gradient() {
    let (problem, params) = rectified();
    let theta = joined(&params);
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        let mut h = operator(&mut session, &problem, Matrix::Hessian);
        let g = gradient(&session, &h);
        for layer in ["a", "b"] {
            let next = if layer == "a" { "b" } else { "c" };
            let sign = |name: &str| match name {
                _ if name.starts_with(layer) => 1.0,
                _ if name == format!("{next}.weight") => -1.0,
                _ => 0.0,
            };
            let signs: Vec<f64> = h.layout().iter().flat_map(|b| vec![sign(&b.name); b.range.len()]).collect();
            let d: Vec<f64> = signs.iter().zip(&theta).map(|(s, t)| s * t).collect();
            let want: Vec<f64> = signs.iter().zip(&g).map(|(s, g)| -s * g).collect();
            assert_close(
                &format!("layer {layer} on the {executor}"),
                &product(&mut session, &mut h, &d),
                &want,
                10.0 * bound,
            );
        }
    }
}

/// A ReLU network of `k` layers without biases is homogeneous of degree `k` in its weights: `H θ = G θ + (k − 1) g`.
#[test]
fn homogeneous_networks_tie_hessian_and_gauss_newton_to_the_gradient() {
    let samples = Samples::new(9).floats("x", drawn(36, 12, 2.0)).and_then(|s| s.indices("y", labels(9, 3)));
    let problem = classified(samples.expect("it fits"), |b, n| {
        let x = b.g.input("x", &[n, 4]);
        let x = [("a", 7), ("b", 6)].into_iter().fold(x, |x, (name, outs)| weigh(b, name, x, outs).relu());
        weigh(b, "c", x, 3)
    });
    let params = params(&[("a", &[4, 7]), ("b", &[7, 6]), ("c", &[6, 3])], 0.8);
    let theta = joined(&params);
    for (executor, mut session, bound) in executors() {
        set(&mut session, &params);
        let [h, g] = [Matrix::Hessian, Matrix::Ggn].map(|kind| {
            let mut a = operator(&mut session, &problem, kind);
            (product(&mut session, &mut a, &theta), gradient(&session, &a))
        });
        let ((ht, _), (gt, slope)) = (h, g);
        let want: Vec<f64> = gt.iter().zip(slope).map(|(g, s)| g + 2.0 * s).collect();
        assert_close(executor, &ht, &want, 5.0 * bound);
        assert!(norm(&gt) > 1e-2 * norm(&ht), "{executor}: the network is not dead");
    }
}

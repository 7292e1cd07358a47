//! Kernels whose loops a software adapter would cut, each by its smallest case, in every class of devices.

use hillshade::engine::{Attention, Conv, Graph, Launch, Plan, Pool, Session, Step, Target, Tensor};

use crate::{common::*, each_class::*};

#[test]
fn long_axes_have_a_largest_element() {
    let mut x = vec![0.0; 66_000 * 64];
    x[65_999 * 64..].fill(1.0);
    in_each_class(
        &[F(&[66_000, 64], &x)],
        |x| vec![x[0].argmax(0), x[0].max_over(&[0])],
        |class, y| {
            assert!(y[0].iter().all(|&i| i == 65_999.0), "{class}: {}", y[0][0]);
            assert!(y[1].iter().all(|&m| m == 1.0), "{class}: {}", y[1][0]);
        },
    );
}

#[test]
fn long_axes_are_summed() {
    let x = vec![0.1; 255 * 65_600];
    in_each_class(
        &[F(&[255, 65_600], &x)],
        |x| vec![x[0].sum(&[1]), x[0].logsumexp(&[1])],
        |class, y| {
            let log = f64::from(0.1f32) + 65_600f64.ln();
            assert!(y[0].iter().all(|&s| same(s, 65_600.0 * f64::from(0.1f32), 1e-6)), "{class}: {}", y[0][0]);
            assert!(y[1].iter().all(|&s| same(s, log, 1e-6)), "{class}: {}, expected {log}", y[1][0]);
        },
    );
}

#[test]
fn many_rows_are_scattered_to_one() {
    let (x, index) = (vec![0.1; 131_075], vec![0; 131_075]);
    let x = [F(&[131_075], &x), I(&[131_075], &index)];
    on_software(
        &x,
        |x| vec![x[0].scatter_add(x[1], 2)],
        |class, y| {
            assert!(same(y[0][0], 13_107.5, 2e-6) && y[0][1] == 0.0, "{class}: {:?}", y[0]);
        },
    );
    let (x, index) = (noise32(9_000 * 1_900, 1), vec![1; 9_000]);
    let (x, build): (_, Results) = ([F(&[9_000, 1_900], &x), I(&[9_000], &index)], |x| vec![x[0].scatter_add(x[1], 2)]);
    let want = made(&mut Session::reference(), &x, build);
    on_software(&x, build, |class, y| assert_close(class, &y[0], &want[0], 1e-6));
}

const FREE: Attention = Attention { causal: false, scale: 0.1 };

#[test]
fn many_keys_are_attended_to() {
    let (q, k, v) = (noise32(128, 1), noise32(8192 * 128, 2), vec![1.0; 8192 * 128]);
    let x = [F(&[1, 1, 1, 128], &q), F(&[1, 8192, 1, 128], &k), F(&[1, 8192, 1, 128], &v)];
    in_each_class(
        &x,
        |x| x[0].attention(x[1], x[2], FREE, None).to_vec(),
        |class, y| {
            assert!(y[0].iter().all(|&y| same(y, 1.0, 1e-5)), "{class}: {}", y[0][0]);
        },
    );
}

/// Value, gradient, and both tangents, of more queries and keys than one launch goes through.
#[test]
fn long_attention_has_derivatives() {
    fn build<'g>(x: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let g = x[0].graph();
        let y = x[0].attention(x[1], x[2], Attention { causal: true, scale: 0.3 }, None);
        let loss = (y[0] * y[0]).sum_all() + (y[1] * y[1]).sum_all();
        let d = loss.grad(x).expect("attention has derivatives");
        let dy = g.jvp(&y, x, x).expect("and tangents");
        let dd = g.jvp(&d, x, x).expect("of both");
        [y.to_vec(), d, dy, dd].concat()
    }
    let (q, k, v) = (noise32(5000 * 8, 1), noise32(5003 * 8, 2), noise32(5003 * 8, 3));
    let x = [F(&[1, 5000, 1, 8], &q), F(&[1, 5003, 1, 8], &k), F(&[1, 5003, 1, 8], &v)];
    as_reference("attention", &x, build, 2e-5);
}

#[test]
fn long_rows_are_normalized() {
    fn build<'g>(x: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let g = x[0].graph();
        let y = x[0].layer_norm(x[1], x[2], 1e-5);
        let d = (y[0] * y[0] * x[0]).sum_all().grad(x).expect("it has derivatives");
        let dd = g.jvp(&d, x, x).expect("and their tangents");
        [y.to_vec(), d, dd].concat()
    }
    const N: usize = 200_000;
    let (x, gamma, beta) = (noise32(2 * N, 1), noise32(N, 2), noise32(N, 3));
    as_reference("layer norm", &[F(&[2, N], &x), F(&[N], &gamma), F(&[N], &beta)], build, 2e-5);
}

#[test]
fn many_classes_are_told_apart() {
    const N: usize = 262_144;
    fn build<'g>(x: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let [loss, lse] = x[0].cross_entropy(x[1]);
        vec![loss, lse, loss.sum_all().grad(&x[..1]).expect("it has a derivative")[0]]
    }
    as_reference("cross entropy", &[F(&[2, N], &noise32(2 * N, 1)), I(&[2], &[7, 262_143])], build, 1e-6);
}

#[test]
fn long_products_are_whole() {
    // Both factors lie along their rows, and there are tiles enough not to split the sum for more of them.
    let (m, n, k) = (260, 260, 70_000);
    let (a, b) = (vec![1.0; k * m], vec![0.1; k * n]);
    in_each_class(
        &[F(&[k, m], &a), F(&[k, n], &b)],
        |x| vec![x[0].matmul_as(true, x[1], false)],
        |class, y| {
            // Equal terms one after the other: f32 loses 1.4e-4 of them, a sum that is cut would lose 6 % or more.
            let want = 7_000.0 * f64::from(0.1f32) * 10.0;
            assert!(y[0].iter().all(|&y| same(y, want, 3e-4)), "{class}: {}, expected {want}", y[0][0]);
        },
    );
}

#[test]
fn large_windows_are_seen() {
    let mut x = vec![-1.0; 300 * 300];
    x[300 * 300 - 1] = 2.0;
    const POOL: Pool = Pool { kernel: [300, 300], stride: [1, 1], padding: [0, 0] };
    fn build<'g>(x: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let [y, at] = x[0].max_pool(POOL);
        vec![y, at, x[0].avg_pool([300, 300], [1, 1], [0, 0])]
    }
    as_reference("pools", &[F(&[1, 300, 300, 1], &x)], build, 1e-5);
}

#[test]
fn long_lines_have_weight_gradients() {
    const N: usize = 70_000;
    const CONV: Conv = Conv { stride: [1, 1], padding: [0, 1], dilation: [1, 1], groups: 2 };
    fn build<'g>(x: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let y = x[0].conv2d(x[1], CONV);
        (y * y).sum_all().grad(x).expect("it has derivatives")
    }
    let (x, w) = (noise32(2 * N, 1), noise32(6, 2));
    as_reference("depthwise", &[F(&[1, 1, N, 2], &x), F(&[1, 3, 1, 2], &w)], build, 1e-5);
}

#[test]
fn tall_batches_are_normalized() {
    fn build<'g>(x: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let y = x[0].batch_norm(x[1], x[2], 1e-5);
        let d = (y[0] * x[0]).sum_all().grad(x).expect("it has derivatives");
        [vec![y[0], y[1] * y[2] + 1.0, y[2]], d].concat()
    }
    const N: usize = 1 << 20;
    as_reference("batch norm", &[F(&[N, 1], &noise32(N, 1)), F(&[1], &[1.5]), F(&[1], &[0.5])], build, 3e-5);
}

// No launch has loops of more passes than a software adapter goes through.

/// Passes of an invocation's loops in launches whose loops depend on extents, as far as they grow with these.
fn passes(launch: &Launch) -> Option<u64> {
    let constant = |name: &str| launch.constants.iter().find(|c| c.0 == name).map_or(1, |c| c.1 as u64);
    let p = |i: usize| u64::from(launch.params[i]);
    Some(match launch.kernel {
        "sum" | "max_over" | "logsumexp" | "argmax" => p(3).div_ceil(constant("LANES") / constant("ACROSS")),
        "argmax_merge" => p(3),
        "batch_norm_moments"
        | "batch_norm_sums"
        | "batch_norm_grad_tangent_sums"
        | "layer_norm_sums"
        | "layer_norm_grad_tangent_sums" => p(2).div_ceil(constant("LANES") / constant("ACROSS")),
        "layer_norm" | "layer_norm_grad" | "layer_norm_tangent" | "layer_norm_grad_tangent" => {
            5 * p(1).div_ceil(constant("WIDTH") * constant("EACH"))
        }
        "cross_entropy" | "cross_entropy_grad" => 3 * p(1).div_ceil(constant("WIDTH")),
        "matmul_tiles" | "matmul_subgroup" | "conv2d_weight_grad_tiles" | "conv2d_weight_grad_subgroup" => {
            2 * p(5).min(p(2))
        }
        "max_pool" | "max_pool_grad" => (p(2) - p(1)) * u64::from(launch.params[11]),
        _ => return None,
    })
}

/// For extents up to 2^22.
#[test]
fn launches_have_no_long_loops() {
    let mut seen = 0;
    for n in [1usize << 16, 1 << 20, 1 << 22] {
        for (rows, columns) in [(n, 1), (n, 3), (1, n), (5, n), (n, 64)] {
            let g = Graph::new();
            let x = g.input("x", &[rows, columns]);
            let (row, column) = (g.input("row", &[columns]), g.input_u32("labels", &[rows]));
            let mut y = vec![
                x.sum(&[0]),
                x.sum(&[1]),
                x.max_over(&[0]),
                x.max_over(&[1]),
                x.logsumexp(&[0]),
                x.argmax(0),
                x.argmax(1),
            ];
            let [normed, ..] = x.layer_norm(row, row, 1e-5);
            let [batch, ..] = x.batch_norm(row, row, 1e-5);
            let [loss, _] = x.cross_entropy(column);
            for y_one in [normed, batch, loss] {
                y.extend((y_one * y_one).sum_all().grad(&[x]).expect("derivatives"));
            }
            if columns <= 64 {
                y.push(x.matmul_as(true, x, false).sum_all());
            }
            for class in CLASSES {
                let plan = Plan::new(Target::device(class), &g, &y).expect("it can be planned");
                for step in &plan.steps {
                    let Step::Apply { launches, .. } = step else { continue };
                    for launch in &launches.list {
                        let passes = passes(launch).unwrap_or(0);
                        assert!(passes <= 60_000, "{class:?} [{rows}, {columns}]: {} {passes}", launch.kernel);
                        seen += usize::from(passes > 0);
                    }
                }
            }
        }
    }
    assert!(seen > 300, "{seen} launches with loops");
}

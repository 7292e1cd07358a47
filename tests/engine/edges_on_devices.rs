//! Kernels at the edges of what they take, each by its smallest case and the right value, in every class of devices: not a
//! number, infinities, large logits, numbers far from zero.

use hillshade::engine::{Attention, Conv, Pool, Session, Tensor};

use crate::{common::*, each_class::*};

/// An op of two operands, by operands and right values.
fn of_two(what: &str, f: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>, of: &[(f32, f32, f64)]) {
    let (a, b): (Vec<f32>, Vec<f32>) = of.iter().map(|p| (p.0, p.1)).unzip();
    in_each_class(&[F(&[of.len()], &a), F(&[of.len()], &b)], f, |class, y| {
        for (&(a, b, want), &got) in of.iter().zip(&y[0]) {
            assert!(same(got, want, 1e-6), "{what}({a}, {b}) in {class} is {got}, expected {want}");
        }
    });
}

const NOT: f64 = f64::NAN;
const MANY: f64 = f64::INFINITY;

#[test]
fn functions_keep_what_is_not_a_number() {
    let all: [(&str, Function); 20] = [
        ("abs", |x| x.abs()),
        ("affine", |x| x * 2.0 + 1.0),
        ("clamp", |x| x.clamp(-1.0, 1.0)),
        ("cos", |x| x.cos()),
        ("erf", |x| x.erf()),
        ("exp", |x| x.exp()),
        ("gelu", |x| x.gelu()),
        ("gelu_tanh", |x| x.gelu_tanh()),
        ("leaky_relu", |x| x.leaky_relu(0.1)),
        ("log", |x| x.log()),
        ("neg", |x| -x),
        ("recip", |x| x.recip()),
        ("relu", |x| x.relu()),
        ("rsqrt", |x| x.rsqrt()),
        ("sigmoid", |x| x.sigmoid()),
        ("sign", |x| x.sign()),
        ("silu", |x| x.silu()),
        ("sin", |x| x.sin()),
        ("softplus", |x| x.softplus()),
        ("tanh", |x| x.tanh()),
    ];
    for (what, f) in all {
        function(what, f, &[(NAN, NOT), (-NAN, NOT), (NAN, NOT), (NAN, NOT), (-NAN, NOT)], 0.0);
    }
    let zeros = |x: f32| (x, 0.0);
    function("relu", |x| x.relu(), &[(-1.0, 0.0), (2.0, 2.0), zeros(-INFINITY), zeros(0.0), zeros(-0.0)], 0.0);
}

#[test]
fn operators_keep_what_is_not_a_number() {
    of_two(
        "max",
        |x| vec![x[0].max(x[1])],
        &[(NAN, 1.0, NOT), (1.0, NAN, NOT), (-INFINITY, 1.0, 1.0), (2.0, 1.0, 2.0)],
    );
    of_two(
        "min",
        |x| vec![x[0].min(x[1])],
        &[(NAN, 1.0, NOT), (1.0, NAN, NOT), (-INFINITY, 1.0, -MANY), (2.0, 1.0, 1.0)],
    );
    of_two("ne", |x| vec![x[0].ne(x[1])], &[(NAN, NAN, 1.0), (1.0, NAN, 1.0), (1.0, 1.0, 0.0), (0.0, -0.0, 0.0)]);
    of_two("eq", |x| vec![x[0].eq(x[1])], &[(NAN, NAN, 0.0), (1.0, NAN, 0.0), (1.0, 1.0, 1.0), (0.0, -0.0, 1.0)]);
    of_two("lt", |x| vec![x[0].lt(x[1])], &[(NAN, 1.0, 0.0), (1.0, NAN, 0.0), (1.0, 2.0, 1.0)]);
    of_two(
        "mask",
        |x| vec![x[0].relu_mask(x[1])],
        &[(NAN, 3.0, 3.0), (1.0, NAN, NOT), (-1.0, 2.0, 0.0), (0.0, 2.0, 0.0)],
    );
    of_two("select", |x| vec![x[0].select(x[1], x[1] * 2.0)], &[(NAN, 3.0, 3.0), (0.0, 3.0, 6.0), (-0.0, 3.0, 6.0)]);
}

#[test]
fn reductions_keep_what_is_not_a_number() {
    let rows = [
        [1.0, NAN, 3.0, NAN],
        [-INFINITY, -INFINITY, -INFINITY, -INFINITY],
        [INFINITY, 1.0, INFINITY, 2.0],
        [-INFINITY, -2.0, -2.0, -3.0],
        [NAN, NAN, NAN, NAN],
        [-0.0, 0.0, -1.0, -0.0],
    ]
    .concat();
    let log = -2.0 + (2.0 + (-1.0f64).exp()).ln();
    let log0 = (3.0 + (-1.0f64).exp()).ln();
    let want = [
        [1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        [NOT, -MANY, MANY, -2.0, NOT, 0.0],
        [NOT, -MANY, MANY, log, NOT, log0],
        [NOT, -MANY, MANY, -MANY, NOT, -1.0],
    ];
    in_each_class(
        &[F(&[6, 4], &rows)],
        |x| vec![x[0].argmax(1), x[0].max_over(&[1]), x[0].logsumexp(&[1]), x[0].sum(&[1])],
        |class, y| {
            for (k, (got, want)) in y.iter().zip(&want).enumerate() {
                let right = got.iter().zip(want).all(|(&got, &want)| same(got, want, 1e-6));
                assert!(right, "reduction {k} in {class}: {got:?}, expected {want:?}");
            }
        },
    );
    // Longer than one workgroup has lanes for.
    let mut long = vec![-INFINITY; 3 * 5000];
    long[5000 + 4321] = NAN;
    long[10_000 + 3000] = 7.0;
    in_each_class(
        &[F(&[3, 5000], &long)],
        |x| vec![x[0].argmax(1), x[0].max_over(&[1]), x[0].logsumexp(&[1])],
        |class, y| {
            assert_eq!(y[0], [0.0, 4321.0, 3000.0], "{class}");
            assert!(y[1][0] == -MANY && y[1][1].is_nan() && y[1][2] == 7.0, "{class}: {:?}", y[1]);
            assert!(y[2][0] == -MANY && y[2][1].is_nan() && y[2][2] == 7.0, "{class}: {:?}", y[2]);
        },
    );
}

#[test]
fn losses_keep_what_is_not_a_number() {
    let logits = [[1.0, NAN, 3.0], [-INFINITY, 1.0, 1.0], [1.0, 2.0, 3.0]].concat();
    let x = [F(&[3, 3], &logits), I(&[3], &[0, 1, 3])];
    in_each_class(
        &x,
        |x| {
            let [loss, _] = x[0].cross_entropy(x[1]);
            vec![loss, loss.sum_all().grad(&x[..1]).expect("a derivative")[0], x[0].softmax(1)]
        },
        |class, y| {
            assert!(y[0][0].is_nan() && same(y[0][1], 2f64.ln(), 1e-6) && y[0][2] == 0.0, "{class}: {:?}", y[0]);
            assert!(y[1][..3].iter().all(|d| d.is_nan()), "{class}: {:?}", y[1]);
            assert!([0.0, -0.5, 0.5].iter().zip(&y[1][3..6]).all(|(w, g)| (w - g).abs() < 1e-6), "{class}: {:?}", y[1]);
            assert!(y[2][..3].iter().all(|p| p.is_nan()) && y[2][3..].iter().all(|p| p.is_finite()), "{class}");
        },
    );
}

#[test]
fn windows_keep_what_is_not_a_number() {
    let x = [[1.0, NAN, 2.0, 3.0], [5.0, 4.0, -INFINITY, -INFINITY], [-INFINITY; 4], [-INFINITY; 4]].concat();
    in_each_class(
        &[F(&[1, 4, 4, 1], &x)],
        |x| x[0].max_pool(Pool::square(2)).to_vec(),
        |class, y| {
            assert!(y[0][0].is_nan() && y[0][1] == 3.0 && y[0][2] == -MANY, "{class}: {:?}", y[0]);
            assert_eq!(y[1], [1.0, 3.0, 8.0, 10.0], "{class}");
        },
    );
}

#[test]
fn attention_keeps_what_is_not_a_number() {
    let [q, mut k, v] = [1, 2, 3].map(|stream| noise32(6 * 8, stream));
    k[3 * 8] = NAN;
    let shape: &[usize] = &[1, 6, 1, 8];
    in_each_class(
        &[F(shape, &q), F(shape, &k), F(shape, &v)],
        |x| {
            let y = x[0].attention(x[1], x[2], Attention { causal: true, scale: 0.3 }, None);
            let d = (y[0] * y[0]).sum_all().grad(x).expect("derivatives");
            [y.to_vec(), d].concat()
        },
        |class, y| {
            for i in 0..6 {
                let sees = y[0][i * 8..][..8].iter().all(|y| y.is_nan());
                assert!(
                    sees == (i >= 3) && y[1][i].is_nan() == (i >= 3),
                    "{class}, query {i}: {:?}",
                    &y[0][i * 8..][..8]
                );
            }
            assert!(y[2..].iter().all(|d| d[3 * 8..].iter().any(|d| d.is_nan())), "{class}");
        },
    );
}

/// With what a convolution ends with, fused or not.
#[test]
fn layers_keep_what_is_not_a_number() {
    let mut x = noise32(2 * 8 * 8 * 16, 1);
    x[0] = NAN;
    let (w, c) = (noise32(9 * 16 * 16, 2), vec![1.0; 16]);
    in_each_class(
        &[F(&[2, 8, 8, 16], &x), F(&[3, 3, 16, 16], &w), F(&[16], &c)],
        |x| {
            let y = (x[0].conv2d(x[1], Conv::padded(1)) + x[2]).relu();
            let [z, _, _] = x[0].batch_norm(x[2], x[2], 1e-5);
            let [n, _, _] = x[0].layer_norm(x[2], x[2], 1e-5);
            vec![y, z.relu(), n.relu()]
        },
        |class, y| {
            assert!(y[0][..16].iter().all(|y| y.is_nan()), "{class}: {:?}", &y[0][..16]);
            assert!(y[0][8 * 8 * 16..].iter().all(|y| y.is_finite()), "{class}: another image");
            assert!(y[1].iter().step_by(16).all(|y| y.is_nan()) && y[1][1].is_finite(), "{class}: batch norm");
            assert!(y[2][..16].iter().all(|y| y.is_nan()) && y[2][16].is_finite(), "{class}: layer norm");
        },
    );
}

#[test]
fn powers_are_those_of_their_exponents() {
    of_two(
        "pow",
        |x| vec![x[0].pow(x[1])],
        &[
            (-2.0, 2.0, 4.0),
            (-2.0, 3.0, -8.0),
            (3.0, 2.0, 9.0),
            (-2.0, -1.0, -0.5),
            (-2.0, 0.5, NOT),
            (0.0, 2.0, 0.0),
            (0.0, 0.0, 1.0),
            (0.0, -1.0, MANY),
            (-3.0, 0.0, 1.0),
            (NAN, 0.0, 1.0),
            (NAN, 1.0, NOT),
            (1.0, NAN, 1.0),
            (2.0, NAN, NOT),
            (-1.0, 33.0, -1.0),
            (-1.0, 16_777_216.0, 1.0),
            (2.0, 40.0, 1_099_511_627_776.0),
            (2.0, 0.5, std::f64::consts::SQRT_2),
            (INFINITY, 2.0, MANY),
            (INFINITY, -2.0, 0.0),
            (-INFINITY, 3.0, -MANY),
        ],
    );
}

#[test]
fn functions_are_right_far_out() {
    let log = [
        (INFINITY, MANY),
        (0.0, -MANY),
        (-0.0, -MANY),
        (-1.0, NOT),
        (-INFINITY, NOT),
        (1.0, 0.0),
        (f32::from_bits(1), -149.0 * 2f64.ln()),
        (1e-40, f64::from(1e-40f32).ln()),
        (f32::MAX, f64::from(f32::MAX).ln()),
    ];
    function("log", |x| x.log(), &log, 2e-7);
    let sines: Vec<(f32, f64)> =
        [1e30f32, -1e30, 3e38, 1e5, 123_456.79, 8192.5, 8191.5, 1e10, 6.02e23].map(|x| (x, f64::from(x).sin())).into();
    function("sin", |x| x.sin(), &sines, 3e-7);
    let cosines: Vec<(f32, f64)> = sines.iter().map(|&(x, _)| (x, f64::from(x).cos())).collect();
    function("cos", |x| x.cos(), &cosines, 3e-7);
    function("sin", |x| x.sin(), &[(INFINITY, NOT), (-INFINITY, NOT)], 0.0);
    let soft: Vec<(f32, f64)> = [-17.0f32, -5.0, -0.88, -0.1, 0.0, 0.5, 20.0, 100.0, -80.0]
        .map(|x| (x, f64::from(x).max(0.0) + (-f64::from(x).abs()).exp().ln_1p()))
        .into();
    function("softplus", |x| x.softplus(), &soft, 4e-7);
    function("exp", |x| x.exp(), &[(INFINITY, MANY), (-INFINITY, 0.0), (89.0, MANY), (0.0, 1.0), (-1e30, 0.0)], 0.0);
    let odd = [(INFINITY, 1.0), (-INFINITY, -1.0), (0.0, 0.0)];
    function("tanh", |x| x.tanh(), &odd, 0.0);
    function("erf", |x| x.erf(), &odd, 0.0);
}

// Probabilities of large logits.

#[test]
fn large_logits_have_probabilities() {
    let logits =
        [[1e8, 1e8, -1e8], [1e7, 1e7 + 1.0, 1e7 + 2.0], [1e4, 1e4 + 1.0, 1e4 - 1.0], [-1e4, -1e4, -1e4 + 0.5]].concat();
    let p = |z: [f64; 3]| {
        let e = z.map(f64::exp);
        e.map(|v| v / e.iter().sum::<f64>())
    };
    let want = [p([0.0, 0.0, -1e9]), p([0.0, 1.0, 2.0]), p([0.0, 1.0, -1.0]), p([0.0, 0.0, 0.5])].concat();
    in_each_class(
        &[F(&[4, 3], &logits), I(&[4], &[0; 4])],
        |x| {
            let [loss, _] = x[0].cross_entropy(x[1]);
            vec![loss.sum_all().grad(&x[..1]).expect("a derivative")[0], x[0].softmax(1)]
        },
        |class, y| {
            for (i, want) in want.iter().enumerate() {
                let hot = if i % 3 == 0 { 1.0 } else { 0.0 };
                assert!((y[0][i] - (want - hot)).abs() < 1e-6, "{class}: gradient {:?}", y[0]);
                assert!((y[1][i] - want).abs() < 1e-6, "{class}: softmax {:?}", y[1]);
            }
            assert!(y[0].chunks(3).all(|d| d.iter().sum::<f64>().abs() < 1e-6), "{class}: gradients sum to 0");
        },
    );
}

/// Scores of 1e8 and 1e5 that are equal or differ by one: the values' gradients are the probabilities.
#[test]
fn large_scores_have_probabilities() {
    let q = [1e4, 0.0, 0.0, 0.0, 1e5, 1.0, 0.0, 0.0];
    let k = [1e4, 0.0, 0.0, 0.0, 1e4, 1.0, 0.0, 0.0];
    let v = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
    in_each_class(
        &[F(&[1, 1, 2, 4], &q[..8]), F(&[1, 2, 1, 4], &k), F(&[1, 2, 1, 4], &v)],
        |x| {
            let y = x[0].attention(x[1], x[2], Attention { causal: false, scale: 1.0 }, None);
            let d = y[0].slice(2, 0, 1).slice(3, 0, 1).sum_all().grad(&x[2..]).expect("a derivative");
            let dy = x[0].graph().jvp(&y[..1], &x[2..], &x[2..]).expect("a tangent");
            vec![y[0], d[0], dy[0]]
        },
        |class, y| {
            assert!((y[0][0] - 0.5).abs() < 1e-6 && (y[1][0] - 0.5).abs() < 1e-6, "{class}: {:?} {:?}", y[0], y[1]);
            assert!((y[1][4] - 0.5).abs() < 1e-6, "{class}: {:?}", y[1]);
            assert!((y[2][0] - 0.5).abs() < 1e-6, "{class}: tangent {:?}", y[2]);
        },
    );
}

// Sums that drift, and moments of what lies far from zero.

#[test]
fn means_do_not_drift() {
    let x = vec![0.1; 20_000_000];
    in_each_class(
        &[F(&[20_000_000], &x)],
        |x| vec![x[0].mean_all()],
        |class, y| {
            // 1.9e-6 was seen; 1.7e-4 is what a single f32 sum loses.
            assert!(same(y[0][0], f64::from(0.1f32), 4e-6), "{class}: {}", y[0][0]);
        },
    );
}

#[test]
fn rows_far_from_zero_are_normalized() {
    let x: Vec<f32> = noise32(4 * 768, 1).iter().map(|v| 1e4 + 0.026 * v).collect();
    let (gamma, beta) = (vec![1.0; 768], vec![0.0; 768]);
    let operands = [F(&[4, 768], &x), F(&[768], &gamma), F(&[768], &beta)];
    let build: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>> = |x| x[0].layer_norm(x[1], x[2], 1e-5).to_vec();
    let want = made(&mut Session::reference(), &operands, build);
    in_each_class(&operands, build, |class, y| {
        let worst = y[0].iter().zip(&want[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 0.04, "{class}: off by {worst}");
    });
}

#[test]
fn constants_are_normalized_to_zero() {
    for value in [0.1f32, 2.7, 1e4 + 0.1, -3e5] {
        let x = vec![value; 7 * 515];
        let c = vec![1.0; 515];
        in_each_class(
            &[F(&[7, 515], &x), F(&[515], &c)],
            |x| vec![x[0].layer_norm(x[1], x[1] * 0.0, 1e-5)[0], x[0].batch_norm(x[1], x[1] * 0.0, 1e-5)[0]],
            |class, y| assert!(y.iter().flatten().all(|&y| y == 0.0), "{class}: of {value} {} {}", y[0][0], y[1][0]),
        );
    }
}

#[test]
fn outliers_do_not_spoil_moments() {
    const N: usize = 1 << 20;
    for outlier in [1e4, 1e6] {
        let mut x = noise32(N, 1);
        x[0] = outlier;
        as_reference(
            "an outlier",
            &[F(&[N, 1], &x), F(&[1], &[1.0]), F(&[1], &[0.0])],
            |x| {
                let y = x[0].batch_norm(x[1], x[2], 1e-5);
                // The outlier itself would hide the others; a mean is known to a share of the deviation.
                vec![y[0].slice(0, 1, N - 1), y[1] * y[2] + 1.0, y[2]]
            },
            1e-5,
        );
    }
    let x: Vec<f32> = noise32(5 * 64, 2).iter().map(|v| 1e3 + 0.017 * v).collect();
    let c = vec![1.0; 64];
    as_reference(
        "far from zero",
        &[F(&[5, 64], &x), F(&[64], &c)],
        |x| vec![x[0].batch_norm(x[1], x[1], 1e-5)[2]],
        7e-5,
    );
}

#[test]
fn running_variances_are_not_negative() {
    let (x, one, variance) = (vec![0.3; 64 * 8], vec![1.0; 8], vec![0.0; 8]);
    in_each_class(
        &[F(&[64, 8], &x), F(&[8], &one), F(&[8], &variance)],
        |x| {
            let [_, mean, rstd] = x[0].batch_norm(x[1], x[1], 1e-5);
            vec![x[0].batch_norm_running([mean, rstd], [x[2], x[2]], 1.0, 1e-5)[1]]
        },
        |class, y| assert!(y[0].iter().all(|&v| v >= 0.0), "{class}: {:?}", y[0]),
    );
}

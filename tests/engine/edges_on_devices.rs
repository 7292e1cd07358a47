//! Kernels at the edges of what they take, each by its smallest case and the right value, in every class of devices: not a
//! number, infinities, large logits, long sums.

use hillshade::engine::{Attention, Class, Conv, Data, Graph, Plan, Pool, Session, Step, Target, Tensor};

use crate::common::*;

const INFINITY: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// What makes results of operands, and a value of a value.
type Results = for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>;
type Function = for<'g> fn(Tensor<'g>) -> Tensor<'g>;

const CLASSES: [Class; 3] = [Class::GPU, Class::SOFTWARE, Class::Software { subgroups: true }];

/// An operand: its shape, and floats or indices.
enum X<'a> {
    F(&'a [usize], &'a [f32]),
    I(&'a [usize], &'a [u32]),
}

use X::{F, I};

/// The results of what is built on operands, on a session.
fn made(session: &mut Session, x: &[X], build: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>) -> Vec<Vec<f64>> {
    let g = Graph::new();
    let input = |(i, x): (usize, &X)| match x {
        F(shape, _) => g.input(&format!("x{i}"), shape),
        I(shape, _) => g.input_u32(&format!("x{i}"), shape),
    };
    let operands: Vec<Tensor> = x.iter().enumerate().map(input).collect();
    let y = build(&operands);
    let data = x.iter().map(|x| match x {
        F(_, x) => Data::F32(x),
        I(_, x) => Data::U32(x),
    });
    let feeds: Vec<_> = operands.iter().map(|x| x.var()).zip(data).collect();
    evaluate(session, &g, &y, feeds.as_slice())
}

/// Calls `check` with a class's name and the results in it.
fn in_each_class(x: &[X], build: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>, check: impl Fn(&str, Vec<Vec<f64>>)) {
    for class in CLASSES {
        let y = made(&mut Session::device(gpu_as(Some(class), false)), x, build);
        check(&format!("{class:?}"), y);
    }
}

/// The same in the classes of software adapters, for what GPUs have loops for that a software adapter would cut.
fn on_software(x: &[X], build: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>, check: impl Fn(&str, Vec<Vec<f64>>)) {
    for class in &CLASSES[1..] {
        check(&format!("{class:?}"), made(&mut Session::device(gpu_as(Some(*class), false)), x, build));
    }
}

/// Asserts that results are those of the reference, to a tolerance.
fn as_reference(what: &str, x: &[X], build: for<'g> fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>, tolerance: f64) {
    let want = made(&mut Session::reference(), x, build);
    in_each_class(x, build, |class, got| {
        for (got, want) in got.iter().zip(&want) {
            assert_close(&format!("{what} in {class}"), got, want, tolerance);
        }
    });
}

/// Whether two numbers are the same to a share of the second, NaN and infinities among them.
fn same(a: f64, b: f64, share: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= share * b.abs()
}

/// A function of one number, by numbers and right values.
fn function(what: &str, f: for<'g> fn(Tensor<'g>) -> Tensor<'g>, of: &[(f32, f64)], share: f64) {
    let x: Vec<f32> = of.iter().map(|p| p.0).collect();
    for class in CLASSES {
        let g = Graph::new();
        let input = g.input("x", &[x.len()]);
        let y = f(input);
        let feeds = [(input.var(), Data::F32(&x[..]))];
        let y = evaluate(&mut Session::device(gpu_as(Some(class), false)), &g, &[y], feeds.as_slice());
        for (&(x, want), &got) in of.iter().zip(&y[0]) {
            assert!(same(got, want, share), "{what}({x}) in {class:?} is {got}, expected {want}");
        }
    }
}

// Loops that a software adapter cut.

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

// NaN, infinities, and other numbers that are easily forgotten.

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

// No launch has loops of more passes than a software adapter goes through.

/// Passes of an invocation's loops in launches whose loops depend on extents, as far as they grow with these.
fn passes(launch: &hillshade::engine::Launch) -> Option<u64> {
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

//! The CPU executors at the edges of what they take, each by its smallest case and the right value, on the host and in the
//! reference. Right values are by hand, of sums in f64, or PyTorch's.

use std::f32::consts::{LN_2, SQRT_2};

use hillshade::engine::{
    Attention, Class, Conv, Data, Geometry, Graph, Plan, Pool, Rule, Session, Target, Tensor,
    ops::{BatchNorm, Conv2d, RunningVariance},
};

use crate::common::*;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// No inputs.
const NOTHING: &[(&str, Data)] = &[];

/// An operand: its shape and its data.
type Given<'a> = (&'a [usize], Data<'a>);

/// What is built on operands gives this on the host and on the reference.
fn on_cpus(x: &[Given], build: impl for<'g> Fn(&[Tensor<'g>]) -> Vec<Tensor<'g>>) -> [Vec<Vec<f64>>; 2] {
    let g = Graph::new();
    let operand = |(i, (shape, data)): (usize, &Given)| match data {
        Data::F32(_) => g.input(&format!("x{i}"), shape),
        Data::U32(_) => g.input_u32(&format!("x{i}"), shape),
    };
    let operands: Vec<Tensor> = x.iter().enumerate().map(operand).collect();
    let y = build(&operands);
    g.check().expect("no rule is broken");
    let inputs: Vec<_> = vars(&operands).into_iter().zip(x.iter().map(|x| x.1)).collect();
    [Session::host(), Session::reference()].map(|mut session| evaluate(&mut session, &g, &y, inputs.as_slice()))
}

/// [`on_cpus`] of floats of one axis and one result.
fn floats_on_cpus(x: &[&[f32]], build: impl for<'g> Fn(&[Tensor<'g>]) -> Tensor<'g>) -> [Vec<f64>; 2] {
    let shapes: Vec<[usize; 1]> = x.iter().map(|x| [x.len()]).collect();
    let x: Vec<Given> = shapes.iter().zip(x).map(|(shape, &x)| (&shape[..], Data::F32(x))).collect();
    on_cpus(&x, |x| vec![build(x)]).map(|mut y| y.remove(0))
}

/// Whether a number, rounded to f32, is the right one: of the same kind, or within a share of it.
fn is(got: f64, right: f64, share: f64) -> bool {
    let (got, right) = (f64::from(got as f32), f64::from(right as f32));
    got == right || got.is_nan() && right.is_nan() || (got - right).abs() <= share * right.abs()
}

#[track_caller]
fn expect(what: &str, got: &[Vec<f64>; 2], right: &[f64], share: f64) {
    for (on, got) in ["host", "reference"].into_iter().zip(got) {
        let fits = got.len() == right.len() && got.iter().zip(right).all(|(&got, &right)| is(got, right, share));
        assert!(fits, "{what} on the {on}: {got:?}, right {right:?}");
    }
}

/// The right values come from the other executor, in f64, to so much of the largest.
#[track_caller]
fn expect_alike(what: &str, [host, reference]: &[Vec<Vec<f64>>; 2], tolerance: f64) {
    host.iter().zip(reference).enumerate().for_each(|(i, (got, right))| {
        assert!(right.iter().all(|v| v.is_finite()), "{what}, result {i}");
        assert_close(&format!("{what}, result {i}"), got, right, tolerance);
    });
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// The smallest number, the largest that is smaller than normal ones, the largest.
const TINY: f32 = 1e-45;
const SMALL: f32 = -1.1754942e-38;
const MAX: f32 = f32::MAX;

/// Numbers on which functions of one are tried.
const ONE: [f32; 11] = [NAN, INF, -INF, 0.0, -0.0, TINY, SMALL, MAX, -MAX, -17.0, 0.5];

/// A function of one number and PyTorch's values of it at these.
type Row = (&'static str, for<'g> fn(Tensor<'g>) -> Tensor<'g>, [f32; 11]);

/// The exception is the sign of what is not a number, 0 by PyTorch: here none is hidden.
#[rustfmt::skip]
const TABLE: [Row; 21] = [
    ("abs", |x| x.abs(), [NAN, INF, INF, 0.0, 0.0, TINY, -SMALL, MAX, MAX, 17.0, 0.5]),
    ("neg", |x| -x, [NAN, -INF, INF, -0.0, 0.0, -TINY, -SMALL, -MAX, MAX, 17.0, -0.5]),
    ("sign", |x| x.sign(), [NAN, 1.0, -1.0, 0.0, 0.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0]),
    ("exp", |x| x.exp(), [NAN, INF, 0.0, 1.0, 1.0, 1.0, 1.0, INF, 0.0, 4.1399378e-8, 1.6487212]),
    ("log", |x| x.log(), [NAN, INF, NAN, -INF, -INF, -103.27893, NAN, 88.72284, NAN, NAN, -LN_2]),
    ("sqrt", |x| x.sqrt(), [NAN, INF, NAN, 0.0, -0.0, 3.743392e-23, NAN, 1.8446743e19, NAN, NAN, 0.70710677]),
    ("rsqrt", |x| x.rsqrt(), [NAN, 0.0, NAN, INF, -INF, 2.6713738e22, NAN, 5.421011e-20, NAN, NAN, SQRT_2]),
    ("recip", |x| x.recip(),
        [NAN, 0.0, -0.0, INF, -INF, INF, -8.50706e37, 2.938736e-39, -2.938736e-39, -0.05882353, 2.0]),
    ("sin", |x| x.sin(), [NAN, NAN, NAN, 0.0, -0.0, TINY, SMALL, -0.5218765, 0.5218765, 0.96139747, 0.47942555]),
    ("cos", |x| x.cos(), [NAN, NAN, NAN, 1.0, 1.0, 1.0, 1.0, 0.853021, 0.853021, -0.27516335, 0.87758255]),
    ("tanh", |x| x.tanh(), [NAN, 1.0, -1.0, 0.0, -0.0, TINY, SMALL, 1.0, -1.0, -1.0, 0.46211717]),
    ("sigmoid", |x| x.sigmoid(), [NAN, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 0.0, 4.1399375e-8, 0.62245935]),
    ("softplus", |x| x.softplus(), [NAN, INF, 0.0, LN_2, LN_2, LN_2, LN_2, MAX, 0.0, 4.1399375e-8, 0.974077]),
    ("erf", |x| x.erf(), [NAN, 1.0, -1.0, 0.0, -0.0, TINY, -1.3264031e-38, 1.0, -1.0, -1.0, 0.5204999]),
    ("gelu", |x| x.gelu(), [NAN, INF, NAN, 0.0, -0.0, 0.0, -5.877472e-39, MAX, -0.0, -0.0, 0.34573123]),
    ("gelu_tanh", |x| x.gelu_tanh(), [NAN, INF, NAN, 0.0, -0.0, 0.0, -5.877472e-39, MAX, -0.0, -0.0, 0.345714]),
    ("silu", |x| x.silu(), [NAN, INF, NAN, 0.0, -0.0, 0.0, -5.877472e-39, MAX, -0.0, -7.037894e-7, 0.31122968]),
    ("relu", |x| x.relu(), [NAN, INF, 0.0, 0.0, -0.0, TINY, 0.0, MAX, 0.0, 0.0, 0.5]),
    ("leaky_relu", |x| x.leaky_relu(0.25),
        [NAN, INF, -INF, 0.0, -0.0, TINY, -2.938736e-39, MAX, -8.5070587e37, -4.25, 0.5]),
    ("clamp", |x| x.clamp(-0.75, 0.5), [NAN, 0.5, -0.75, 0.0, -0.0, TINY, SMALL, 0.5, -0.75, -0.75, 0.5]),
    ("affine", |x| x.affine(2.0, 1.0), [NAN, INF, -INF, 1.0, 1.0, 1.0, 1.0, INF, -INF, -33.0, 2.0]),
];

#[test]
fn functions_of_one_number_are_pytorchs_everywhere() {
    for (name, apply, right) in TABLE {
        // Long enough for whole vectors, and with a rest.
        let x: Vec<f32> = ONE.into_iter().cycle().take(11 * 13).collect();
        let right: Vec<f64> = wide(&right).into_iter().cycle().take(x.len()).collect();
        expect(name, &floats_on_cpus(&[&x], |x| apply(x[0])), &right, 4e-7);
    }
}

/// A function of two numbers, and pairs with PyTorch's values.
type Pairs = (&'static str, for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>, &'static [[f32; 3]]);

#[rustfmt::skip]
const PAIRS: [Pairs; 14] = [
    ("add", |a, b| a + b, &[[NAN, 1.0, NAN], [INF, -INF, NAN], [MAX, MAX, INF], [TINY, TINY, 2.8e-45], [INF, 1.0, INF]]),
    ("sub", |a, b| a - b, &[[1.0, NAN, NAN], [INF, INF, NAN], [-MAX, MAX, -INF], [TINY, TINY, 0.0], [1.0, INF, -INF]]),
    ("mul", |a, b| a * b, &[[NAN, 0.0, NAN], [INF, 0.0, NAN], [MAX, 2.0, INF], [TINY, 0.25, 0.0], [-INF, 2.0, -INF]]),
    ("div", |a, b| a / b, &[[0.0, 0.0, NAN], [INF, INF, NAN], [1.0, 0.0, INF], [-1.0, 0.0, -INF], [1.0, -INF, 0.0], [NAN, INF, NAN]]),
    ("max", |a, b| a.max(b), &[[NAN, 1.0, NAN], [1.0, NAN, NAN], [NAN, NAN, NAN], [-INF, -MAX, -MAX], [INF, NAN, NAN], [2.0, 1.0, 2.0], [1.0, 2.0, 2.0]]),
    ("min", |a, b| a.min(b), &[[NAN, 1.0, NAN], [1.0, NAN, NAN], [NAN, NAN, NAN], [INF, MAX, MAX], [-INF, NAN, NAN], [2.0, 1.0, 1.0], [1.0, 2.0, 1.0]]),
    ("pow", |a, b| a.pow(b), &[
        [NAN, 0.0, 1.0], [1.0, NAN, 1.0], [NAN, 1.0, NAN], [2.0, NAN, NAN], [-2.0, 2.0, 4.0], [-2.0, 3.0, -8.0],
        [-2.0, -3.0, -0.125], [-2.0, 0.5, NAN], [-8.0, 0.333_333_34, NAN], [0.0, 0.0, 1.0], [0.0, 2.0, 0.0],
        [0.0, -1.0, INF], [-0.0, -1.0, -INF], [-0.0, 3.0, -0.0], [0.0, 0.5, 0.0], [INF, -1.0, 0.0], [INF, 0.0, 1.0],
        [-INF, 3.0, -INF], [-INF, 2.0, INF], [-1.0, INF, 1.0], [0.5, INF, 0.0], [2.0, -INF, 0.0], [2.0, INF, INF],
        [MAX, 2.0, INF], [MAX, -1.0, 2.938736e-39], [TINY, -1.0, INF], [TINY, 0.5, 3.743392e-23], [-3.0, 0.0, 1.0],
    ]),
    ("eq", |a, b| a.eq(b), &[[NAN, NAN, 0.0], [0.0, -0.0, 1.0], [INF, INF, 1.0], [TINY, 0.0, 0.0]]),
    ("ne", |a, b| a.ne(b), &[[NAN, NAN, 1.0], [NAN, 1.0, 1.0], [0.0, -0.0, 0.0], [INF, INF, 0.0], [TINY, 0.0, 1.0]]),
    ("lt", |a, b| a.lt(b), &[[NAN, 1.0, 0.0], [1.0, NAN, 0.0], [-INF, -MAX, 1.0], [0.0, TINY, 1.0], [-0.0, 0.0, 0.0]]),
    ("le", |a, b| a.le(b), &[[NAN, NAN, 0.0], [-0.0, 0.0, 1.0], [0.0, -0.0, 1.0], [MAX, INF, 1.0]]),
    ("gt", |a, b| a.gt(b), &[[NAN, 1.0, 0.0], [INF, MAX, 1.0], [TINY, 0.0, 1.0]]),
    ("ge", |a, b| a.ge(b), &[[NAN, NAN, 0.0], [-0.0, 0.0, 1.0], [INF, INF, 1.0]]),
    // The gradient of a ReLU: PyTorch's threshold_backward.
    ("mask", |a, b| a.relu_mask(b), &[[NAN, 3.0, 3.0], [1.0, NAN, NAN], [0.0, NAN, 0.0], [-1.0, INF, 0.0], [TINY, 2.0, 2.0], [-0.0, 2.0, 0.0], [INF, 2.0, 2.0]]),
];

#[test]
fn functions_of_two_numbers_are_pytorchs_everywhere() {
    for (name, apply, pairs) in PAIRS {
        let of = |i: usize| -> Vec<f32> { pairs.iter().map(|p| p[i]).cycle().take(13 * pairs.len()).collect() };
        expect(name, &floats_on_cpus(&[&of(0), &of(1)], |x| apply(x[0], x[1])), &wide(&of(2)), 4e-7);
    }
}

#[test]
fn select_takes_what_is_not_a_number_for_true() {
    let got = floats_on_cpus(&[&[NAN, 0.0, -0.0, TINY], &[1.0; 4], &[NAN; 4]], |x| x[0].select(x[1], x[2]));
    expect("select", &got, &[1.0, f64::NAN, f64::NAN, 1.0], 0.0);
}

/// The slopes of `aᵇ` in both, where their factors are zero times infinity; PyTorch's.
#[test]
fn powers_have_slopes() {
    let (a, b) = ([0.0, 0.0, 0.0, -2.0, -2.0, 3.0, 0.0], [0.0, 1.0, 2.0, 2.0, 3.0, 0.0, -1.0]);
    let slope = |i: usize| floats_on_cpus(&[&a, &b], |x| x[0].pow(x[1]).sum_all().grad(x).expect("it has rules")[i]);
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    expect("in a", &slope(0), &[0.0, 1.0, 0.0, -4.0, 12.0, 0.0, -infinity], 1e-6);
    expect("in b", &slope(1), &[0.0, 0.0, 0.0, nan, nan, f64::ln(3.0), -infinity], 1e-6);
    let second = |x: &[Tensor<'_>]| {
        let v = x[0].fill_like(1.0);
        x[0].pow(x[1]).sum_all().hvp(&x[..1], &[v]).is_ok()
    };
    let bent = floats_on_cpus(&[&a[1..6], &b[1..6]], |x| {
        assert!(second(x));
        x[0].pow(x[1]).sum_all().hvp(&x[..1], &[x[0].fill_like(1.0)]).expect("it has rules")[0]
    });
    expect("twice", &bent, &[0.0, 2.0, 2.0, -12.0, 0.0], 1e-6);
}

#[test]
fn reductions_hide_nothing() {
    // Rows in which the first, a middle and the last number are not, infinite ones, and all alike.
    let rows = |n: usize| -> Vec<f32> {
        let mut x: Vec<f32> = (0..7 * n).map(|i| (i % n) as f32 * 0.25).collect();
        x[0] = NAN;
        (x[n + n / 2], x[n + n - 1]) = (NAN, NAN);
        x[2 * n + n - 1] = NAN;
        x[3 * n..4 * n].fill(-INF);
        x[4 * n..5 * n].fill(NAN);
        x[5 * n + 1] = INF;
        x[6 * n..7 * n].fill(-MAX);
        x
    };
    for n in [3, 67, 5003] {
        let x = rows(n);
        let columns: Vec<f32> = (0..7 * n).map(|i| x[i % 7 * n + i / 7]).collect();
        for (data, shape, axis) in [(x, [7, n], 1), (columns, [n, 7], 0)] {
            let got = on_cpus(&[(&shape, Data::F32(&data))], |x| {
                let x = x[0];
                let sums = x.softmax(axis).sum(&[axis]);
                vec![x.max_over(&[axis]), x.argmax(axis), x.logsumexp(&[axis]), sums, x.sum(&[axis])]
            });
            let (nan, infinity, max) = (f64::NAN, f64::INFINITY, f64::from(MAX));
            let middle = if n == 3 { 1 } else { n / 2 } as f64;
            let last = (n - 1) as f64;
            let result = |i: usize| got.each_ref().map(|y| y[i].clone());
            expect("max_over", &result(0), &[nan, nan, nan, -infinity, nan, infinity, -max], 0.0);
            expect("argmax", &result(1), &[0.0, middle, last, 0.0, 0.0, 1.0, 0.0], 0.0);
            expect("logsumexp", &result(2), &[nan, nan, nan, -infinity, nan, infinity, -max], 1e-6);
            expect("softmax", &result(3), &[nan, nan, nan, nan, nan, nan, 1.0], 1e-6);
            expect("sum", &result(4), &[nan, nan, nan, -infinity, nan, infinity, -infinity], 1e-6);
        }
    }
}

/// The slope of a maximum of −∞ goes to all that attain it.
#[test]
fn the_slope_of_infinite_maxima_stays_among_them() {
    let got = floats_on_cpus(&[&[-INF; 4]], |x| x[0].max_over(&[0]).grad(x).expect("it has rules")[0]);
    expect("max_over", &got, &[0.25; 4], 0.0);
}

/// Windows of −∞ and with what is not a number: PyTorch's places, and gradients that stay in the window.
#[test]
fn windows_of_pools_hide_nothing() {
    let x = [1.0, 2.0, -INF, -INF, 3.0, NAN, -INF, -INF, NAN, 5.0, 1.0, 1.0, NAN, 6.0, 1.0, INF];
    let got = on_cpus(&[(&[1, 4, 4, 1], Data::F32(&x))], |x| {
        let [y, at] = x[0].max_pool(Pool::square(2));
        let gradient = y.sum_all().grad(x).expect("it has rules")[0];
        vec![y, at, gradient]
    });
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    let result = |i: usize| got.each_ref().map(|y| y[i].clone());
    expect("max_pool", &result(0), &[nan, -infinity, nan, infinity], 0.0);
    expect("its places", &result(1), &[5.0, 2.0, 12.0, 15.0], 0.0);
    let right: Vec<f64> = (0..16).map(|i| f64::from(u8::from([5, 2, 12, 15].contains(&i)))).collect();
    expect("its gradient", &result(2), &right, 0.0);
    // In the second of two images, with a margin.
    let mut x = [0.0; 2 * 3 * 3 * 2];
    x[18..].fill(-INF);
    let pool = Pool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
    for places in on_cpus(&[(&[2, 3, 3, 2], Data::F32(&x))], |x| vec![x[0].max_pool(pool)[1]]) {
        assert!(places[0][8..].iter().all(|&at| (18.0..36.0).contains(&at)), "{places:?}");
    }
}

/// Epilogues: a ReLU and its mask behind a convolution and a batch normalization.
#[test]
fn epilogues_hide_nothing() {
    let x: Vec<f32> = (0..2 * 6 * 6 * 16).map(|i| if i == 77 { NAN } else { (i % 7) as f32 - 3.0 }).collect();
    let w: Vec<f32> = (0..3 * 3 * 16 * 16).map(|i| (i % 5) as f32 - 2.0).collect();
    let shape = [2, 6, 6, 16];
    let operands = [(&shape[..], Data::F32(&x)), (&[3, 3, 16, 16], Data::F32(&w))];
    for padded in [Conv::padded(1), Conv { dilation: [2, 2], ..Conv::padded(2) }] {
        let got = on_cpus(&operands, |x| {
            let (g, shape) = (x[0].graph(), &shape);
            let gamma = g.fill(&[16], 1.0);
            let relu = Conv2d { relu: true, ..Conv2d::new(padded) };
            let mask = Conv2d { mask: true, ..Conv2d::new(padded) };
            let norm = BatchNorm { eps: 1e-5, residual: false, relu: true };
            let ones = g.fill(shape, 1.0);
            let made = [
                g.apply_all(relu, x),
                g.apply_all(mask.clone(), &[ones, x[1], x[0]]),
                g.apply_all(mask, &[x[0], x[1], ones]),
                g.apply_all(norm, &[x[0], gamma, gamma]),
            ];
            made.map(|made| made.expect("the shapes fit")[0]).to_vec()
        });
        for y in got {
            // Where the mask is not a number the value is kept; each other result meets the number.
            assert!(y[0].iter().any(|v| v.is_nan()) && y[2].iter().any(|v| v.is_nan()));
            assert!(y[1][77] != 0.0 && y[1].iter().all(|v| v.is_finite()));
            assert!(y[3].iter().skip(77 % 16).step_by(16).all(|v| v.is_nan()));
        }
    }
}

fn rows(x: Tensor) -> Tensor {
    x.sum(&[1])
}

/// Normalizations of rows and the cells of an LSTM with what is not a number; halves of what they have no room for.
#[test]
fn fused_ops_hide_nothing() {
    let x = [1.0, NAN, 2.0, 3.0, 1.0, INF, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0];
    let got = on_cpus(&[(&[3, 4], Data::F32(&x))], |x| {
        let (g, gamma) = (x[0].graph(), x[0].graph().fill(&[4], 1.0));
        let [y, mean, rstd] = x[0].layer_norm(gamma, gamma, 1e-5);
        let [of_root, _] = x[0].rms_norm(gamma, 1e-5);
        let gradient = y.sum_all().grad(x).expect("it has rules")[0];
        // Gates from the rows, which are one feature's.
        let [h, c, gates] = x[0].lstm_cell(g.fill(&[3, 1], 0.5));
        [y, of_root, gradient, gates].map(rows).into_iter().chain([mean, rstd, rows(h), rows(c)]).collect()
    });
    for y in &got {
        // What is infinite has a place among gates, and in a root mean square, but no mean.
        let bad: Vec<_> = y.iter().map(|y| [y[0].is_nan(), y[1].is_nan(), y[2].is_nan()]).collect();
        let (all, one) = ([true, true, false], [true, false, false]);
        assert_eq!(bad, [all, all, all, one, all, all, one, one], "{y:?}");
    }
    let (x, small) = ([NAN, INF, -INF, 65519.0, 65520.0, MAX, -MAX], [5.9604645e-8, 2.9802322e-8, TINY]);
    let x = [&x[..], &small].concat();
    let right = [NAN, INF, -INF, 65504.0, INF, INF, -INF, 5.9604645e-8, 0.0, 0.0];
    expect("pack_f16", &floats_on_cpus(&[&x], |x| x[0].pack_f16().unpack_f16(&[10])), &wide(&right), 0.0);
}

fn loss<'g>(x: &[Tensor<'g>]) -> Tensor<'g> {
    x[0].cross_entropy(x[1])[0].sum_all()
}

/// Cross-entropy with what is not a number, and with masked logits.
#[test]
fn cross_entropy_hides_nothing() {
    let logits = [1.0, NAN, 3.0, 1.0, -INF, 1.0, 1.0, -INF, 1.0];
    let x = [(&[3, 3][..], Data::F32(&logits)), (&[3], Data::U32(&[0, 2, 1]))];
    let got = on_cpus(&x, |x| vec![x[0].cross_entropy(x[1])[0], loss(x).grad(&x[..1]).expect("it has rules")[0]]);
    let (nan, half) = (f64::NAN, 0.5);
    expect("loss", &got.each_ref().map(|y| y[0].clone()), &[nan, LN_2.into(), f64::INFINITY], 1e-6);
    let right = [nan, nan, nan, half, 0.0, -half, half, -1.0, half];
    expect("gradient", &got.each_ref().map(|y| y[1].clone()), &right, 1e-6);
}

/// Probabilities of large logits have all digits: the gradient of `[z, z]` is `[−½, ½]`, however large z is.
#[test]
fn probabilities_of_large_logits_are_exact() {
    for z in [1e4, 1e7, 1e8, 3e9, 1e20, -1e8] {
        let logits = [z, z];
        let x = [(&[1, 2][..], Data::F32(&logits)), (&[1], Data::U32(&[0]))];
        let got = on_cpus(&x, |x| {
            let gradient = loss(x).grad(&x[..1]).expect("it has rules")[0];
            let v = x[0].graph().literal(&[1, 2], &[1.0, 0.0]);
            let hvp = loss(x).hvp(&x[..1], &[v]).expect("it has rules")[0];
            let slope = x[0].graph().jvp(&[loss(x)], &x[..1], &[v]).expect("it has rules")[0];
            let weights = x[0].logsumexp(&[1]).sum_all().grad(&x[..1]).expect("it has rules")[0];
            vec![gradient, hvp, slope, x[0].softmax(1), weights, x[0].cross_entropy(x[1])[0]]
        });
        let right: [&[f64]; 6] = [&[-0.5, 0.5], &[0.25, -0.25], &[-0.5], &[0.5, 0.5], &[0.5, 0.5], &[LN_2.into()]];
        for (i, right) in right.into_iter().enumerate() {
            expect(&format!("{z:e}, result {i}"), &got.each_ref().map(|y| y[i].clone()), right, 3e-7);
        }
    }
    // Gradients sum to zero: many classes, far from zero, of differences that f32 has.
    let logits: Vec<f32> = (0..1000).map(|i| 1e4 + (i * 7 % 13) as f32 * 0.25).collect();
    let x = [(&[1, 1000][..], Data::F32(&logits)), (&[1], Data::U32(&[5]))];
    let got = on_cpus(&x, |x| vec![loss(x).grad(&x[..1]).expect("it has rules")[0], x[0].softmax(1)]);
    assert!(got.iter().all(|y| y[0].iter().sum::<f64>().abs() < 1e-6));
    expect_alike("1000 classes at 1e4", &got, 1e-6);
}

const ATTENTION: Attention = Attention { causal: false, scale: 1.0 };

/// `[1, t, 1, 1]`.
fn sequence(x: &[f32]) -> ([usize; 4], Data<'_>) {
    ([1, x.len(), 1, 1], Data::F32(x))
}

/// Two keys of equal score, however large it is: by hand.
#[test]
fn attention_of_large_scores_is_exact() {
    for size in [10.0, 1e4, 1e6] {
        let (q, k) = ([size], [size, size]);
        let [q, k, v] = [sequence(&q), sequence(&k), sequence(&[1.0, 0.0])];
        let got = on_cpus(&[(&q.0, q.1), (&k.0, k.1), (&v.0, v.1)], |x| {
            let g = x[0].graph();
            let [y, lse] = x[0].attention(x[1], x[2], ATTENTION, None);
            let gradient = y.sum_all().grad(x).expect("it has rules");
            let moved = g.literal(&[1, 2, 1, 1], &[1.0 / size, 0.0]);
            let dy = g.jvp(&[y, lse], &x[1..2], &[moved]).expect("it has rules");
            let hvp = y.sum_all().hvp(&x[1..2], &[moved]).expect("it has rules");
            [vec![y], gradient, dy, hvp].concat()
        });
        let s = f64::from(size);
        let quarter = s / 4.0;
        // y = p, p' = p (1 − p) s': of both scores a quarter; its own slope is zero at one half.
        let right: [&[f64]; 7] = [&[0.5], &[0.0], &[quarter, -quarter], &[0.5, 0.5], &[0.25], &[0.5], &[0.0, 0.0]];
        for (i, right) in right.into_iter().enumerate() {
            expect(&format!("{size:e}, result {i}"), &got.each_ref().map(|y| y[i].clone()), right, 1e-6);
        }
    }
}

/// Scores far from zero, of differences that f32 has, over several blocks of keys and queries: derivatives up to the third,
/// whose graph is the plain one.
#[test]
fn attention_far_from_zero_has_derivatives() {
    const SHAPE: [usize; 4] = [1, 130, 2, 2];
    let near = |stream: u32, by: f32| noise32(520, stream).into_iter().map(move |v| (v * 4.0).round() / 4.0 * by);
    // Scores are 2¹⁴ and multiples of ¼.
    let q: Vec<f32> = near(1, 1.0).enumerate().map(|(i, v)| if i % 2 == 0 { 128.0 } else { v }).collect();
    let k: Vec<f32> = near(2, 2.0).enumerate().map(|(i, v)| if i % 2 == 0 { 128.0 } else { v }).collect();
    let v: Vec<f32> = near(3, 1.0).collect();
    let x = [&q, &k, &v].map(|x| (&SHAPE[..], Data::F32(x)));
    for causal in [false, true] {
        let got = on_cpus(&x, |x| {
            let g = x[0].graph();
            let [y, lse] = x[0].attention(x[1], x[2], Attention { causal, scale: 1.0 }, None);
            let weighed = (y * noise_like(y, 7).expect("a shape")).sum_all();
            let moves: Vec<Tensor> = (8..11).map(|s| noise_like(x[0], s).expect("a shape")).collect();
            let first = weighed.grad(x).expect("it has rules");
            let tangents = g.jvp(&[y, lse], x, &moves).expect("it has rules");
            let second = weighed.hvp(x, &moves).expect("it has rules");
            let third = g.jvp(&second, x, &moves).expect("it has rules");
            [vec![y], first, tangents, second, third].concat()
        });
        expect_alike(&format!("causal {causal}"), &got, 2e-4);
    }
}

/// What is not a number in q, k or v, and scores of −∞ alone, of which there is no softmax.
#[test]
fn attention_hides_nothing() {
    let ([one, two], nan) = ([1.0, 2.0], NAN);
    for (q, k, v) in [([nan], [one, two], [one, two]), ([one], [nan, two], [one, two]), ([one], [one, two], [one, nan])]
    {
        let [q, k, v] = [sequence(&q), sequence(&k), sequence(&v)];
        let got = on_cpus(&[(&q.0, q.1), (&k.0, k.1), (&v.0, v.1)], |x| {
            let [y, _] = x[0].attention(x[1], x[2], ATTENTION, None);
            vec![y, y.sum_all().grad(x).expect("it has rules")[0]]
        });
        got.iter().for_each(|y| assert!(y.iter().flatten().all(|v| v.is_nan()), "{got:?}"));
    }
    let [q, k, v] = [sequence(&[1.0]), sequence(&[-INF, -INF]), sequence(&[1.0, 2.0])];
    let got = on_cpus(&[(&q.0, q.1), (&k.0, k.1), (&v.0, v.1)], |x| {
        let [y, lse] = x[0].attention(x[1], x[2], ATTENTION, None);
        vec![y, lse]
    });
    got.iter().for_each(|y| assert!(y[0][0].is_nan() && y[1][0] == f64::NEG_INFINITY, "{got:?}"));
    // A query that sees no key has zeros, whatever the keys are.
    let [q, k, v] = [sequence(&[1.0, 1.0]), sequence(&[3.0]), sequence(&[5.0])];
    let how = Attention { causal: true, scale: 1.0 };
    let got = on_cpus(&[(&q.0, q.1), (&k.0, k.1), (&v.0, v.1)], |x| {
        let [y, _] = x[0].attention(x[1], x[2], how, None);
        [vec![y], y.sum_all().grad(x).expect("it has rules")].concat()
    });
    got.iter().for_each(|y| assert_eq!((y[0].as_slice(), y[3].as_slice()), (&[0.0, 5.0][..], &[1.0][..])));
}

/// The mean of 2e7 times 0.1, of rows and columns of it, and rows that many others are added to.
#[test]
fn long_sums_do_not_drift() {
    let tenth = f64::from(0.1_f32);
    let mean = |shape: &[usize], axes: &[usize]| {
        let g = Graph::new();
        let y = g.fill(shape, 0.1).mean(axes);
        evaluate(&mut Session::host(), &g, &[y], NOTHING)
    };
    for (shape, axes) in [(&[20_000_000][..], &[0][..]), (&[200_000, 3], &[0]), (&[40_000, 67], &[0]), (&[3, 63], &[1])]
    {
        let got = mean(shape, axes);
        assert!(got[0].iter().all(|&v| (v - tenth).abs() < 1e-6 * tenth), "{shape:?}: {:?}", got[0]);
    }
    const TERMS: usize = 131_075;
    let (x, rows) = (vec![0.1; TERMS], vec![0; TERMS]);
    let got = on_cpus(&[(&[TERMS], Data::F32(&x)), (&[TERMS], Data::U32(&rows))], |x| vec![x[0].scatter_add(x[1], 2)]);
    expect("scatter_add", &got.map(|mut y| y.remove(0)), &[TERMS as f64 * tenth, 0.0], 1e-7);
    // 262,144 classes alike.
    let zeros = vec![0.0; 262_144];
    let got = on_cpus(&[(&[1, 262_144], Data::F32(&zeros)), (&[1], Data::U32(&[3]))], |x| {
        vec![x[0].cross_entropy(x[1])[0], x[0].logsumexp(&[1])]
    });
    got.iter().flatten().for_each(|y| assert!(is(y[0], f64::ln(262_144.0), 1e-7), "{y:?}"));
}

/// Numbers in f32 around a mean.
fn around(mean: f32, spread: f32, len: usize) -> Vec<f32> {
    noise32(len, 4).into_iter().map(|v| mean + spread * v).collect()
}

/// The largest error of normalized numbers against those of the same numbers in f64.
fn off([host, reference]: &[Vec<Vec<f64>>; 2], result: usize) -> f64 {
    host[result].iter().zip(&reference[result]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Rows far from zero: mean 1e4, spread 0.015. PyTorch is off by 0.07.
#[test]
fn layer_norm_far_from_zero_is_right() {
    for (rows, width) in [(4, 768), (3, 5), (2, 200_000)] {
        let x = around(1e4, 0.015, rows * width);
        let noise = noise32(rows * width, 5);
        let got = on_cpus(&[(&[rows, width], Data::F32(&x)), (&[rows, width], Data::F32(&noise))], |x| {
            let g = x[0].graph();
            let (gamma, beta) = (g.fill(&[width], 1.0), g.fill(&[width], 0.0));
            let [y, mean, rstd] = x[0].layer_norm(gamma, beta, 1e-12);
            let gradient = (y * x[1]).sum_all().grad(&x[..1]).expect("it has rules")[0];
            let plain = (rstd.sum_all() * 1e-4 + mean.sum_all()).grad(&x[..1]).expect("it has rules")[0];
            vec![y, rstd, gradient, plain, x[0].variance(&[1])]
        });
        assert!(off(&got, 0) < 1e-5, "{width}: {}", off(&got, 0));
        expect_alike(&format!("{width}"), &got, 1e-5);
    }
}

/// What is constant is zero once its mean is taken off: in layer normalization, as whose rows group and instance normalization
/// are written, in batch normalization and in the variance.
#[test]
fn constants_are_normalized_to_zero() {
    for value in [0.1, 1.0 / 3.0, 1234.567, -7e5, 1e-30] {
        for [rows, width] in [[3, 5], [98, 12], [7, 49], [70, 1000], [2, 20_000], [20_000, 3]] {
            let x = vec![value; rows * width];
            let got = on_cpus(&[(&[rows, width], Data::F32(&x))], |x| {
                let (gamma, beta) = (x[0].graph().fill(&[width], 2.0), x[0].graph().fill(&[width], 0.0));
                let [of_rows, _, r] = x[0].layer_norm(gamma, beta, 1e-5);
                let [of_columns, _, s] = x[0].batch_norm(gamma, beta, 1e-5);
                vec![of_rows, of_columns, x[0].variance(&[0]), x[0].variance(&[1]), r, s]
            });
            for y in &got {
                let zeros = y[..2].iter().flatten().all(|&v| v == 0.0);
                // Graphs take a mean by a product with 1/n, which is rounded.
                let small = y[2..4].iter().flatten().all(|&v| v <= 1e-24 * f64::from(value).powi(2));
                let r = y[4..].iter().flatten().all(|&r| is(r, f64::sqrt(1e5), 1e-7));
                assert!(zeros && small && r, "{value}, {rows} × {width}: {zeros}, {small}, {r}");
            }
        }
    }
}

/// A running variance of constants that has arrived at zero stays there.
#[test]
fn running_variances_are_never_negative() {
    let rstd: Vec<f32> = (0..4096).map(|i| 316.22 + i as f32 * 1e-4).collect();
    let zeros = vec![0.0; 4096];
    let rule = RunningVariance { unbiased: 1.5, eps: 1e-5 };
    for plain in [false, true] {
        let got = floats_on_cpus(&[&zeros, &rstd, &[0.1]], |x| match plain {
            false => x[0].running_variance(rule, x[1], x[2]),
            true => rule.plain(&x[..1], x[1], x[2])[0],
        });
        assert!(got.iter().flatten().all(|&v| v >= 0.0));
    }
    let got = floats_on_cpus(&[&[1.0], &[NAN], &[0.1]], |x| x[0].running_variance(rule, x[1], x[2]));
    expect("not a number", &got, &[f64::NAN], 0.0);
}

/// Outliers first, means far from zero: what PyTorch is off by.
#[test]
fn batch_norm_has_right_moments() {
    let check = |what: &str, x: &[f32], [rows, channels]: [usize; 2], most: f64| {
        let got = on_cpus(&[(&[rows, channels], Data::F32(x))], |x| {
            let g = x[0].graph();
            let [y, _, rstd] = x[0].batch_norm(g.fill(&[channels], 1.0), g.fill(&[channels], 0.0), 1e-5);
            vec![y, rstd]
        });
        let share = |i: usize| off(&got, i) / got[1][i].iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        assert!(share(0) < most && share(1) < most, "{what}: y off by {:e}, rstd by {:e}", share(0), share(1));
    };
    for outlier in [1e4, 1e6] {
        let mut x = around(0.0, 1.0, 1 << 20);
        x[0] = outlier;
        check("an outlier", &x, [1 << 20, 1], 1e-6);
    }
    check("mean 1e3", &around(1e3, 1e-2, 5 * 64), [5, 64], 1e-6);
    check("mean 1e3, many rows", &around(1e3, 1e-2, 70_000 * 3), [70_000, 3], 1e-6);
}

/// Input gradients of all small convolutions, also where no window meets a pixel: planned for every class, and right on the
/// CPU, by sums over windows.
#[test]
fn input_gradients_of_all_small_convolutions_are_right() {
    let pairs = |n: usize| (0..n * n).map(move |i| [i / n, i % n]);
    let mut count = 0;
    for size in pairs(3).map(|s| s.map(|v| v + 1)) {
        for kernel in pairs(3).map(|s| s.map(|v| v + 1)) {
            for (stride, padding) in pairs(3).flat_map(|s| pairs(2).map(move |p| (s.map(|v| v + 1), p))) {
                let conv = Conv { stride, padding, ..Conv::default() };
                let (x, w) = ([1, size[0], size[1], 1], [kernel[0], kernel[1], 1, 1]);
                let Some(geometry) = Geometry::new(conv, &x, &w) else { continue };
                count += 1;
                let (ct, w) = (noise32(geometry.rows(), 1), noise32(kernel[0] * kernel[1], 2));
                let operands = [(&geometry.y()[..], Data::F32(&ct)), (&geometry.w()[..], Data::F32(&w))];
                let got = on_cpus(&operands, |x| {
                    let y = x[0].conv2d_input_grad(x[1], conv, size);
                    for class in [Class::GPU, Class::SOFTWARE] {
                        let target = Target::Device { class, storage_buffers: 8 };
                        Plan::new(target, y.graph(), &[y]).expect("it fits");
                    }
                    vec![y]
                });
                let mut right = vec![0.0; size[0] * size[1]];
                for (at, ct) in ct.iter().enumerate() {
                    for (tap, w) in w.iter().enumerate() {
                        let [i, j] = [at / geometry.out[1], at % geometry.out[1]];
                        let [a, b] = [tap / kernel[1], tap % kernel[1]];
                        let y = (i * stride[0] + a).wrapping_sub(padding[0]);
                        let x = (j * stride[1] + b).wrapping_sub(padding[1]);
                        if y < size[0] && x < size[1] {
                            right[y * size[1] + x] += f64::from(*ct) * f64::from(*w);
                        }
                    }
                }
                for got in &got {
                    assert_close(&format!("{geometry:?}"), &got[0], &right, 1e-6);
                }
            }
        }
    }
    assert!(count > 726, "{count} geometries");
}

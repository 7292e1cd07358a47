//! Every fusion: that it fires, and that what it becomes computes what the reference does without it.

use hillshade::engine::{Conv, Generator, Graph, Plan, Result, Session, Step, Target, Tensor, TestCase};

use crate::common::{Bench, Build, applied, assert_close, evaluate, gpu, noise32, pollster_block, unit};

const CONV: Conv = Conv { stride: [2, 1], padding: [1, 1], dilation: [1, 1], groups: 2 };

/// A graph that becomes one step when it is fused.
struct Fusion {
    case: TestCase,
    /// Steps before.
    from: usize,
    /// What the step is.
    into: &'static str,
}

/// Products of one kind and their sum.
fn two_terms() -> Vec<Fusion> {
    let fusion = |what: &str, x: Vec<Generator>, into, build: Build| Fusion {
        case: TestCase::one(what, x, build),
        from: 3,
        into,
    };
    let twice = |a: &[usize], b: &[usize]| vec![unit(a), unit(b), unit(a), unit(b)];
    vec![
        fusion("a b + c d", twice(&[2, 5, 7], &[2, 7, 3]), "ta: false, tb: false, terms: 2", |x| {
            x[0].matmul(x[1]) + x[2].matmul(x[3])
        }),
        fusion("aᵀ b + cᵀ d", twice(&[2, 7, 5], &[2, 7, 3]), "ta: true, tb: false, terms: 2", |x| {
            x[0].matmul_as(true, x[1], false) + x[2].matmul_as(true, x[3], false)
        }),
        fusion("a bᵀ + c dᵀ", twice(&[2, 5, 7], &[2, 3, 7]), "ta: false, tb: true, terms: 2", |x| {
            x[0].matmul_as(false, x[1], true) + x[2].matmul_as(false, x[3], true)
        }),
        fusion("x ⋆ w + x' ⋆ w'", twice(&[2, 7, 6, 4], &[3, 2, 2, 6]), "Conv2d {", |x| {
            x[0].conv2d(x[1], CONV) + x[2].conv2d(x[3], CONV)
        }),
        fusion("two input gradients", twice(&[2, 4, 7, 6], &[3, 2, 2, 6]), "Conv2dInputGrad", |x| {
            x[0].conv2d_input_grad(x[1], CONV, [7, 6]) + x[2].conv2d_input_grad(x[3], CONV, [7, 6])
        }),
        fusion("two weight gradients", twice(&[2, 7, 6, 4], &[2, 4, 7, 6]), "Conv2dWeightGrad", |x| {
            x[0].conv2d_weight_grad(x[1], CONV, [3, 2]) + x[2].conv2d_weight_grad(x[3], CONV, [3, 2])
        }),
    ]
}

/// Products with a bias, on either side of the sum.
fn biases() -> Vec<Fusion> {
    const MATMUL: &str = "Matmul { ta: false, tb: false, terms: 1, bias: true }";
    const CONV2D: &str = "terms: 1, bias: true";
    let (matrices, bias) = (|| vec![unit(&[2, 5, 7]), unit(&[2, 7, 3]), unit(&[3])], "a b + bias");
    let (images, shift) = (|| vec![unit(&[2, 7, 6, 4]), unit(&[3, 2, 2, 6]), unit(&[6])], "x ⋆ w + bias");
    let dense = vec![unit(&[4, 5, 7]), unit(&[7, 3]), unit(&[3])];
    let mut all: Vec<Fusion> = [
        (TestCase::one(bias, matrices(), |x| x[0].matmul(x[1]) + x[2]), MATMUL),
        (TestCase::one(bias, matrices(), |x| x[2] + x[0].matmul(x[1])), MATMUL),
        (TestCase::one(shift, images(), |x| x[0].conv2d(x[1], CONV) + x[2]), CONV2D),
        (TestCase::one(shift, images(), |x| x[2] + x[0].conv2d(x[1], CONV)), CONV2D),
        (TestCase::one("a dense layer", dense, |x| x[0].linear(x[1], x[2])), CONV2D),
    ]
    .map(|(case, into)| Fusion { case, from: 2, into })
    .into();
    for Fusion { case, .. } in two_terms().into_iter().take(4) {
        let n = if case.x[0].ty().shape.len() == 4 { 6 } else { 3 };
        let (what, x) = (format!("{} + bias", case.what), [case.x, vec![unit(&[n])]].concat());
        let case = TestCase::new(what, x, move |x| Ok(vec![(case.build)(&x[..4])?[0] + x[4]]));
        all.push(Fusion { case, from: 4, into: "terms: 2, bias: true" });
    }
    all
}

/// Batch normalization with what may follow it, its statistics wanted too.
fn norms() -> Vec<Fusion> {
    let mut all = Vec::new();
    for (residual, relu, first) in
        [(true, false, false), (true, false, true), (false, true, false), (true, true, false)]
    {
        let x = vec![unit(&[5, 3, 7]), unit(&[7]), unit(&[7]), unit(&[5, 3, 7])];
        let what = format!("batch_norm, residual {residual} (first {first}), relu {relu}");
        let case = TestCase::new(what, x, move |x| {
            let [mut y, mean, rstd] = x[0].batch_norm(x[1], x[2], 1e-5);
            if residual {
                y = if first { x[3] + y } else { y + x[3] };
            }
            if relu {
                y = y.relu();
            }
            Ok(vec![y, mean, rstd])
        });
        let into = match (residual, relu) {
            (true, true) => "residual: true, relu: true",
            (true, false) => "residual: true, relu: false",
            _ => "residual: false, relu: true",
        };
        all.push(Fusion { case, from: 1 + usize::from(residual) + usize::from(relu), into });
    }
    all
}

/// Epilogues of convolutions.
fn epilogues() -> Vec<Fusion> {
    type End = for<'g> fn(Tensor<'g>, &[Tensor<'g>]) -> Tensor<'g>;
    let fusion = |what: &str, more: &[&[usize]], from, into, end: End| {
        let shapes = [&[&[2, 7, 6, 4][..], &[3, 2, 2, 6]], more].concat();
        let x = shapes.into_iter().map(unit).collect();
        let case = TestCase::one(format!("x ⋆ w, {what}"), x, move |x| end(x[0].conv2d(x[1], CONV), &x[2..]));
        Fusion { case, from, into }
    };
    const Y: &[usize] = &[2, 4, 7, 6];
    let biased = "bias: true, residual: false, mask: false, relu: true";
    let whole = "bias: true, residual: true, mask: false, relu: true";
    vec![
        fusion("relu", &[], 2, "relu: true", |y, _| y.relu()),
        fusion("bias, relu", &[&[6]], 3, biased, |y, x| (y + x[0]).relu()),
        fusion("residual", &[Y], 2, "residual: true, mask: false, relu: false", |y, x| x[0] + y),
        fusion("bias, residual, relu", &[&[6], Y], 4, whole, |y, x| (y + x[0] + x[1]).relu()),
        fusion("residual, mask", &[Y, Y], 3, "residual: true, mask: true", |y, x| x[1].relu_mask(y + x[0])),
    ]
}

/// A convolution whose channels are scaled and shifted, as by batch normalization in evaluation mode: the scale goes into
/// the weights.
#[test]
fn scales_of_channels_go_into_the_weights() {
    let (mut device, mut host, mut reference) = (Session::device(gpu(false)), Session::host(), Session::reference());
    for scale_first in [false, true] {
        let x = vec![unit(&[2, 7, 6, 4]), unit(&[3, 2, 2, 6]), unit(&[6]), unit(&[6])];
        let b = Bench::new(&TestCase::one("scale, shift, relu", x, move |x| {
            let y = x[0].conv2d(x[1], CONV);
            let scaled = if scale_first { x[2] * y } else { y * x[2] };
            (scaled + x[3]).relu()
        }));
        let plan = b.plan(Target::GPU);
        let steps = applied(&plan);
        assert!(steps.len() == 2 && steps[1].contains("relu: true"), "{plan}");
        let Step::Apply { y, .. } = &plan.steps[0] else { panic!("{plan}") };
        assert_eq!(y[0].1.shape, [3, 2, 2, 6], "{plan}");
        let want = b.values(&mut reference);
        for session in [&mut device, &mut host] {
            assert_close("scale, shift, relu", &b.values(session)[0], &want[0], 2e-6);
        }
    }
}

/// Every line of the table of fusions: one step, and on device and host what the reference computes unfused.
#[test]
fn fusions_fire_and_agree() {
    let (mut device, mut host, mut reference) = (Session::device(gpu(false)), Session::host(), Session::reference());
    let all = two_terms().into_iter().chain(biases()).chain(norms()).chain(epilogues());
    for Fusion { case, from, into } in all {
        let b = Bench::new(&case);
        let plain = b.plan(Target::Reference);
        assert_eq!(applied(&plain).len(), from, "{}:\n{plain}", case.what);
        for target in [Target::Host, Target::GPU] {
            let fused = b.plan(target);
            let steps = applied(&fused);
            assert!(steps.len() == 1 && steps[0].contains(into), "{} becomes {into}:\n{fused}", case.what);
        }
        let want = b.values(&mut reference);
        for (name, session) in [("device", &mut device), ("host", &mut host)] {
            for (got, want) in b.values(session).iter().zip(&want) {
                assert_close(&format!("{} on the {name}", case.what), got, want, 2e-6);
            }
        }
    }
}

/// A long sum is split over workgroups, and its parts added up afterwards: the bias comes in once, with two terms too.
#[test]
fn a_split_sum_takes_its_bias_once() {
    let product = TestCase::new("a long product", vec![unit(&[1, 5, 1500]), unit(&[1, 1500, 3]), unit(&[3])], |x| {
        let (p, q) = (x[0].matmul(x[1]), x[0].matmul(-x[1]));
        let two = (x[0] * 0.5).matmul(x[1]) + q;
        Ok(vec![p + x[2], two + x[2]])
    });
    let x = vec![unit(&[1, 3, 3, 200]), unit(&[3, 3, 200, 5]), unit(&[5])];
    let conv = TestCase::one("a deep convolution", x, |x| x[0].conv2d(x[1], Conv::default()) + x[2]);
    let (mut device, mut reference) = (Session::device(gpu(false)), Session::reference());
    for case in [product, conv] {
        let b = Bench::new(&case);
        let plan = b.plan(Target::GPU);
        let biased = applied(&plan).iter().filter(|s| s.contains("bias: true")).count();
        assert!(biased == b.y().len() && plan.dispatches() >= plan.steps.len() + biased, "{}:\n{plan}", case.what);
        for (got, want) in b.values(&mut device).iter().zip(&b.values(&mut reference)) {
            assert_close(&case.what, got, want, 2e-6);
        }
    }
}

/// ½ Σ y² of a model.
fn half_square(y: Tensor) -> Tensor {
    (y * y).sum_all() * 0.5
}

/// A Hessian-vector product adds up `x ẇ + ẋ w` in one step, for a product and all three convolutions.
#[test]
fn hessian_products_have_two_terms() {
    let dense = vec![unit(&[5, 3]), unit(&[3, 4]), unit(&[4, 2]), unit(&[3, 4]), unit(&[4, 2])];
    let dense = TestCase::new("a dense net", dense, |x| {
        let h = x[0].matmul(x[1]).tanh();
        half_square(h.matmul(x[2]).tanh()).hvp(&x[1..3], &x[3..5])
    });
    let kernels = [[3, 3, 2, 3], [2, 3, 3, 2], [3, 3, 2, 3], [2, 3, 3, 2]];
    let images = [vec![unit(&[2, 6, 5, 2])], kernels.map(|k| unit(&k)).to_vec()].concat();
    let images = TestCase::new("a convolutional net", images, |x| {
        let h = x[0].conv2d(x[1], Conv::padded(1)).tanh();
        half_square(h.conv2d(x[2], Conv::default()).tanh()).hvp(&x[1..3], &x[3..5])
    });
    let kinds: [(&TestCase, &[&str]); 2] =
        [(&dense, &["Matmul {"]), (&images, &["Conv2d {", "Conv2dInputGrad {", "Conv2dWeightGrad {"])];
    let (mut device, mut host, mut reference) = (Session::device(gpu(false)), Session::host(), Session::reference());
    for (case, kinds) in kinds {
        let b = Bench::new(case);
        let plan = b.plan(Target::GPU);
        for kind in kinds {
            let found = applied(&plan).iter().any(|s| s.starts_with(kind) && s.contains("terms: 2"));
            assert!(found, "{}: {kind} of two terms in\n{plan}", case.what);
        }
        let want = b.values(&mut reference);
        for (got, want) in b.values(&mut device).iter().chain(&b.values(&mut host)).zip(want.iter().chain(&want)) {
            assert_close(&case.what, got, want, 2e-6);
        }
    }
}

/// In the gradient of a block with a shortcut the input gradient has the shortcut's cotangent and the ReLU mask as its epilogue; also
/// where both are of a stack of points, whose masks are stacks that the op does not take.
#[test]
fn input_gradients_end_with_a_residual_and_a_gate() {
    let kernels = [[3, 3, 3, 4], [3, 3, 4, 4], [3, 3, 4, 4]];
    fn gradient<'g>(x: Tensor<'g>, w: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        let h = x.conv2d(w[0], Conv::padded(1)).relu();
        let inner = h.conv2d(w[1], Conv::padded(1)).relu();
        half_square(h + inner.conv2d(w[2], Conv::padded(1))).grad(w)
    }
    let one = [vec![unit(&[2, 6, 5, 3])], kernels.map(|k| unit(&k)).to_vec()].concat();
    let one = TestCase::new("a block", one, |x| gradient(x[0], &x[1..]));
    let many = [vec![unit(&[2, 6, 5, 3])], kernels.map(|k| unit(&k)).to_vec()].concat();
    let stacks = kernels.map(|k| unit(&[&[3][..], &k].concat())).to_vec();
    let many = TestCase::new("a block at three points", [many, stacks].concat(), |x| {
        let y = gradient(x[0], &x[1..4])?;
        x[0].graph().vmap(&y, &x[1..4], &x[4..])
    });
    let (mut device, mut host, mut reference) = (Session::device(gpu(false)), Session::host(), Session::reference());
    for (case, whole) in [(one, "residual: true, mask: true"), (many, "residual: true, mask: false")] {
        let b = Bench::new(&case);
        let plan = b.plan(Target::GPU);
        let found = applied(&plan).iter().any(|s| s.starts_with("Conv2dInputGrad {") && s.contains(whole));
        assert!(found, "{}: {whole} in\n{plan}", case.what);
        let want = b.values(&mut reference);
        for (got, want) in b.values(&mut device).iter().chain(&b.values(&mut host)).zip(want.iter().chain(&want)) {
            assert_close(&case.what, got, want, 2e-6);
        }
    }
}

/// Input gradients that each have an epilogue are not one of two terms, of which only the sum could have it.
#[test]
fn ends_stay_with_their_terms() {
    type End = for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>;
    let one = [unit(&[2, 4, 7, 6]), unit(&[3, 2, 2, 6]), unit(&[2, 7, 6, 4])];
    let operands = [&one[..], &one].concat();
    let ends: [(&str, End); 2] = [("residuals", |y, end| y + end), ("masks", |y, end| end.relu_mask(y))];
    let (mut host, mut reference) = (Session::host(), Session::reference());
    for (what, end) in ends {
        let b = Bench::new(&TestCase::one(what, operands.clone(), move |x| {
            let [p, q] = [0, 3].map(|i| end(x[i].conv2d_input_grad(x[i + 1], CONV, [7, 6]), x[i + 2]));
            p + q
        }));
        assert_close(what, &b.values(&mut host)[0], &b.values(&mut reference)[0], 2e-6);
    }
}

/// A residual block in training: one fused step, and the running statistics that it feeds.
#[test]
fn a_fused_norm_keeps_its_running_statistics() {
    let g = Graph::new();
    let (x, gamma, beta) = (g.input("x", &[6, 5, 4]), g.input("gamma", &[4]), g.input("beta", &[4]));
    let running = ["mean", "variance"].map(|name| g.state(name, &[4]));
    let [y, mean, rstd] = x.batch_norm(gamma, beta, 1e-5);
    let updated = x.batch_norm_running([mean, rstd], running, 0.1, 1e-5);
    running.into_iter().zip(updated).for_each(|(state, new)| g.assign(state, new));
    let y = (y + x.tanh()).relu();
    let plan = Plan::new(Target::GPU, &g, &[y]).expect("the graph compiles");
    let norms: Vec<_> = applied(&plan).into_iter().filter(|s| s.starts_with("BatchNorm")).collect();
    assert_eq!(norms, ["BatchNorm { eps: 1e-5, residual: true, relu: true }"]);
    let data = [noise32(120, 1), noise32(4, 2), noise32(4, 3)];
    let mut all: Vec<Vec<f64>> = Vec::new();
    let sessions =
        [("device", Session::device(gpu(false))), ("host", Session::host()), ("reference", Session::reference())];
    for (name, mut session) in sessions {
        session.set("mean", &[4], &noise32(4, 4)).expect("the sizes match");
        session.set("variance", &[4], &[0.5, 1.0, 1.5, 2.0]).expect("the sizes match");
        let inputs = [(x, &data[0]), (gamma, &data[1]), (beta, &data[2])];
        let mut got = evaluate(&mut session, &g, &[y], inputs);
        for state in ["mean", "variance"] {
            got.push(pollster_block(session.get(state)).expect("a state").into_iter().map(f64::from).collect());
        }
        if name == "reference" {
            all.chunks(3).for_each(|other| {
                other.iter().zip(&got).for_each(|(got, want)| assert_close("a residual block", got, want, 3e-6));
            });
        }
        all.extend(got);
    }
    assert_eq!(all.len(), 9);
}

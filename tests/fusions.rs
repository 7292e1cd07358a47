//! Every fusion: that it fires, and that what it becomes computes what the twin does without it.

mod common;

use common::{Bench, applied, assert_close, evaluate, gpu, noise, pollster_block, unit};
use hillshade::engine::{Case, Conv, Graph, Plan, Result, Sample, Session, Step, Var};

const CONV: Conv = Conv { stride: [2, 1], padding: [1, 1], dilation: [1, 1], groups: 2 };

/// A graph that becomes one step when it is fused.
struct Fusion {
    case: Case,
    /// Steps before.
    from: usize,
    /// What the step is.
    into: &'static str,
}

/// Products of one kind and their sum.
fn two_terms() -> Vec<Fusion> {
    let fusion = |what: &str, x: Vec<Sample>, into, build: fn(&mut Graph, &[Var]) -> Result<Var>| {
        let case = Case::new(what, x, move |g, x| build(g, x).map(|y| vec![y]));
        Fusion { case, from: 3, into }
    };
    let twice = |a: &[usize], b: &[usize]| vec![unit(a), unit(b), unit(a), unit(b)];
    vec![
        fusion("a b + c d", twice(&[2, 5, 7], &[2, 7, 3]), "ta: false, tb: false, terms: 2", |g, x| {
            let (p, q) = (g.matmul(x[0], x[1])?, g.matmul(x[2], x[3])?);
            g.add(p, q)
        }),
        fusion("aᵀ b + cᵀ d", twice(&[2, 7, 5], &[2, 7, 3]), "ta: true, tb: false, terms: 2", |g, x| {
            let (p, q) = (g.matmul_as(x[0], true, x[1], false)?, g.matmul_as(x[2], true, x[3], false)?);
            g.add(p, q)
        }),
        fusion("a bᵀ + c dᵀ", twice(&[2, 5, 7], &[2, 3, 7]), "ta: false, tb: true, terms: 2", |g, x| {
            let (p, q) = (g.matmul_as(x[0], false, x[1], true)?, g.matmul_as(x[2], false, x[3], true)?);
            g.add(p, q)
        }),
        fusion("x ⋆ w + x' ⋆ w'", twice(&[2, 7, 6, 4], &[3, 2, 2, 6]), "Conv2d {", |g, x| {
            let (p, q) = (g.conv2d(x[0], x[1], CONV)?, g.conv2d(x[2], x[3], CONV)?);
            g.add(p, q)
        }),
        fusion("two input gradients", twice(&[2, 4, 7, 6], &[3, 2, 2, 6]), "Conv2dInputGrad", |g, x| {
            let p = g.conv2d_input_grad(x[0], x[1], CONV, [7, 6])?;
            let q = g.conv2d_input_grad(x[2], x[3], CONV, [7, 6])?;
            g.add(p, q)
        }),
        fusion("two weight gradients", twice(&[2, 7, 6, 4], &[2, 4, 7, 6]), "Conv2dWeightGrad", |g, x| {
            let p = g.conv2d_weight_grad(x[0], x[1], CONV, [3, 2])?;
            let q = g.conv2d_weight_grad(x[2], x[3], CONV, [3, 2])?;
            g.add(p, q)
        }),
    ]
}

/// Products with a bias, on either side of the sum.
fn biases() -> Vec<Fusion> {
    let mut all = Vec::new();
    for first in [false, true] {
        let add = move |g: &mut Graph, a: Var, b: Var| if first { g.add(b, a) } else { g.add(a, b) };
        let case = Case::new("a b + bias", vec![unit(&[2, 5, 7]), unit(&[2, 7, 3]), unit(&[3])], move |g, x| {
            let p = g.matmul(x[0], x[1])?;
            add(g, p, x[2]).map(|y| vec![y])
        });
        all.push(Fusion { case, from: 2, into: "Matmul { ta: false, tb: false, terms: 1, bias: true }" });
        let x = vec![unit(&[2, 7, 6, 4]), unit(&[3, 2, 2, 6]), unit(&[6])];
        let case = Case::new("x ⋆ w + bias", x, move |g, x| {
            let p = g.conv2d(x[0], x[1], CONV)?;
            add(g, p, x[2]).map(|y| vec![y])
        });
        all.push(Fusion { case, from: 2, into: "terms: 1, bias: true" });
    }
    let x = vec![unit(&[4, 5, 7]), unit(&[7, 3]), unit(&[3])];
    let case = Case::new("a dense layer", x, |g, x| Ok(vec![g.linear(x[0], x[1], x[2])?]));
    all.push(Fusion { case, from: 2, into: "terms: 1, bias: true" });
    for mut fusion in two_terms().into_iter().take(4) {
        let build = fusion.case.build.clone();
        let n = if fusion.case.x[0].ty().shape.len() == 4 { 6 } else { 3 };
        fusion.case.x.push(unit(&[n]));
        fusion.case.what += " + bias";
        fusion.case.build = std::sync::Arc::new(move |g, x| {
            let sum = build(g, &x[..4])?[0];
            g.add(sum, x[4]).map(|y| vec![y])
        });
        all.push(Fusion { from: 4, into: "terms: 2, bias: true", ..fusion });
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
        let case = Case::new(what, x, move |g, x| {
            let [mut y, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-5)?;
            if residual {
                y = if first { g.add(x[3], y)? } else { g.add(y, x[3])? };
            }
            if relu {
                y = g.relu(y)?;
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

/// What convolutions may end with.
fn endings() -> Vec<Fusion> {
    let fusion = |what: &str, more: &[&[usize]], from, into, build: fn(&mut Graph, Var, &[Var]) -> Result<Var>| {
        let shapes = [&[&[2, 7, 6, 4][..], &[3, 2, 2, 6]], more].concat();
        let x = shapes.into_iter().map(unit).collect();
        let case = Case::new(format!("x ⋆ w, {what}"), x, move |g, x| {
            let y = g.conv2d(x[0], x[1], CONV)?;
            build(g, y, &x[2..]).map(|y| vec![y])
        });
        Fusion { case, from, into }
    };
    const Y: &[usize] = &[2, 4, 7, 6];
    vec![
        fusion("relu", &[], 2, "relu: true", |g, y, _| g.relu(y)),
        fusion("bias, relu", &[&[6]], 3, "bias: true, residual: false, gate: false, relu: true", |g, y, x| {
            let y = g.add(y, x[0])?;
            g.relu(y)
        }),
        fusion("residual", &[Y], 2, "residual: true, gate: false, relu: false", |g, y, x| g.add(x[0], y)),
        fusion(
            "bias, residual, relu",
            &[&[6], Y],
            4,
            "bias: true, residual: true, gate: false, relu: true",
            |g, y, x| {
                let y = g.add(y, x[0]).and_then(|y| g.add(y, x[1]))?;
                g.relu(y)
            },
        ),
        fusion("residual, gate", &[Y, Y], 3, "residual: true, gate: true", |g, y, x| {
            let y = g.add(y, x[0])?;
            g.gate(x[1], y)
        }),
    ]
}

/// A convolution whose channels are scaled and shifted, as by batch normalization in evaluation mode: the scale goes into
/// the weights.
#[test]
fn scales_of_channels_go_into_the_weights() {
    let (mut device, mut host, mut twin) = (Session::device(gpu(false)), Session::host(), Session::twin());
    for scale_first in [false, true] {
        let x = vec![unit(&[2, 7, 6, 4]), unit(&[3, 2, 2, 6]), unit(&[6]), unit(&[6])];
        let b = Bench::new(&Case::new("scale, shift, relu", x, move |g, x| {
            let y = g.conv2d(x[0], x[1], CONV)?;
            let y = if scale_first { g.mul(x[2], y)? } else { g.mul(y, x[2])? };
            let y = g.add(y, x[3])?;
            Ok(vec![g.relu(y)?])
        }));
        let plan = Plan::new(&b.g, &b.y, true).expect("the graph compiles");
        let steps = applied(&plan);
        assert!(steps.len() == 2 && steps[1].contains("relu: true"), "{plan}");
        let Step::Apply { y, .. } = &plan.steps[0] else { panic!("{plan}") };
        assert_eq!(y[0].1.shape, [3, 2, 2, 6], "{plan}");
        let want = b.values(&mut twin);
        for session in [&mut device, &mut host] {
            assert_close("scale, shift, relu", &b.values(session)[0], &want[0], 2e-6);
        }
    }
}

/// Every line of the table of fusions: one step, and on device and host what the twin computes unfused.
#[test]
fn fusions_fire_and_agree() {
    let (mut device, mut host, mut twin) = (Session::device(gpu(false)), Session::host(), Session::twin());
    let all = two_terms().into_iter().chain(biases()).chain(norms()).chain(endings());
    for Fusion { case, from, into } in all {
        let b = Bench::new(&case);
        let plain = Plan::new(&b.g, &b.y, false).expect("the graph compiles");
        assert_eq!(applied(&plain).len(), from, "{}:\n{plain}", case.what);
        let fused = Plan::new(&b.g, &b.y, true).expect("the graph compiles");
        let steps = applied(&fused);
        assert!(steps.len() == 1 && steps[0].contains(into), "{} becomes {into}:\n{fused}", case.what);
        let want = b.values(&mut twin);
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
    let product = Case::new("a long product", vec![unit(&[1, 5, 1500]), unit(&[1, 1500, 3]), unit(&[3])], |g, x| {
        let (p, q) = (g.matmul(x[0], x[1])?, g.neg(x[1]).and_then(|b| g.matmul(x[0], b))?);
        let two = g.affine(x[0], 0.5, 0.0).and_then(|a| g.matmul(a, x[1])).and_then(|p| g.add(p, q))?;
        Ok(vec![g.add(p, x[2])?, g.add(two, x[2])?])
    });
    let x = vec![unit(&[1, 3, 3, 200]), unit(&[3, 3, 200, 5]), unit(&[5])];
    let conv = Case::new("a deep convolution", x, |g, x| {
        let p = g.conv2d(x[0], x[1], Conv::default())?;
        Ok(vec![g.add(p, x[2])?])
    });
    let (mut device, mut twin) = (Session::device(gpu(false)), Session::twin());
    for case in [product, conv] {
        let b = Bench::new(&case);
        let plan = Plan::new(&b.g, &b.y, true).expect("the graph compiles");
        let biased = applied(&plan).iter().filter(|s| s.contains("bias: true")).count();
        assert!(biased == b.y.len() && plan.dispatches() >= plan.steps.len() + biased, "{}:\n{plan}", case.what);
        for (got, want) in b.values(&mut device).iter().zip(&b.values(&mut twin)) {
            assert_close(&case.what, got, want, 2e-6);
        }
    }
}

/// ½ Σ y² of a model.
fn half_square(g: &mut Graph, y: Var) -> Result<Var> {
    let square = g.mul(y, y)?;
    let axes: Vec<usize> = (0..g.shape(y).len()).collect();
    let sum = g.sum(square, &axes)?;
    g.affine(sum, 0.5, 0.0)
}

/// A Hessian-vector product adds up `x ẇ + ẋ w` in one step, for a product and all three convolutions.
#[test]
fn hessian_products_have_two_terms() {
    let dense = vec![unit(&[5, 3]), unit(&[3, 4]), unit(&[4, 2]), unit(&[3, 4]), unit(&[4, 2])];
    let dense = Case::new("a dense net", dense, |g, x| {
        let h = g.matmul(x[0], x[1]).and_then(|h| g.tanh(h))?;
        let y = g.matmul(h, x[2]).and_then(|y| g.tanh(y))?;
        let loss = half_square(g, y)?;
        g.hvp(loss, &x[1..3], &x[3..5])
    });
    let kernels = [[3, 3, 2, 3], [2, 3, 3, 2], [3, 3, 2, 3], [2, 3, 3, 2]];
    let images = [vec![unit(&[2, 6, 5, 2])], kernels.map(|k| unit(&k)).to_vec()].concat();
    let images = Case::new("a convolutional net", images, |g, x| {
        let h = g.conv2d(x[0], x[1], Conv::padded(1)).and_then(|h| g.tanh(h))?;
        let y = g.conv2d(h, x[2], Conv::default()).and_then(|y| g.tanh(y))?;
        let loss = half_square(g, y)?;
        g.hvp(loss, &x[1..3], &x[3..5])
    });
    let kinds: [(&Case, &[&str]); 2] =
        [(&dense, &["Matmul {"]), (&images, &["Conv2d {", "Conv2dInputGrad {", "Conv2dWeightGrad {"])];
    let (mut device, mut host, mut twin) = (Session::device(gpu(false)), Session::host(), Session::twin());
    for (case, kinds) in kinds {
        let b = Bench::new(case);
        let plan = Plan::new(&b.g, &b.y, true).expect("the graph compiles");
        for kind in kinds {
            let found = applied(&plan).iter().any(|s| s.starts_with(kind) && s.contains("terms: 2"));
            assert!(found, "{}: {kind} of two terms in\n{plan}", case.what);
        }
        let want = b.values(&mut twin);
        for (got, want) in b.values(&mut device).iter().chain(&b.values(&mut host)).zip(want.iter().chain(&want)) {
            assert_close(&case.what, got, want, 2e-6);
        }
    }
}

/// In the gradient of a block with a shortcut the input gradient ends with the shortcut's cotangent and the ReLU's gate; also
/// where both are of a stack of points, whose gates are stacks that the op does not take.
#[test]
fn input_gradients_end_with_a_residual_and_a_gate() {
    let kernels = [[3, 3, 3, 4], [3, 3, 4, 4], [3, 3, 4, 4]];
    let gradient = |g: &mut Graph, x: Var, w: &[Var]| -> Result<Vec<Var>> {
        let h = g.conv2d(x, w[0], Conv::padded(1)).and_then(|h| g.relu(h))?;
        let inner = g.conv2d(h, w[1], Conv::padded(1)).and_then(|y| g.relu(y))?;
        let y = g.conv2d(inner, w[2], Conv::padded(1)).and_then(|y| g.add(h, y))?;
        let loss = half_square(g, y)?;
        g.grad(loss, w)
    };
    let one = [vec![unit(&[2, 6, 5, 3])], kernels.map(|k| unit(&k)).to_vec()].concat();
    let one = Case::new("a block", one, move |g, x| gradient(g, x[0], &x[1..]));
    let many = [vec![unit(&[2, 6, 5, 3])], kernels.map(|k| unit(&k)).to_vec()].concat();
    let stacks = kernels.map(|k| unit(&[&[3][..], &k].concat())).to_vec();
    let many = Case::new("a block at three points", [many, stacks].concat(), move |g, x| {
        let y = gradient(g, x[0], &x[1..4])?;
        g.batch(&y, &x[1..4], &x[4..])
    });
    let (mut device, mut host, mut twin) = (Session::device(gpu(false)), Session::host(), Session::twin());
    for (case, whole) in [(one, "residual: true, gate: true"), (many, "residual: true, gate: false")] {
        let b = Bench::new(&case);
        let plan = Plan::new(&b.g, &b.y, true).expect("the graph compiles");
        let found = applied(&plan).iter().any(|s| s.starts_with("Conv2dInputGrad {") && s.contains(whole));
        assert!(found, "{}: {whole} in\n{plan}", case.what);
        let want = b.values(&mut twin);
        for (got, want) in b.values(&mut device).iter().chain(&b.values(&mut host)).zip(want.iter().chain(&want)) {
            assert_close(&case.what, got, want, 2e-6);
        }
    }
}

/// Input gradients that each end with something are not one of two terms: only their last one ends.
#[test]
fn ends_stay_with_their_terms() {
    type End = fn(&mut Graph, Var, Var) -> Result<Var>;
    let one = [unit(&[2, 4, 7, 6]), unit(&[3, 2, 2, 6]), unit(&[2, 7, 6, 4])];
    let operands = [&one[..], &one].concat();
    let ends: [(&str, End); 2] = [("residuals", |g, y, end| g.add(y, end)), ("gates", |g, y, end| g.gate(end, y))];
    let (mut host, mut twin) = (Session::host(), Session::twin());
    for (what, end) in ends {
        let b = Bench::new(&Case::new(what, operands.clone(), move |g, x| {
            let mut one = |x: &[Var]| {
                let y = g.conv2d_input_grad(x[0], x[1], CONV, [7, 6])?;
                end(g, y, x[2])
            };
            let (p, q) = (one(&x[..3])?, one(&x[3..])?);
            Ok(vec![g.add(p, q)?])
        }));
        assert_close(what, &b.values(&mut host)[0], &b.values(&mut twin)[0], 2e-6);
    }
}

/// A residual block in training: one fused step, and the running statistics that it feeds.
#[test]
fn a_fused_norm_keeps_its_running_statistics() {
    let mut g = Graph::new();
    let build = |g: &mut Graph| -> Result<Var> {
        let (x, c) = (g.input("x", &[6, 5, 4])?, [4]);
        let (gamma, beta) = (g.input("gamma", &c)?, g.input("beta", &c)?);
        let running = [g.state("mean", &c)?, g.state("variance", &c)?];
        let [y, mean, rstd] = g.batch_norm(x, gamma, beta, 1e-5)?;
        let updated = g.batch_norm_running(x, [mean, rstd], running, 0.1, 1e-5)?;
        g.assign(running[0], updated[0])?;
        g.assign(running[1], updated[1])?;
        let sum = g.tanh(x).and_then(|r| g.add(y, r))?;
        g.relu(sum)
    };
    let y = build(&mut g).expect("the shapes fit");
    let plan = Plan::new(&g, &[y], true).expect("the graph compiles");
    let norms: Vec<_> = applied(&plan).into_iter().filter(|s| s.starts_with("BatchNorm")).collect();
    assert_eq!(norms, ["BatchNorm { eps: 1e-5, residual: true, relu: true }"]);
    let draw = |len, stream| noise(len, stream).iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let (x, gamma, beta) = (draw(120, 1), draw(4, 2), draw(4, 3));
    let mut all: Vec<Vec<f64>> = Vec::new();
    let sessions = [("device", Session::device(gpu(false))), ("host", Session::host()), ("twin", Session::twin())];
    for (name, mut session) in sessions {
        session.set("mean", &[4], &draw(4, 4)).expect("the sizes match");
        session.set("variance", &[4], &[0.5, 1.0, 1.5, 2.0]).expect("the sizes match");
        let feeds = [("x", (&x).into()), ("gamma", (&gamma).into()), ("beta", (&beta).into())];
        let mut got = evaluate(&mut session, &g, &[y], &feeds);
        for state in ["mean", "variance"] {
            got.push(pollster_block(session.get(state)).expect("a state").into_iter().map(f64::from).collect());
        }
        if name == "twin" {
            all.chunks(3).for_each(|other| {
                other.iter().zip(&got).for_each(|(got, want)| assert_close("a residual block", got, want, 3e-6));
            });
        }
        all.extend(got);
    }
    assert_eq!(all.len(), 9);
}

//! Derivatives against closed forms: third order, products with known Hessians, detached values, fused ops and their
//! plain graphs, operands that are one value, the invariances of batch normalization. All in f64, on the reference.

use std::collections::BTreeSet;

use hillshade::engine::{
    Attention, Conv, DType, Generator, Graph, OperandData, Result, Session, Source, Tensor, TestCase,
};

use crate::common::{
    Bench, Build, assert_close, bent_loss, data, dot, each_case, evaluate, floats, inputs, noise_like, unit, vars,
};

/// A case's wanted values on the reference.
fn truth(case: &TestCase) -> Vec<Vec<f64>> {
    Bench::new(case).values(&mut Session::reference())
}

/// A case's operands, in f64.
fn operand(case: &TestCase, i: usize) -> Vec<f64> {
    match case.x[i].draw(i as u32) {
        OperandData::Float(x) => x.into_iter().map(f64::from).collect(),
        OperandData::Index(x) => x.into_iter().map(f64::from).collect(),
    }
}

/// ½ Σ (y − t)².
fn half_square_error<'g>(y: Tensor<'g>, t: Tensor<'g>) -> Tensor<'g> {
    let d = y - t;
    (d * d).sum_all() * 0.5
}

/// The derivative of elementwise values `y` in `x`, by forward (true) or reverse mode.
fn derivative<'g>(y: Tensor<'g>, x: Tensor<'g>, forward: bool) -> Result<Tensor<'g>> {
    let (g, one) = (y.graph(), x.fill_like(1.0));
    let d = if forward { g.jvp(&[y], &[x], &[one])? } else { g.vjp(&[y], &[one], &[x])? };
    Ok(d[0])
}

/// f''' of x⁴ is 24 x, of eˣ is eˣ, of 1/x is −6/x⁴, of tanh is −2 (1 − t²)(1 − 3t²), however the modes are nested.
#[test]
fn third_derivatives_are_right() {
    type Function = fn(Tensor) -> Tensor;
    type Row = (&'static str, Function, fn(f64) -> f64);
    let functions: [Row; 4] = [
        ("x⁴", |x| (x * x) * (x * x), |x| 24.0 * x),
        ("exp", |x| x.exp(), f64::exp),
        ("recip", |x| x.recip(), |x| -6.0 / x.powi(4)),
        ("tanh", |x| x.tanh(), |x| -2.0 * (1.0 - x.tanh().powi(2)) * (1.0 - 3.0 * x.tanh().powi(2))),
    ];
    for (name, f, third) in functions {
        for modes in 0..8 {
            let case = TestCase::new(name, vec![Generator::Range(vec![9], 0.5, 2.0)], move |x| {
                let mut y = f(x[0]);
                for order in 0..3 {
                    y = derivative(y, x[0], modes >> order & 1 == 1)?;
                }
                Ok(vec![y])
            });
            let want: Vec<f64> = operand(&case, 0).into_iter().map(third).collect();
            assert_close(&format!("{name}''', modes {modes:03b}"), &truth(&case)[0], &want, 1e-13);
        }
    }
}

/// At a kink the slope is what the op's documentation says, in both modes; off it, that of the side.
#[test]
fn slopes_at_kinks_are_as_documented() {
    type Row = (&'static str, Build, &'static [&'static [f32]], &'static [&'static [f64]]);
    const A: &[f32] = &[1.0, 2.0, 3.0];
    const TWO: &[f32] = &[2.0, 2.0, 2.0];
    const SIDES: &[f32] = &[-2.0, 0.0, 3.0];
    let rows: [Row; 7] = [
        ("relu", |x| x[0].relu(), &[SIDES], &[&[0.0, 0.0, 1.0]]),
        ("abs", |x| x[0].abs(), &[SIDES], &[&[-1.0, 0.0, 1.0]]),
        ("sign", |x| x[0].sign(), &[SIDES], &[&[0.0, 0.0, 0.0]]),
        ("clamp", |x| x[0].clamp(1.5, 3.0), &[A], &[&[0.0, 1.0, 1.0]]),
        ("clamp", |x| x[0].clamp(1.0, 2.5), &[A], &[&[1.0, 1.0, 0.0]]),
        ("max", |x| x[0].max(x[1]), &[A, TWO], &[&[0.0, 0.5, 1.0], &[1.0, 0.5, 0.0]]),
        ("min", |x| x[0].min(x[1]), &[A, TWO], &[&[1.0, 0.5, 0.0], &[0.0, 0.5, 1.0]]),
    ];
    for (what, build, x, slopes) in rows {
        let samples = x.iter().map(|x| Generator::Exact(vec![3], x.to_vec())).collect();
        let case = TestCase::new(what, samples, move |x| {
            let (g, y) = (x[0].graph(), build(x));
            let one = g.fill(&[3], 1.0);
            let mut d = g.vjp(&[y], &[one], x)?;
            for &x in x {
                d.extend(g.jvp(&[y], &[x], &[one])?);
            }
            Ok(d)
        });
        assert_eq!(truth(&case), [slopes, slopes].concat(), "{what}");
    }
    let ties = Generator::Exact(vec![2, 4], vec![1.0, 3.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0]);
    let case = TestCase::new("max_over", vec![ties, unit(&[2, 4])], |x| {
        let g = x[0].graph();
        let (y, one) = (x[0].max_over(&[1]), g.fill(&[2], 1.0));
        Ok(vec![g.vjp(&[y], &[one], &x[..1])?[0], g.jvp(&[y], &x[..1], &x[1..])?[0]])
    });
    let (got, v) = (truth(&case), operand(&case, 1));
    assert_eq!(got[0], [0.0, 0.5, 0.5, 0.0, 0.25, 0.25, 0.25, 0.25], "ties share the slope evenly");
    assert_close("max_over along v", &got[1], &[dot(&got[0][..4], &v[..4]), dot(&got[0][4..], &v[4..])], 1e-15);
}

/// `[rows, columns]` times a vector or, transposed, its transpose times one.
fn product(a: &[f64], columns: usize, v: &[f64], transposed: bool) -> Vec<f64> {
    match transposed {
        false => a.chunks(columns).map(|row| dot(row, v)).collect(),
        true => (0..columns).map(|j| a.chunks(columns).zip(v).map(|(row, v)| row[j] * v).sum()).collect(),
    }
}

/// The Hessian of ½ ‖X w − t‖² is Xᵀ X; of the bias in ½ ‖X w + b − t‖², the number of rows.
#[test]
fn a_linear_model_has_its_hessian() {
    let x = vec![unit(&[11, 5]), unit(&[5, 1]), unit(&[1]), unit(&[11, 1]), unit(&[5, 1]), unit(&[1])];
    let case = TestCase::new("a linear model", x, |x| {
        half_square_error(x[0].linear(x[1], x[2]), x[3]).hvp(&x[1..3], &x[4..6])
    });
    let (x, v, u) = (operand(&case, 0), operand(&case, 4), operand(&case, 5)[0]);
    let moved: Vec<f64> = product(&x, 5, &v, false).into_iter().map(|m| m + u).collect();
    let got = truth(&case);
    assert_close("Xᵀ (X v + u)", &got[0], &product(&x, 5, &moved, true), 1e-14);
    assert_close("Σ (X v + u)", &got[1], &[moved.iter().sum()], 1e-14);
}

/// A detached value is a constant: (x · stop(x))' is x, and no derivative reaches through it alone.
#[test]
fn detached_values_have_no_derivative() {
    let case = TestCase::new("stop_gradient", vec![unit(&[7]), unit(&[7])], |x| {
        let (g, stopped) = (x[0].graph(), x[0].stop_gradient());
        let (product, alone) = (x[0] * stopped, stopped.exp());
        let back = g.vjp(&[product], &[x[1]], &x[..1])?[0];
        let forward = g.jvp(&[product], &x[..1], &x[1..])?[0];
        let (no_back, no_forward) = (g.vjp(&[alone], &[x[1]], &x[..1])?[0], g.jvp(&[alone], &x[..1], &x[1..])?[0]);
        Ok(vec![alone, back, forward, no_back, no_forward])
    });
    let (x, ct, got) = (operand(&case, 0), operand(&case, 1), truth(&case));
    let both: Vec<f64> = x.iter().zip(&ct).map(|(x, ct)| x * ct).collect();
    assert_close("its value", &got[0], &x.iter().map(|x| x.exp()).collect::<Vec<_>>(), 1e-15);
    assert_eq!(got[1..3], [both.clone(), both]);
    assert!(got[3..].iter().flatten().all(|&d| d == 0.0));
}

/// Where a result does not depend on a value, its derivative is zeros of the right shape.
#[test]
fn derivatives_without_a_path_are_zero() {
    let case = TestCase::new("no path", vec![unit(&[2, 3]), unit(&[4])], |x| {
        let (g, y) = (x[0].graph(), x[0].exp());
        let d = g.vjp(&[y], &[x[0]], &[x[1]])?[0];
        let t = g.jvp(&[y], &[x[1]], &[x[1]])?[0];
        Ok(vec![d, t])
    });
    assert_eq!(truth(&case), [vec![0.0; 4], vec![0.0; 6]]);
}

/// Every op with a plain graph, in every case: all results are those of the plain graph on the same operands.
#[test]
fn fused_ops_are_their_plain_graphs() {
    let mut reference = Session::reference();
    let mut seen = BTreeSet::new();
    each_case(|case| {
        let b = Bench::new(case);
        let (mut fused, mut plain) = (Vec::new(), Vec::new());
        for node in b.g.nodes() {
            let Source::Op(op) = &node.source else { continue };
            let Some(y) = op.plain(&b.g.tensors(&node.x)).expect("its operands fit") else { continue };
            assert_eq!(y.len(), node.y.len(), "{}", op.name());
            seen.insert(op.name());
            fused.extend(b.g.tensors(&node.y));
            plain.extend(y);
        }
        let values = evaluate(&mut reference, &b.g, &[fused.clone(), plain].concat(), &b.inputs());
        let (got, want) = values.split_at(fused.len());
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert_close(&format!("{}, result {i}", case.what), got, want, 1e-10);
        }
    });
    let norms = ["batch_norm", "batch_norm_grad", "batch_norm_grad_tangent", "batch_norm_tangent"];
    let rows = ["layer_norm", "layer_norm_grad", "layer_norm_grad_tangent", "layer_norm_tangent"];
    let roots = ["rms_norm", "rms_norm_grad", "rms_norm_grad_tangent", "rms_norm_tangent"];
    let heads = ["attention", "attention_grad", "attention_grad_tangent", "attention_tangent"];
    let cells = ["lstm_cell", "lstm_cell_grad", "lstm_cell_grad_tangent", "lstm_cell_tangent"];
    let others = ["adam", "lerp", "cross_entropy", "cross_entropy_grad", "sgd"];
    let mut all = [norms, rows, roots, heads, cells].concat().into_iter().chain(others);
    assert!(all.all(|op| seen.contains(op)), "{seen:?}");
}

/// The derivatives of a fused op are those of its plain graph: gradient, tangent, and both Hessian products.
#[test]
fn fused_derivatives_are_those_of_plain_graphs() {
    let mut reference = Session::reference();
    let mut seen = BTreeSet::new();
    each_case(|case| {
        let b = Bench::new(case);
        let leaves = vars(&b.x());
        let plain = b.g.nodes().find_map(|node| match &node.source {
            Source::Op(op) if op.in_place(node.x.len()).is_empty() && node.x.iter().all(|x| leaves.contains(x)) => {
                let y = op.plain(&b.g.tensors(&node.x)).expect("its operands fit")?;
                Some((op.name(), b.g.tensor(node.y[0]), y[0]))
            }
            _ => None,
        });
        let Some((name, fused, plain)) = plain else { return };
        if case.order < 2 {
            return;
        }
        seen.insert(name);
        let wrt = b.floats();
        let [fused, plain] = [fused, plain].map(|y| second_order(y, &wrt).expect("there are rules"));
        let values = evaluate(&mut reference, &b.g, &[fused.clone(), plain].concat(), &b.inputs());
        let (got, want) = values.split_at(fused.len());
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            // Two rows cancel: what is left of their derivatives is some 1e-6 of the terms.
            assert_close(&format!("{}, derivative {i}", case.what), got, want, 1e-9);
        }
    });
    let rows = ["layer_norm", "layer_norm_grad", "layer_norm_grad_tangent", "layer_norm_tangent"];
    let roots = ["rms_norm", "rms_norm_grad", "rms_norm_grad_tangent", "rms_norm_tangent"];
    let heads = ["attention", "attention_grad", "attention_grad_tangent", "attention_tangent"];
    let cells = ["lstm_cell", "lstm_cell_grad", "lstm_cell_grad_tangent", "lstm_cell_tangent"];
    let others = ["batch_norm", "cross_entropy", "inner_products"];
    assert_eq!(seen, rows.into_iter().chain(roots).chain(heads).chain(cells).chain(others).collect());
}

/// Gradient, tangent, forward over reverse and reverse over reverse of Σ c·tanh(y) along fixed directions.
fn second_order<'g>(y: Tensor<'g>, wrt: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
    let g = y.graph();
    let loss = (y.tanh() * noise_like(y, 50)?).sum_all();
    let v = wrt.iter().zip(60..).map(|(&x, stream)| noise_like(x, stream)).collect::<Result<Vec<_>>>()?;
    let gradient = loss.grad(wrt)?;
    let tangent = g.jvp(&[y], wrt, &v)?;
    let forward = g.jvp(&gradient, wrt, &v)?;
    let reverse = g.vjp(&gradient, &v, wrt)?;
    Ok([gradient, tangent, forward, reverse].concat())
}

/// Groups of a case's float operands that have one type: each two, and all where they are more.
fn alike(case: &TestCase) -> Vec<Vec<usize>> {
    let types: Vec<_> = case.x.iter().map(Generator::ty).collect();
    let of = |i: usize| (0..types.len()).filter(|&j| types[j] == types[i]).collect::<Vec<_>>();
    let mut groups = BTreeSet::new();
    for i in (0..types.len()).filter(|&i| types[i].dtype == DType::F32) {
        groups.extend(of(i).into_iter().filter(|&j| j > i).map(|j| vec![i, j]));
        groups.extend(Some(of(i)).filter(|all| all.len() > 2));
    }
    groups.into_iter().collect()
}

/// The gradient of a bent loss in the operands of `group`, and the tangent of the results along one direction in all of them.
fn first_order<'g>(
    y: &[Tensor<'g>], group: &[Tensor<'g>], direction: Tensor<'g>,
) -> Result<(Vec<Tensor<'g>>, Vec<Tensor<'g>>)> {
    let tangents = direction.graph().jvp(y, group, &vec![direction; group.len()])?;
    Ok((bent_loss(y, 70)?.grad(group)?, tangents))
}

/// Operands that are one value have the sum of the gradients that they have as two of equal numbers, and the same tangent.
fn check_one_value(reference: &mut Session, case: &TestCase, group: &[usize]) {
    let g = Graph::new();
    let apart = inputs(&g, case, "x");
    let first = apart[group[0]];
    let one: Vec<Tensor> = (0..apart.len()).map(|i| if group.contains(&i) { first } else { apart[i] }).collect();
    let members: Vec<Tensor> = group.iter().map(|&i| apart[i]).collect();
    let derivatives = || -> Result<_> {
        let direction = noise_like(first, 90)?;
        let distinct = first_order(&floats((case.build)(&apart)?), &members, direction)?;
        Ok((distinct, first_order(&floats((case.build)(&one)?), &[first], direction)?))
    };
    let ((gradients, tangents), (gradient, tangent)) =
        derivatives().unwrap_or_else(|e| panic!("{} at {group:?}: {e}", case.what));
    let drawn: Vec<OperandData> = (0..apart.len())
        .map(|i| if group.contains(&i) { group[0] } else { i })
        .map(|i| case.x[i].draw(i as u32))
        .collect();
    let fed: Vec<_> = apart.iter().copied().zip(drawn.iter().map(data)).collect();
    let outputs = [gradient, tangent, tangents.clone(), gradients].concat();
    let values = evaluate(reference, &g, &outputs, &fed);
    let (gradient, values) = values.split_first().expect("the gradient of the one value");
    let (tangent, values) = values.split_at(tangents.len());
    let (tangents, gradients) = values.split_at(tangents.len());
    let close = |what: &str, got: &[f64], terms: &[Vec<f64>]| {
        let most = terms.iter().flatten().fold(1e-30, |most: f64, term| most.max(term.abs()));
        for (i, &got) in got.iter().enumerate() {
            let want: f64 = terms.iter().map(|term| term[i]).sum();
            let at = format!("{} at {group:?}: {what} {i}", case.what);
            assert!(
                (got - want).abs() <= 1e-12 * most || got.is_nan() && want.is_nan(),
                "{at} is {got}, expected {want} of terms to {most}"
            );
        }
    };
    close("gradient", gradient, gradients);
    tangent.iter().zip(tangents).for_each(|(got, want)| close("tangent", got, std::slice::from_ref(want)));
}

#[test]
fn operands_may_be_one_value() {
    let mut reference = Session::reference();
    let mut seen = BTreeSet::new();
    each_case(|case| {
        for group in alike(case).iter().filter(|_| case.order > 0) {
            check_one_value(&mut reference, case, group);
            seen.insert((case.what.split(' ').next().unwrap_or_default().to_string(), group.len()));
        }
    });
    for what in ["add", "mul", "div", "max", "inner_products", "batch_norm", "layer_norm", "attention"] {
        assert!(seen.contains(&(what.to_string(), 2)), "{what} in {seen:?}");
    }
    // Operands that all cases give different shapes.
    let [rows, square, heads] = [unit(&[3, 67]), unit(&[2, 5, 5]), unit(&[2, 7, 2, 6])];
    let how = Attention { causal: true, scale: 0.8 };
    for case in [
        TestCase::one("inner_products(a, a)", vec![rows.clone(); 2], |x| x[0].inner_products(x[1])),
        TestCase::one("concat(a, a)", vec![rows; 2], |x| x[0].graph().concat(x, 1)),
        TestCase::one("matmul(a, a)", vec![square.clone(); 2], |x| x[0].matmul(x[1])),
        TestCase::one("a aᵀ", vec![square; 2], |x| x[0].matmul_as(false, x[1], true)),
        TestCase::new("attention(x, x, x)", vec![heads; 3], move |x| {
            Ok(x[0].attention(x[1], x[2], how, None).to_vec())
        }),
    ] {
        let group: Vec<usize> = (0..case.x.len()).collect();
        check_one_value(&mut reference, &case, &group);
    }
}

/// Filter `c` of weights `[.., channels]`, the others zero.
fn filter(w: &[f64], channels: usize, c: usize) -> Vec<f64> {
    w.iter().enumerate().map(|(i, &w)| if i % channels == c { w } else { 0.0 }).collect()
}

const FILTERS: usize = 4;

/// Convolution, batch normalization (of the batch, or evaluated) and a bent loss. Gradient in the weights and, for each
/// filter `W_c`, the Hessian's product with it.
fn normalized(of_batch: bool) -> TestCase {
    let kernel = [3, 3, 2, FILTERS];
    let mut x = vec![unit(&[3, 5, 6, 2]), unit(&kernel), Generator::Range(vec![FILTERS], 0.5, 1.5), unit(&[FILTERS])];
    x.extend([unit(&[3, 5, 6, FILTERS]), unit(&[FILTERS]), Generator::Range(vec![FILTERS], 0.5, 1.5)]);
    TestCase::new("conv, batch norm", x, move |x| {
        let (g, h) = (x[0].graph(), x[0].conv2d(x[1], Conv::padded(1)));
        let h = match of_batch {
            true => h.batch_norm(x[2], x[3], 1e-12)[0],
            false => h.batch_norm_eval([x[2], x[3]], [x[5], x[6]], 1e-12),
        };
        let gradient = (h.tanh() * x[4]).sum_all().grad(&x[1..2])?[0];
        let mut outputs = vec![gradient];
        for c in 0..FILTERS {
            let mask: Vec<f32> = (0..3 * 3 * 2 * FILTERS).map(|i| f32::from(i % FILTERS == c)).collect();
            let one = x[1] * g.literal(&kernel, &mask);
            outputs.extend(g.jvp(&[gradient], &x[1..2], &[one])?);
        }
        Ok(outputs)
    })
}

/// Scaling a filter before batch normalization changes nothing: ⟨g_c, W_c⟩ = 0 and H W_c = −g_c, zero in other blocks.
#[test]
fn batch_norm_is_blind_to_scale() {
    let case = normalized(true);
    let (got, w) = (truth(&case), operand(&case, 1));
    for c in 0..FILTERS {
        let (own, g) = (filter(&w, FILTERS, c), filter(&got[0], FILTERS, c));
        let cosine = dot(&own, &g) / (dot(&own, &own) * dot(&g, &g)).sqrt();
        assert!(cosine.abs() < 1e-10, "filter {c}: ⟨g, W⟩ is {cosine:e} of its bound");
        let negated: Vec<f64> = g.iter().map(|g| -g).collect();
        assert_close(&format!("H W_{c} = −g_{c}"), &got[1 + c], &negated, 1e-9);
    }
}

/// With given statistics the scale counts: the identities must fail.
#[test]
fn evaluated_batch_norm_is_not_blind_to_scale() {
    let case = normalized(false);
    let (got, w) = (truth(&case), operand(&case, 1));
    for c in 0..FILTERS {
        let (own, g) = (filter(&w, FILTERS, c), filter(&got[0], FILTERS, c));
        let cosine = dot(&own, &g) / (dot(&own, &own) * dot(&g, &g)).sqrt();
        let sum: Vec<f64> = got[1 + c].iter().zip(&g).map(|(h, g)| h + g).collect();
        assert!(cosine.abs() > 1e-3 && dot(&sum, &sum) > 1e-2 * dot(&g, &g), "filter {c}: {cosine:e}");
    }
}

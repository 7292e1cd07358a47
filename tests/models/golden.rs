//! Convolution, normalization, attention, cross-entropy and the optimizers against PyTorch, on all three executors.
//!
//! The values and the script that made them are in `golden/`. They were computed in f64 and rounded to f32 once. Bounds are
//! relative to a tensor's largest element: in the reference what is left is that rounding and the learning rates', which are
//! f32 too; in f32 they are some four times what llvmpipe and the host show, since other devices contract and divide
//! differently.

use std::collections::HashMap;

use hillshade::engine::{Adam, Attention, Conv, Data, Graph, Result, Session, Sgd, Step, Tensor, block_on};

use crate::common::{
    assert_close, evaluate,
    golden::{Golden, each_executor},
};

fn pair(text: &str) -> [usize; 2] {
    let (a, b) = text.split_once(',').expect("two numbers");
    [a, b].map(|n| n.parse().expect("a number"))
}

/// The convolution of a case: bias added, and its derivatives in x, w and b.
fn conv2d_graph<'g>(g: &'g Graph, golden: &Golden, case: &str) -> Result<Vec<Tensor<'g>>> {
    let settings = golden.settings(case);
    let [stride, padding, dilation] = ["stride", "padding", "dilation"].map(|key| pair(settings[key]));
    let conv = Conv { stride, padding, dilation, groups: settings["groups"].parse().expect("a number") };
    let [x, w, b, ct] = ["x", "w", "b", "ct"].map(|name| g.input(name, golden.shape(&format!("{case}.{name}"))));
    let y = x.conv2d(w, conv) + b;
    Ok([vec![y], g.vjp(&[y], &[ct], &[x, w, b])?].concat())
}

/// Six geometries, forward with bias and all three derivatives.
#[test]
fn conv2d_is_pytorchs() {
    let golden = Golden::read("conv2d");
    let cases = golden.settings.len();
    assert_eq!(cases, 6);
    each_executor(|executor, session, bound| {
        for case in (0..cases).map(|i| format!("case{i}")) {
            let g = Graph::new();
            let outputs = conv2d_graph(&g, &golden, &case).expect("the shapes fit");
            let name = |part: &str| format!("{case}.{part}");
            let inputs = ["x", "w", "b", "ct"].map(|part| (part, Data::F32(golden.get(&name(part)))));
            let got = evaluate(session, &g, &outputs, inputs);
            for (part, got) in ["y", "dx", "dw", "db"].iter().zip(got) {
                let what = format!("{executor}: {case}.{part}");
                assert_close(&what, &got, &golden.wide(&name(part)), bound(2e-6));
            }
        }
    });
}

const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// The parts that the settings of the file name, as constants here.
fn check_settings(golden: &Golden) {
    let number = |key: &str| golden.settings[key].parse::<f64>().expect("a number");
    assert_eq!((number("momentum"), number("eps")), (MOMENTUM, EPS));
    assert_eq!(golden.settings["running_var"], "unbiased");
}

/// Batch normalization with its derivatives, inputs x, gamma, beta, ct; the running statistics are not assigned yet.
struct BatchNorm<'g> {
    x: [Tensor<'g>; 3],
    running: [Tensor<'g>; 2],
    updated: [Tensor<'g>; 2],
    /// y and the derivatives of ct·y.
    outputs: Vec<Tensor<'g>>,
}

impl<'g> BatchNorm<'g> {
    fn new(g: &'g Graph, golden: &Golden) -> Result<Self> {
        let (shape, c) = (golden.shape("batch0.x"), golden.shape("gamma"));
        let x = [g.input("x", shape), g.input("gamma", c), g.input("beta", c)];
        let running = ["mean", "variance"].map(|name| g.state(name, c));
        let [y, mean, rstd] = x[0].batch_norm(x[1], x[2], EPS);
        let updated = x[0].batch_norm_running([mean, rstd], running, MOMENTUM, EPS);
        let outputs = [vec![y], g.vjp(&[y], &[g.input("ct", shape)], &x)?].concat();
        Ok(BatchNorm { x, running, updated, outputs })
    }

    /// The Hessian of Σ y² times the operands, and the derivatives of the updated statistics.
    fn derivatives(&self) -> Result<[Vec<Tensor<'g>>; 2]> {
        let y = self.outputs[0];
        let ones = self.updated.map(|new| new.fill_like(1.0));
        Ok([(y * y).sum_all().hvp(&self.x, &self.x)?, y.graph().vjp(&self.updated, &ones, &self.x)?])
    }
}

fn batch_norm_inputs<'a>(golden: &'a Golden, batch: &str) -> [(&'a str, Data<'a>); 4] {
    let data = |name: &str| Data::F32(golden.get(name));
    [
        ("x", data(&format!("{batch}.x"))),
        ("gamma", data("gamma")),
        ("beta", data("beta")),
        ("ct", data(&format!("{batch}.ct"))),
    ]
}

/// Outputs in order: y, dx, dgamma, dbeta. The first channel lies 30 deviations from zero, which costs `y` and, summed
/// up, `dgamma` some of their digits.
fn compare_batch(executor: &str, golden: &Golden, batch: &str, got: &[Vec<f64>], bound: &dyn Fn(f64) -> f64) {
    for ((part, tolerance), got) in [("y", 4e-6), ("dx", 2e-6), ("dgamma", 1.5e-5), ("dbeta", 1.5e-6)].iter().zip(got) {
        let name = format!("{batch}.{part}");
        assert_close(&format!("{executor}: {name}"), got, &golden.wide(&name), bound(*tolerance));
    }
}

fn running(session: &Session) -> [Vec<f64>; 2] {
    ["mean", "variance"].map(|name| {
        let state = block_on(session.get(name)).expect("a state");
        state.into_iter().map(f64::from).collect()
    })
}

/// Three batches in training, statistics kept as states, then one in evaluation.
#[test]
fn batch_norm_is_pytorchs() {
    let golden = Golden::read("batch_norm");
    check_settings(&golden);
    let (g, training) = (Graph::new(), Graph::new());
    let norm = BatchNorm::new(&g, &golden).expect("the shapes fit");
    let trained = BatchNorm::new(&training, &golden).expect("the shapes fit");
    trained.running.into_iter().zip(trained.updated).for_each(|(state, new)| training.assign(state, new));
    let [product, of_statistics] = norm.derivatives().expect("there are rules");
    let values = [norm.outputs, product].concat();
    let outputs = [&values[..], &of_statistics].concat();
    each_executor(|executor, session, bound| {
        session.set("mean", &[6], &[0.0; 6]).expect("the sizes match");
        session.set("variance", &[6], &[1.0; 6]).expect("the sizes match");
        for batch in ["batch0", "batch1", "batch2"] {
            let inputs = batch_norm_inputs(&golden, batch);
            let before = running(session);
            let got = evaluate(session, &g, &outputs, inputs);
            assert_eq!(running(session), before, "{executor}: derivatives leave the statistics alone");
            let zeros = got[values.len()..].iter().flatten().all(|&v| v == 0.0);
            assert!(zeros, "{executor}: derivatives do not see the statistics");
            compare_batch(executor, &golden, batch, &got, bound);

            let got = evaluate(session, &training, &trained.outputs, inputs);
            compare_batch(executor, &golden, batch, &got, bound);
            for (part, got) in ["running_mean", "running_var"].iter().zip(running(session)) {
                let name = format!("{batch}.{part}");
                assert_close(&format!("{executor}: {name}"), &got, &golden.wide(&name), bound(1e-6));
            }
        }
        evaluate_batch_norm(executor, session, &golden, bound);
    });
}

/// Batch normalization with the statistics that the session holds.
fn evaluate_batch_norm(executor: &str, session: &mut Session, golden: &Golden, bound: &dyn Fn(f64) -> f64) {
    let (g, shape, c) = (Graph::new(), golden.shape("eval.x"), golden.shape("gamma"));
    let x = [g.input("x", shape), g.input("gamma", c), g.input("beta", c)];
    let y = x[0].batch_norm_eval([x[1], x[2]], [g.state("mean", c), g.state("variance", c)], EPS);
    let d = g.vjp(&[y], &[g.input("ct", shape)], &x).expect("there are rules");
    let got = evaluate(session, &g, &[vec![y], d].concat(), batch_norm_inputs(golden, "eval"));
    compare_batch(executor, golden, "eval", &got, bound);
}

/// Rows that differ in location and scale, centred and not, with the derivatives in x, gamma and beta.
#[test]
fn layer_norm_is_pytorchs() {
    let golden = Golden::read("layer_norm");
    assert_eq!(golden.settings["eps"].parse::<f64>().expect("a number"), EPS);
    let names = ["x", "gamma", "beta", "ct"];
    let g = Graph::new();
    let [x, gamma, beta, ct] = names.map(|name| g.input(name, golden.shape(name)));
    let ([layer, ..], [rms, _]) = (x.layer_norm(gamma, beta, EPS), x.rms_norm(gamma, EPS));
    let d = g.vjp(&[layer], &[ct], &[x, gamma, beta]).expect("there are rules");
    let d_rms = g.vjp(&[rms], &[ct], &[x, gamma]).expect("there are rules");
    let outputs = [vec![layer], d, vec![rms], d_rms].concat();
    let inputs = names.map(|name| (name, Data::F32(golden.get(name))));
    let parts = ["layer.y", "layer.dx", "layer.dgamma", "layer.dbeta", "rms.y", "rms.dx", "rms.dgamma"];
    each_executor(|executor, session, bound| {
        for (part, got) in parts.iter().zip(evaluate(session, &g, &outputs, inputs)) {
            assert_close(&format!("{executor}: {part}"), &got, &golden.wide(part), bound(4e-6));
        }
    });
}

/// Attention with its gradients, and the Hessian of Σ ct y times a direction.
fn attention_graph<'g>(g: &'g Graph, golden: &Golden, case: &str) -> Result<Vec<Tensor<'g>>> {
    let settings = golden.settings(case);
    let how = Attention { causal: settings["causal"] == "true", scale: settings["scale"].parse().expect("a number") };
    let input = |name: &str| g.input(name, golden.shape(&format!("{case}.{name}")));
    let (x, v) = (["q", "k", "v"].map(input), ["vq", "vk", "vv"].map(input));
    let lengths = g.input_u32("lengths", golden.shape(&format!("{case}.lengths")));
    let [y, _] = x[0].attention(x[1], x[2], how, Some(lengths));
    let gradient = g.vjp(&[y], &[input("ct")], &x)?;
    let product = g.jvp(&gradient, &x, &v)?;
    Ok([vec![y], gradient, product].concat())
}

/// Groups of heads, padding, causal masks, with more keys than queries: value, gradients and Hessian products.
#[test]
fn attention_is_pytorchs() {
    let golden = Golden::read("attention");
    assert_eq!(golden.settings.len(), 3);
    each_executor(|executor, session, bound| {
        for case in (0..golden.settings.len()).map(|i| format!("case{i}")) {
            let g = Graph::new();
            let outputs = attention_graph(&g, &golden, &case).expect("the shapes fit");
            let name = |part: &str| format!("{case}.{part}");
            let lengths: Vec<u32> = golden.get(&name("lengths")).iter().map(|&l| l as u32).collect();
            let mut inputs = vec![("lengths", Data::U32(&lengths))];
            let floats = ["q", "k", "v", "ct", "vq", "vk", "vv"];
            inputs.extend(floats.map(|part| (part, Data::F32(golden.get(&name(part))))));
            let got = evaluate(session, &g, &outputs, &inputs);
            for (part, got) in ["y", "dq", "dk", "dv", "hq", "hk", "hv"].iter().zip(got) {
                assert_close(&format!("{executor}: {case}.{part}"), &got, &golden.wide(&name(part)), bound(4e-6));
            }
        }
    });
}

/// Losses, their mean and its gradient, with a row of ±1e4.
#[test]
fn cross_entropy_is_pytorchs() {
    let golden = Golden::read("cross_entropy");
    let labels: Vec<u32> = golden.get("labels").iter().map(|&l| l as u32).collect();
    let g = Graph::new();
    let logits = g.input("logits", &[7, 11]);
    let [losses, _] = logits.cross_entropy(g.input_u32("labels", &[7]));
    let mean = losses.mean_all();
    let d = mean.grad(&[logits]).expect("there are rules");
    let inputs = [("logits", Data::F32(golden.get("logits"))), ("labels", Data::U32(&labels))];
    each_executor(|executor, session, bound| {
        let got = evaluate(session, &g, &[losses, mean, d[0]], inputs);
        assert_close(&format!("{executor}: mean"), &got[1], &golden.wide("mean"), bound(1e-6));
        // Beside the row of ±1e4 the others would not count: every row for itself.
        let (losses, d) = (golden.wide("losses"), golden.wide("dlogits"));
        for row in 0..7 {
            let (what, at) = (format!("{executor}: row {row}"), 11 * row..11 * (row + 1));
            assert_close(&what, &got[0][row..=row], &losses[row..=row], bound(1e-6));
            // e^(logit − lse) has the rounding of lse, half a step of 1e-3 at 1e4, as its relative error.
            let tolerance = if row == 3 { 5e-4 } else { 2e-6 };
            assert_close(&what, &got[2][at.clone()], &d[at], bound(tolerance));
        }
    });
}

/// An update rule with its numbers for step `t`.
enum Rule {
    Sgd(Sgd, f32),
    Adam(Adam, f32),
}

impl Rule {
    fn new(settings: &HashMap<&str, &str>) -> Self {
        let number = |key: &str| settings[key].parse::<f64>().expect("a number");
        let (rate, decay) = (number("lr") as f32, number("weight_decay"));
        match settings["kind"] {
            "sgd" => {
                assert_eq!(number("dampening"), 0.0);
                let nesterov = settings["nesterov"] == "true";
                Rule::Sgd(Sgd { momentum: number("momentum"), nesterov, decay }, rate)
            }
            kind => {
                let betas = [number("beta1"), number("beta2")];
                Rule::Adam(Adam { betas, eps: number("eps"), decay, decoupled: kind == "adamw" }, rate)
            }
        }
    }

    /// The step as a program on states p and, from zeros, m and v.
    fn graph(&self, len: usize) -> Result<Graph> {
        let g = Graph::new();
        let state = |name: &str| g.state(name, &[len]);
        let (p, grad) = (state("p"), g.input("grad", &[len]));
        match self {
            Rule::Sgd(rule, _) => {
                let m = (rule.momentum != 0.0).then(|| state("m"));
                let y = p.sgd(*rule, grad, g.input("rates", &[1]), m)?;
                [p].into_iter().chain(m).zip(y).for_each(|(state, value)| g.assign(state, value));
            }
            Rule::Adam(rule, _) => {
                let (m, v) = (state("m"), state("v"));
                let y = p.adam(*rule, grad, [m, v], g.input("rates", &[3]));
                [p, m, v].into_iter().zip(y).for_each(|(state, value)| g.assign(state, value));
            }
        }
        g.check()?;
        Ok(g)
    }

    fn rates(&self, t: u64) -> Vec<f32> {
        match self {
            Rule::Sgd(_, rate) => vec![*rate],
            Rule::Adam(rule, rate) => rule.rates(*rate, t).to_vec(),
        }
    }
}

/// The parameters after each of the golden steps, `[step][parameter]`.
fn descend(session: &mut Session, rule: &Rule, start: &[f32], gradients: &[f32]) -> Vec<Vec<f64>> {
    let len = start.len();
    session.set("p", &[len], start).expect("the sizes match");
    for name in ["m", "v"] {
        session.set(name, &[len], &vec![0.0; len]).expect("the sizes match");
    }
    let g = rule.graph(len).expect("the shapes fit");
    let mut program = session.compile(&g, &[]).expect("the states are there");
    let copies = program.plan().steps.iter().filter(|s| matches!(s, Step::Copy { .. })).count();
    assert_eq!(copies, 0, "states are updated in place");
    let mut path = Vec::new();
    for (t, gradient) in gradients.chunks(len).enumerate() {
        let rates = rule.rates(t as u64 + 1);
        program.run(session, [("grad", Data::F32(gradient)), ("rates", Data::F32(&rates))]).expect("the inputs fit");
        let p = block_on(session.get("p")).expect("a state");
        path.push(p.into_iter().map(f64::from).collect());
    }
    path
}

/// Seven rules, ten steps each, every parameter for itself: gradients reach from 1e-4 to 1e2.
#[test]
fn optimizers_are_pytorchs() {
    let golden = Golden::read("optimizers");
    let (start, gradients) = (golden.get("p0"), golden.get("g"));
    let mut rules: Vec<&String> = golden.settings.keys().collect();
    rules.sort();
    assert!(rules.len() == 7 && gradients.len() == 10 * start.len());
    each_executor(|executor, session, bound| {
        for name in &rules {
            let rule = Rule::new(&golden.settings(name));
            let path = descend(session, &rule, start, gradients);
            let want = golden.wide(&format!("{name}.p"));
            for column in 0..start.len() {
                let got: Vec<f64> = path.iter().map(|p| p[column]).collect();
                let want: Vec<f64> = want.chunks(start.len()).map(|p| p[column]).collect();
                let what = format!("{executor}: {name}, parameter {column} over the steps");
                assert_close(&what, &got, &want, bound(1e-6));
            }
        }
    });
}

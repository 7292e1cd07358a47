//! Convolution, normalization, attention, cross-entropy and the optimizers against PyTorch, on all three executors.
//!
//! The values and the script that made them are in `golden/`. They were computed in f64 and rounded to f32 once. Bounds are
//! relative to a tensor's largest element: in the twin what is left is that rounding and the learning rates', which are
//! f32 too; in f32 they are some four times what llvmpipe and the host show, since other devices contract and divide
//! differently.

mod common;

use std::collections::HashMap;

use common::{
    assert_close, evaluate,
    golden::{Golden, each_executor},
    pollster_block,
};
use hillshade::engine::{Adam, Attention, Conv, Data, Graph, Result, Session, Sgd, Step, Var};

fn pair(text: &str) -> [usize; 2] {
    let (a, b) = text.split_once(',').expect("two numbers");
    [a, b].map(|n| n.parse().expect("a number"))
}

/// The convolution of a case: bias added, and its derivatives in x, w and b.
fn conv2d_graph(golden: &Golden, case: &str) -> Result<(Graph, Vec<Var>)> {
    let settings = golden.settings(case);
    let [stride, padding, dilation] = ["stride", "padding", "dilation"].map(|key| pair(settings[key]));
    let conv = Conv { stride, padding, dilation, groups: settings["groups"].parse().expect("a number") };
    let mut g = Graph::new();
    let mut input = |name: &str| g.input(name, golden.shape(&format!("{case}.{name}")));
    let (x, w, b, ct) = (input("x")?, input("w")?, input("b")?, input("ct")?);
    let y = g.conv2d(x, w, conv)?;
    let y = g.add(y, b)?;
    let d = g.vjp(&[y], &[ct], &[x, w, b])?;
    Ok((g, [vec![y], d].concat()))
}

/// Six geometries, forward with bias and all three derivatives.
#[test]
fn conv2d_is_pytorchs() {
    let golden = Golden::read("conv2d");
    let cases = golden.settings.len();
    assert_eq!(cases, 6);
    each_executor(|executor, session, bound| {
        for case in (0..cases).map(|i| format!("case{i}")) {
            let (g, outputs) = conv2d_graph(&golden, &case).expect("the shapes fit");
            let name = |part: &str| format!("{case}.{part}");
            let feeds = ["x", "w", "b", "ct"].map(|part| (part, Data::F32(golden.get(&name(part)))));
            let got = evaluate(session, &g, &outputs, &feeds);
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
struct BatchNorm {
    g: Graph,
    x: [Var; 3],
    running: [Var; 2],
    updated: [Var; 2],
    outputs: Vec<Var>,
}

impl BatchNorm {
    fn new(golden: &Golden) -> Result<Self> {
        let (mut g, shape, c) = (Graph::new(), golden.shape("batch0.x"), golden.shape("gamma"));
        let x = [g.input("x", shape)?, g.input("gamma", c)?, g.input("beta", c)?];
        let ct = g.input("ct", shape)?;
        let running = [g.state("mean", c)?, g.state("variance", c)?];
        let [y, mean, rstd] = g.batch_norm(x[0], x[1], x[2], EPS)?;
        let updated = g.batch_norm_running(x[0], [mean, rstd], running, MOMENTUM, EPS)?;
        let d = g.vjp(&[y], &[ct], &x)?;
        Ok(BatchNorm { g, x, running, updated, outputs: [vec![y], d].concat() })
    }

    /// Training: the outputs, and the running statistics updated.
    fn training(&self) -> Result<Graph> {
        let mut g = self.g.clone();
        g.assign(self.running[0], self.updated[0])?;
        g.assign(self.running[1], self.updated[1])?;
        Ok(g)
    }

    /// Derivatives alone: those of the outputs, and of the updated statistics.
    fn derivatives(&self) -> Result<(Graph, Vec<Var>, Vec<Var>)> {
        let mut g = self.g.clone();
        let loss = g.mul(self.outputs[0], self.outputs[0])?;
        let loss = g.sum(loss, &[0, 1, 2, 3])?;
        let product = g.hvp(loss, &self.x, &self.x)?;
        let ones = [g.fill(&[6], 1.0)?, g.fill(&[6], 1.0)?];
        let of_statistics = g.vjp(&self.updated, &ones, &self.x)?;
        Ok((g, [self.outputs.clone(), product].concat(), of_statistics))
    }
}

fn batch_norm_feeds<'a>(golden: &'a Golden, batch: &str) -> [(&'a str, Data<'a>); 4] {
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
        let state = pollster_block(session.get(name)).expect("a state");
        state.into_iter().map(f64::from).collect()
    })
}

/// Three batches in training, statistics kept as states, then one in evaluation.
#[test]
fn batch_norm_is_pytorchs() {
    let golden = Golden::read("batch_norm");
    check_settings(&golden);
    let norm = BatchNorm::new(&golden).expect("the shapes fit");
    let training = norm.training().expect("the types match");
    let (derivatives, values, of_statistics) = norm.derivatives().expect("there are rules");
    each_executor(|executor, session, bound| {
        session.set("mean", &[6], &[0.0; 6]).expect("the sizes match");
        session.set("variance", &[6], &[1.0; 6]).expect("the sizes match");
        for batch in ["batch0", "batch1", "batch2"] {
            let feeds = batch_norm_feeds(&golden, batch);
            let before = running(session);
            let outputs = [values.clone(), of_statistics.clone()].concat();
            let got = evaluate(session, &derivatives, &outputs, &feeds);
            assert_eq!(running(session), before, "{executor}: derivatives leave the statistics alone");
            let zeros = got[values.len()..].iter().flatten().all(|&v| v == 0.0);
            assert!(zeros, "{executor}: derivatives do not see the statistics");
            compare_batch(executor, &golden, batch, &got, bound);

            let got = evaluate(session, &training, &norm.outputs, &feeds);
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
    let build = || -> Result<(Graph, Vec<Var>)> {
        let (mut g, shape, c) = (Graph::new(), golden.shape("eval.x"), golden.shape("gamma"));
        let x = [g.input("x", shape)?, g.input("gamma", c)?, g.input("beta", c)?];
        let ct = g.input("ct", shape)?;
        let running = [g.state("mean", c)?, g.state("variance", c)?];
        let y = g.batch_norm_eval(x[0], [x[1], x[2]], running, EPS)?;
        let d = g.vjp(&[y], &[ct], &x)?;
        Ok((g, [vec![y], d].concat()))
    };
    let (g, outputs) = build().expect("the shapes fit");
    let got = evaluate(session, &g, &outputs, &batch_norm_feeds(golden, "eval"));
    compare_batch(executor, golden, "eval", &got, bound);
}

/// Rows that differ in location and scale, centred and not, with the derivatives in x, gamma and beta.
#[test]
fn layer_norm_is_pytorchs() {
    let golden = Golden::read("layer_norm");
    assert_eq!(golden.settings["eps"].parse::<f64>().expect("a number"), EPS);
    let names = ["x", "gamma", "beta", "ct"];
    let build = || -> Result<(Graph, Vec<Var>)> {
        let mut g = Graph::new();
        let mut input = |name: &str| g.input(name, golden.shape(name));
        let (x, gamma, beta, ct) = (input("x")?, input("gamma")?, input("beta")?, input("ct")?);
        let (layer, rms) = (g.layer_norm(x, gamma, beta, EPS)?[0], g.rms_norm(x, gamma, EPS)?[0]);
        let (d, d_rms) = (g.vjp(&[layer], &[ct], &[x, gamma, beta])?, g.vjp(&[rms], &[ct], &[x, gamma])?);
        Ok((g, [vec![layer], d, vec![rms], d_rms].concat()))
    };
    let (g, outputs) = build().expect("the shapes fit");
    let feeds = names.map(|name| (name, Data::F32(golden.get(name))));
    let parts = ["layer.y", "layer.dx", "layer.dgamma", "layer.dbeta", "rms.y", "rms.dx", "rms.dgamma"];
    each_executor(|executor, session, bound| {
        for (part, got) in parts.iter().zip(evaluate(session, &g, &outputs, &feeds)) {
            assert_close(&format!("{executor}: {part}"), &got, &golden.wide(part), bound(4e-6));
        }
    });
}

/// Attention with its gradients, and the Hessian of Σ ct y times a direction.
fn attention_graph(golden: &Golden, case: &str) -> Result<(Graph, Vec<Var>)> {
    let settings = golden.settings(case);
    let how = Attention { causal: settings["causal"] == "true", scale: settings["scale"].parse().expect("a number") };
    let mut g = Graph::new();
    let mut input = |name: &str| g.input(name, golden.shape(&format!("{case}.{name}")));
    let (x, ct, v) =
        ([input("q")?, input("k")?, input("v")?], input("ct")?, [input("vq")?, input("vk")?, input("vv")?]);
    let lengths = g.input_u32("lengths", golden.shape(&format!("{case}.lengths")))?;
    let [y, _] = g.attention(x[0], x[1], x[2], how, Some(lengths))?;
    let gradient = g.vjp(&[y], &[ct], &x)?;
    let product = g.jvp(&gradient, &x, &v)?;
    Ok((g, [vec![y], gradient, product].concat()))
}

/// Groups of heads, padding, causal masks, with more keys than queries: value, gradients and Hessian products.
#[test]
fn attention_is_pytorchs() {
    let golden = Golden::read("attention");
    assert_eq!(golden.settings.len(), 3);
    each_executor(|executor, session, bound| {
        for case in (0..golden.settings.len()).map(|i| format!("case{i}")) {
            let (g, outputs) = attention_graph(&golden, &case).expect("the shapes fit");
            let name = |part: &str| format!("{case}.{part}");
            let lengths: Vec<u32> = golden.get(&name("lengths")).iter().map(|&l| l as u32).collect();
            let mut feeds = vec![("lengths", Data::U32(&lengths))];
            feeds
                .extend(["q", "k", "v", "ct", "vq", "vk", "vv"].map(|part| (part, Data::F32(golden.get(&name(part))))));
            let got = evaluate(session, &g, &outputs, &feeds);
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
    let build = || -> Result<(Graph, Vec<Var>)> {
        let mut g = Graph::new();
        let (logits, labels) = (g.input("logits", &[7, 11])?, g.input_u32("labels", &[7])?);
        let [losses, _] = g.cross_entropy(logits, labels)?;
        let mean = g.mean(losses, &[0])?;
        let d = g.grad(mean, &[logits])?;
        Ok((g, vec![losses, mean, d[0]]))
    };
    let (g, outputs) = build().expect("the shapes fit");
    let feeds = [("logits", Data::F32(golden.get("logits"))), ("labels", Data::U32(&labels))];
    each_executor(|executor, session, bound| {
        let got = evaluate(session, &g, &outputs, &feeds);
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
        let mut g = Graph::new();
        let (p, grad) = (g.state("p", &[len])?, g.input("grad", &[len])?);
        match self {
            Rule::Sgd(rule, _) => {
                let rates = g.input("rates", &[1])?;
                let m = (rule.momentum != 0.0).then(|| g.state("m", &[len])).transpose()?;
                let y = g.sgd(*rule, p, grad, rates, m)?;
                g.assign(p, y[0])?;
                m.map_or(Ok(()), |m| g.assign(m, y[1]))?;
            }
            Rule::Adam(rule, _) => {
                let rates = g.input("rates", &[3])?;
                let (m, v) = (g.state("m", &[len])?, g.state("v", &[len])?);
                let y = g.adam(*rule, p, grad, [m, v], rates)?;
                for (state, value) in [p, m, v].into_iter().zip(y) {
                    g.assign(state, value)?;
                }
            }
        }
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
        program.run(session, &[("grad", gradient.into()), ("rates", (&rates).into())]).expect("the feeds fit");
        let p = pollster_block(session.get("p")).expect("a state");
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

//! Descent against formulas: sharpness-aware gradients, thresholds of stability, losses.

use hillshade::{
    engine::{Data, Graph, Session, Tensor, block_on},
    models::{Builder, Init, Loss, Mode, Network, Optimizer, Param, Perturbation},
};

use crate::common::{assert_close, dot, evaluate, gpu, noise, noise32};

const DESCENT: Optimizer = Optimizer::Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };

fn executors() -> [Session; 3] {
    [Session::device(gpu(false)), Session::host(), Session::reference()]
}

/// `L = ½ xᵀ A x` in `n` dimensions, `x` made of a weight of two axes and a bias of one.
struct Quadratic {
    matrix: Vec<f64>,
    start: Vec<f64>,
}

impl Quadratic {
    /// `A = Bᵀ B / n + I/4` from noise, rounded to f32.
    fn noise() -> Self {
        let n = 7;
        let b = noise(n * n, 1);
        let entry = |i: usize, j: usize| (0..n).map(|k| b[k * n + i] * b[k * n + j]).sum::<f64>() / n as f64;
        let entry = |at: usize| entry(at / n, at % n) + if at / n == at % n { 0.25 } else { 0.0 };
        Quadratic { matrix: (0..n * n).map(|at| f64::from(entry(at) as f32)).collect(), start: noise(n, 2) }
    }

    /// The loss, of the weight and the bias.
    fn build<'g>(&self, b: &mut Builder<'g>) -> Tensor<'g> {
        let n = self.start.len();
        let weights = n.div_ceil(2);
        let (w, bias) = (b.param("weight", &[weights, 1], Init::Zeros), b.param("bias", &[n - weights], Init::Zeros));
        let x = b.g.concat(&[w.reshape(&[1, weights]), bias.reshape(&[1, n - weights])], 1);
        let matrix: Vec<f32> = self.matrix.iter().map(|&a| a as f32).collect();
        (x * x.matmul(b.g.literal(&[n, n], &matrix))).sum_all() * 0.5
    }

    /// `A x`.
    fn slope(&self, x: &[f64]) -> Vec<f64> {
        self.matrix.chunks(x.len()).map(|row| dot(row, x)).collect()
    }

    /// Where some steps lead.
    fn descend(
        &self, mut session: Session, rule: Optimizer, how: Option<Perturbation>, rate: f64, steps: u64,
    ) -> Vec<f64> {
        let g = Graph::new();
        let mut b = Builder::new(&g, Mode::Train);
        let loss = self.build(&mut b);
        let params: Vec<&Param> = b.trained().collect();
        let gradient = match how {
            Some(how) => how.gradient(loss, &params).expect("every op has its rules"),
            None => loss.grad(&b.trained_values()).expect("every op has its rules"),
        };
        let states = rule.build(&g, &params, &gradient).expect("fresh names");
        for s in &states {
            session.set(&s.name, &s.shape, &vec![0.0; s.shape.iter().product()]).expect("sizes match");
        }
        let mut rest: Vec<f32> = self.start.iter().map(|&v| v as f32).collect();
        for p in &params {
            let later = rest.split_off(p.shape.iter().product());
            session.set(&p.name, &p.shape, &rest).expect("sizes match");
            rest = later;
        }
        let mut program = session.compile(&g, &[]).expect("the graph compiles");
        for t in 1..=steps {
            program.run(&mut session, [("rates", &rule.rates(rate, t))]).expect("the step runs");
        }
        let read = |p: &&Param| block_on(session.get(&p.name)).expect("a state");
        params.iter().flat_map(read).map(f64::from).collect()
    }
}

/// One step from `x`, by hand: `x − η A (x + e)` with `e = ρ T² g/‖T g‖`.
fn by_hand(q: &Quadratic, scales: &[f64], rho: f64, rate: f64) -> Vec<f64> {
    let x = &q.start;
    let gradient = q.slope(x);
    let scaled: Vec<f64> = gradient.iter().zip(scales).map(|(g, t)| t * g).collect();
    let length = dot(&scaled, &scaled).sqrt();
    let there: Vec<f64> = (0..x.len()).map(|i| x[i] + rho * scales[i] * scaled[i] / length).collect();
    x.iter().zip(q.slope(&there)).map(|(x, g)| x - rate * g).collect()
}

#[test]
fn sam_steps_by_the_gradient_uphill() {
    let q = Quadratic::noise();
    let (rho, rate) = (0.5, 0.25);
    let want = by_hand(&q, &vec![1.0; q.start.len()], rho, rate);
    let plain = q.descend(Session::reference(), DESCENT, None, rate, 1);
    assert!(want.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-2), "the perturbation is seen");
    for session in executors() {
        let name = session.executor();
        let got = q.descend(session, DESCENT, Some(Perturbation::Sam { rho }), rate, 1);
        assert_close(&name, &got, &want, 1e-6);
    }
}

#[test]
fn asam_measures_weights_by_themselves() {
    let q = Quadratic::noise();
    let (rho, rate) = (0.5, 0.25);
    let scales: Vec<f64> = (0..7).map(|i| if i < 4 { q.start[i].abs() + 0.01 } else { 1.0 }).collect();
    let want = by_hand(&q, &scales, rho, rate);
    let sam = by_hand(&q, &[1.0; 7], rho, rate);
    assert!(want.iter().zip(&sam).any(|(a, b)| (a - b).abs() > 1e-2), "the scales are seen");
    for session in executors() {
        let name = session.executor();
        let got = q.descend(session, DESCENT, Some(Perturbation::Asam { rho }), rate, 1);
        assert_close(&name, &got, &want, 1e-6);
    }
}

/// At a minimum there is no way up, and no number that is none.
#[test]
fn no_slope_is_no_step() {
    for how in [Perturbation::Sam { rho: 0.5 }, Perturbation::Asam { rho: 0.5 }] {
        let q = Quadratic { matrix: vec![1.0, 0.0, 0.0, 1.0], start: vec![0.0; 2] };
        for session in executors() {
            assert_eq!(q.descend(session, DESCENT, Some(how), 0.25, 2), [0.0; 2]);
        }
    }
}

/// `g(θ + e) − g = ρ H g/‖g‖ + O(ρ²)`: half the step leaves a quarter of the rest.
#[test]
fn sam_is_a_hessian_product_to_first_order() {
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Train);
    let (x, labels) = (g.input("images", &[9, 4, 4, 1]), g.input_u32("labels", &[9]));
    let net = Network::parse("mlp:widths=8-6,activation=tanh").expect("known");
    let logits = net.build(&mut b, x, 5).expect("fitting");
    let loss = Loss::CrossEntropy.build(logits, labels).mean_all();
    let (params, at): (Vec<&Param>, _) = (b.trained().collect(), b.trained_values());
    let gradient = loss.grad(&at).expect("rules");
    let product = g.jvp(&gradient, &at, &gradient).expect("rules");
    let rhos = [0.02, 0.01, 0.005];
    let mut outputs = vec![gradient, product];
    outputs.extend(rhos.map(|rho| Perturbation::Sam { rho }.gradient(loss, &params).expect("rules")));
    let mut session = Session::reference();
    b.initialize(&mut session, 3).expect("parameters fit");
    let (images, classes) = (noise32(9 * 16, 5), (0..9).map(|i| i * 3 % 5).collect::<Vec<u32>>());
    let inputs = [(x, Data::F32(&images)), (labels, Data::U32(&classes))];
    let values = evaluate(&mut session, &g, &outputs.concat(), inputs);
    let vectors: Vec<Vec<f64>> = values.chunks(at.len()).map(|part| part.concat()).collect();
    let length = dot(&vectors[0], &vectors[0]).sqrt();
    let rest = |k: usize| {
        let away = |i: usize| vectors[2 + k][i] - vectors[0][i] - rhos[k] * vectors[1][i] / length;
        (0..vectors[0].len()).map(|i| away(i).powi(2)).sum::<f64>().sqrt()
    };
    let first = rhos[0] * dot(&vectors[1], &vectors[1]).sqrt() / length;
    assert!(rest(0) < 0.1 * first, "the rest {} is small beside {first}", rest(0));
    for k in [0, 1] {
        let ratio = rest(k) / rest(k + 1);
        println!("ρ {}: rest {:e}, ratio {ratio}", rhos[k], rest(k));
        assert!((3.8..4.2).contains(&ratio), "{ratio}");
    }
}

/// Three directions, of which the last has the greatest curvature: just below the threshold and just above.
#[test]
fn thresholds_part_what_shrinks_from_what_grows() {
    let rate = 0.125;
    let sgd = |momentum, nesterov| Optimizer::Sgd { momentum, nesterov, decay: 0.0 };
    for (rule, want) in [
        (sgd(0.0, false), 16.0),
        (sgd(0.0, true), 16.0),
        (sgd(0.9, false), 30.4),
        (sgd(0.5, false), 24.0),
        (sgd(0.9, true), 3.8 / 2.8 * 8.0),
        (sgd(0.5, true), 12.0),
    ] {
        let threshold = rule.stability_threshold(rate).expect("one");
        assert!((threshold - want).abs() < 1e-12, "{rule:?}: {threshold}, expected {want}");
        for (factor, shrinks) in [(0.99, true), (1.01, false)] {
            let top = threshold * factor;
            let matrix = vec![0.5 * top, 0.0, 0.0, 0.0, 0.9 * top, 0.0, 0.0, 0.0, top];
            let q = Quadratic { matrix, start: vec![1.0; 3] };
            let end = q.descend(Session::reference(), rule, None, rate, 1500);
            println!("{rule:?}, {factor} of {threshold}: {end:?}");
            assert!(end[..2].iter().all(|x| x.abs() < 1e-6), "{rule:?}: {end:?}");
            match shrinks {
                true => assert!(end[2].abs() < 1e-2, "{rule:?} at {factor}: {end:?}"),
                false => assert!(end[2].abs() > 1e2, "{rule:?} at {factor}: {end:?}"),
            }
        }
    }
    for rule in [Optimizer::Adam { decay: 0.0 }, Optimizer::AdamW { decay: 0.1 }] {
        assert_eq!(rule.stability_threshold(rate), None);
    }
}

#[test]
fn losses_are_those_by_hand() {
    let logits = [1.0, 0.0, -1.0, 0.5, 2.0, 0.0, 3.0, 3.0, 3.0f32];
    let log_sum = |z: &[f32]| z.iter().map(|&z| f64::from(z).exp()).sum::<f64>().ln();
    for (loss, want) in [
        (Loss::Squared, [0.5, 0.625, 0.0]),
        (Loss::CrossEntropy, [log_sum(&logits[..3]) - 1.0, log_sum(&logits[3..6]) - 2.0, 0.0]),
    ] {
        for mut session in executors() {
            let g = Graph::new();
            let (z, labels) = (g.input("z", &[3, 3]), g.input_u32("labels", &[3]));
            let losses = loss.build(z, labels);
            let slope = losses.sum_all().grad(&[z]).expect("rules")[0];
            let inputs = [(z, Data::F32(&logits)), (labels, Data::U32(&[0, 1, 3]))];
            let got = evaluate(&mut session, &g, &[losses, slope], inputs);
            assert_close(loss.name(), &got[0], &want, 1e-6);
            assert_eq!(got[1][6..], [0.0; 3], "{loss:?}");
            if loss == Loss::Squared {
                assert_eq!(got[1][..6], [0.0, 0.0, -1.0, 0.5, 1.0, 0.0]);
            }
        }
    }
    for loss in [Loss::Squared, Loss::CrossEntropy] {
        let g = Graph::new();
        loss.build(g.input("z", &[3]), g.input_u32("labels", &[3]));
        let told = g.check().expect_err("one axis").to_string();
        assert!(told.contains("logits […, classes], labels […]") && told.contains("[3] [3]"), "{told}");
    }
}

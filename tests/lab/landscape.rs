//! Landscapes against closed forms: quadratics, kinks counted by hand, batch statistics in one batch.

use hillshade::{
    engine::{Conv, Session, block_on},
    lab::{
        Ball, BatchNorm, Conditions, Curvature, Direction, Directions, Gradient, Grid, Landscape, Matrix, Options,
        Parts, Problem, Samples, Scaling, Statistics, average_sharpness, parameters, places, secant, step_measures,
        worst_sharpness,
    },
    models::Init,
};

use crate::common::{assert_close, dot, gpu, noise, noise32};

/// Eigenvalues of the quadratic, with roots that are exact in f32.
const LAMBDA: [f64; 4] = [4.0, 1.0, 0.25, 0.0625];

/// `½ Σ λᵢ wᵢ²`, at `w`.
fn quadratic(session: &mut Session, w: [f32; 4]) -> Problem {
    let x = (0..16).map(|i| if i % 5 == 0 { (4.0 * LAMBDA[i / 4]).sqrt() as f32 } else { 0.0 }).collect();
    session.set("w", &[4, 1], &w).expect("it fits");
    Problem::new(Samples::new(4).floats("x", x).expect("it fits"), None, |b, n| {
        let outputs = b.g.input("x", &[n, 4]).matmul(b.param("w", &[4, 1], Init::Ones));
        Ok(Parts { losses: (outputs * outputs).sum(&[1]) * 0.5, outputs })
    })
}

fn loss_at(w: impl IntoIterator<Item = f64>) -> f64 {
    w.into_iter().zip(LAMBDA).map(|(w, l)| 0.5 * l * w * w).sum()
}

/// A classifier of twelve samples: with batch normalization, or of two dense layers.
fn classifier(session: &mut Session, normed: bool) -> Problem {
    let n = 12;
    let x = noise32(n * 20, 1);
    let samples = Samples::new(n)
        .floats("x", x)
        .and_then(|s| s.indices("y", (0..n as u32).map(|i| i * 7 % 4).collect()))
        .expect("it fits");
    let problem = Problem::new(samples, None, move |b, n| {
        let features = match normed {
            true => {
                let y = b.conv("conv", b.g.input("x", &[n, 5, 4, 1]), 3, 3, Conv::padded(1));
                b.batch_norm("norm", y).relu().global_avg_pool()
            }
            false => b.dense("first", b.g.input("x", &[n, 20]), 5).tanh(),
        };
        let outputs = b.dense("head", features, 4);
        let [losses, _] = outputs.cross_entropy(b.g.input_u32("y", &[n]));
        Ok(Parts { losses, outputs })
    });
    let set = |session: &mut Session, name: &str, shape: &[usize], stream, shift: f64| {
        let data: Vec<f32> = noise(shape.iter().product(), stream).iter().map(|v| (v + shift) as f32).collect();
        session.set(name, shape, &data).expect("it fits");
    };
    for (i, b) in problem.layout(&[]).expect("a layout").iter().enumerate() {
        set(session, &b.name, &b.shape, 10 + i as u32, 0.0);
    }
    set(session, "norm.running_mean", &[3], 30, 0.0);
    set(session, "norm.running_var", &[3], 31, 1.5);
    problem
}

fn random(session: &mut Session, problem: &Problem, scaling: Scaling, k: u32) -> Directions {
    let layout = problem.layout(&[]).expect("a layout");
    let one = |i| Direction::random(session, &layout, scaling, 3, i).expect("weights that are not zero");
    let list = (0..k).map(one).collect();
    Directions::new(session, &layout, list).expect("two that are not parallel")
}

fn with(statistics: Statistics) -> Conditions {
    Conditions { statistics, ..Conditions::default() }
}

fn landscape(session: &mut Session, problem: &Problem, d: &Directions, statistics: Statistics) -> Landscape {
    Landscape::new(session, problem, d, &with(statistics)).expect("a landscape")
}

#[test]
fn slices_of_a_quadratic_are_parabolas() {
    for (mut session, bound) in
        [(Session::reference(), 1e-12), (Session::host(), 1e-6), (Session::device(gpu(false)), 1e-6)]
    {
        let w = [0.5, -1.0, 2.0, 0.25];
        let problem = quadratic(&mut session, w);
        let d = random(&mut session, &problem, Scaling::Raw, 2);
        let [p, q] = [0, 1].map(|i| d.list()[i].vector.clone());
        assert!(dot(&p, &q).abs() < 1e-6 * d.list()[0].norm * d.list()[1].norm && d.cosine().is_some());
        let mut l = landscape(&mut session, &problem, &d, Statistics::Frozen);
        let (x, y) = (places(5, 1.0).expect("places"), places(3, 0.3).expect("places"));
        let at = |a: f64, b: f64| loss_at((0..4).map(|i| f64::from(w[i]) + a * p[i] + b * q[i]));
        let want: Vec<f64> = y.iter().flat_map(|&b| x.iter().map(move |&a| (a, b))).map(|(a, b)| at(a, b)).collect();
        let mut kept = Vec::new();
        let axes = [x, y];
        let grid = Grid::measure(&mut session, &mut l, &d, &axes, None, &mut |_, _| {}, |g| {
            kept.push(g.clone());
            Ok(())
        });
        let grid = grid.expect("a grid");
        assert_close("grid", &grid.values, &want, bound);
        assert!(grid.is_whole() && (grid.center - grid.values[7]).abs() < 1e-12);
        assert_eq!(kept.iter().map(|g| g.values.len()).collect::<Vec<_>>(), [5, 10, 15]);
        // Taken up after the first row, which is what was stored; not where it is another measurement.
        for (seeded, points) in [(false, 10), (true, 15)] {
            let mut stored = kept[0].clone();
            stored.directions[0].seed = if seeded { Some(77) } else { stored.directions[0].seed };
            let stored = serde_json_round(&stored);
            let mut count = 0;
            let again =
                Grid::measure(&mut session, &mut l, &d, &axes, Some(stored), &mut |_, _| count += 1, |_| Ok(()));
            assert_eq!((again.expect("a grid").values, count), (grid.values.clone(), points));
        }
        assert_eq!(session.shape_of("w"), Some(vec![4, 1]));
        assert_eq!(block_on(session.get("w")).expect("weights"), w);
    }
}

/// A grid as it comes back from a file.
fn serde_json_round(grid: &Grid) -> Grid {
    serde_json::from_str(&serde_json::to_string(grid).expect("JSON")).expect("the same")
}

#[test]
fn what_is_not_finite_is_kept() {
    let mut session = Session::host();
    let problem = quadratic(&mut session, [1e18, 0.0, 0.0, 1.0]);
    let layout = problem.layout(&[]).expect("a layout");
    let d = Direction::new("far", &[1e20, 0.0, 0.0, 0.0]).expect("finite");
    let d = Directions::new(&mut session, &layout, vec![d]).expect("one");
    let mut l = landscape(&mut session, &problem, &d, Statistics::Frozen);
    let axes = [places(3, 1.0).expect("places")];
    let grid = Grid::measure(&mut session, &mut l, &d, &axes, None, &mut |_, _| {}, |_| Ok(())).expect("a grid");
    assert!(!grid.values[0].is_finite() && grid.values[1].is_finite());
    let back = serde_json_round(&grid);
    assert!(back.values[0].is_nan() && back.values[1] == grid.values[1] && back.center == grid.center);
}

#[test]
fn filters_are_as_long_as_the_weights() {
    let mut session = Session::reference();
    let problem = classifier(&mut session, true);
    let layout = problem.layout(&[]).expect("a layout");
    let w = parameters(&session, &layout).expect("weights");
    for scaling in [Scaling::Filter, Scaling::Layer, Scaling::Raw] {
        let d = Direction::random(&session, &layout, scaling, 5, 0).expect("a direction");
        assert_eq!(d, Direction::random(&session, &layout, scaling, 5, 0).expect("the same"));
        assert_ne!(d.vector, Direction::random(&session, &layout, scaling, 5, 1).expect("another").vector);
        for b in &layout {
            let own = &d.vector[b.range.clone()];
            if b.shape.len() == 1 {
                assert_eq!(own.iter().all(|v| *v == 0.0), scaling != Scaling::Raw, "{}", b.name);
                continue;
            }
            let columns = if scaling == Scaling::Layer { 1 } else { b.shape[b.shape.len() - 1] };
            let norms = |x: &[f64]| -> Vec<f64> {
                let square = |c: usize| x.iter().skip(c).step_by(columns).map(|v| v * v).sum::<f64>();
                (0..columns).map(|c| square(c).sqrt()).collect()
            };
            if scaling != Scaling::Raw {
                assert_close(&b.name, &norms(own), &norms(&w[b.range.clone()]), 1e-6);
            }
        }
    }
}

#[test]
fn secants_tend_to_the_second_derivative() {
    let mut session = Session::reference();
    let problem = classifier(&mut session, false);
    let d = random(&mut session, &problem, Scaling::Filter, 1);
    let mut l = landscape(&mut session, &problem, &d, Statistics::Reestimated(4));
    assert_eq!((l.statistics(), l.batch_norms()), (Statistics::Frozen, 0));
    let mut a = Curvature::new(&mut session, &problem, Matrix::Hessian, &Options::default()).expect("an operator");
    let mut error = |r: f64| {
        let s = secant(&mut session, &mut l, &d, 0, &mut a, r).expect("both");
        assert_eq!((s.flips.count, s.flips.of), (0, 0));
        (s.secant - s.exact).abs() / s.exact.abs()
    };
    let [far, near] = [0.02, 0.01].map(&mut error);
    assert!(near < 1e-3 && (3.7..4.3).contains(&(far / near)), "{far} {near}");
    for radius in [0.0, f64::NAN] {
        let error = secant(&mut session, &mut l, &d, 0, &mut a, radius).expect_err("no radius").to_string();
        assert!(error.starts_with("radius: expected a positive number"), "{error}");
    }
}

#[test]
fn flips_are_those_counted_by_hand() {
    for micro_batch in [1, 2] {
        let mut session = Session::host();
        session.set("w", &[1, 2], &[0.5, -0.2]).expect("it fits");
        let samples = Samples::new(2).floats("x", vec![1.0, 2.0]).expect("it fits");
        let problem = Problem::new(samples, None, |b, n| {
            let outputs = b.g.input("x", &[n, 1]).matmul(b.param("w", &[1, 2], Init::Ones)).relu();
            Ok(Parts { losses: outputs.sum(&[1]), outputs })
        });
        let layout = problem.layout(&[]).expect("a layout");
        let d = vec![Direction::new("both", &[1.0, 1.0]).expect("finite")];
        let d = Directions::new(&mut session, &layout, d).expect("one");
        let conditions = Conditions { micro_batch: Some(micro_batch), ..Conditions::default() };
        let mut l = Landscape::new(&mut session, &problem, &d, &conditions).expect("a landscape");
        for (from, to, count) in [(-1.0, 1.0, 4), (-0.1, 0.1, 0), (0.0, 0.3, 2), (0.3, -0.6, 4)] {
            let flips = l.flips(&mut session, &[from], &[to]).expect("counts");
            assert_eq!((flips.count, flips.of), (count, 4), "{from} to {to}");
        }
    }
}

#[test]
fn statistics_are_the_ones_asked_for() {
    for (mut session, bound) in [(Session::reference(), 1e-6), (Session::host(), 1e-5)] {
        let problem = classifier(&mut session, true);
        let d = random(&mut session, &problem, Scaling::Filter, 1);
        let of = |session: &mut Session, statistics, at: f64| {
            let mut l = landscape(session, &problem, &d, statistics);
            assert_eq!((l.statistics(), l.batch_norms()), (statistics, 1));
            l.loss(session, &[at]).expect("a loss")
        };
        for at in [0.0, 0.4, -1.0] {
            let all = of(&mut session, Statistics::Batch(12), at);
            for size in [12, 100] {
                let anew = of(&mut session, Statistics::Reestimated(size), at);
                assert!((all - anew).abs() < bound, "{all} {anew} at {at}");
            }
            let frozen = of(&mut session, Statistics::Frozen, at);
            let ghost = of(&mut session, Statistics::Batch(5), at);
            let several = of(&mut session, Statistics::Reestimated(5), at);
            for (a, b) in [(frozen, all), (ghost, all), (several, all), (ghost, several), (frozen, several)] {
                assert!((a - b).abs() > 3e-6, "{a} {b} at {at}");
            }
        }
        for (statistics, mode) in [(Statistics::Frozen, BatchNorm::Eval), (Statistics::Batch(5), BatchNorm::Batch(5))] {
            let mut g = Gradient::new(&mut session, &problem, mode, None, &[]).expect("a gradient");
            let (want, got) = (g.run(&mut session).expect("a loss"), of(&mut session, statistics, 0.0));
            assert!((want - got).abs() < bound, "{want} {got}");
        }
        let mut l = landscape(&mut session, &problem, &d, Statistics::Reestimated(5));
        let error = l.gradient(&mut session, &[0.0]).expect_err("no derivative").to_string();
        assert!(error.contains("found re-estimated(5)"), "{error}");
        let error = l.loss(&mut session, &[0.0, 1.0]).expect_err("one direction").to_string();
        assert!(error.starts_with("point: expected 1 finite"), "{error}");
        let error = Landscape::new(&mut session, &problem, &d, &with(Statistics::Batch(11))).expect_err("one over");
        assert!(error.to_string().contains("does not leave one of 12"), "{error}");
    }
}

#[test]
fn interpolation_ends_at_both_networks() {
    let (mut here, mut there) = (Session::reference(), Session::reference());
    let problem = classifier(&mut here, false);
    classifier(&mut there, false);
    let layout = problem.layout(&[]).expect("a layout");
    for (i, b) in layout.iter().enumerate() {
        there.set(&b.name, &b.shape, &noise32(b.range.len(), 50 + i as u32)).expect("it fits");
    }
    let other = parameters(&there, &layout).expect("weights");
    let d = Direction::towards(&here, &layout, &other).expect("other weights");
    assert!(Direction::towards(&here, &layout, &other[1..]).is_err());
    assert!(Direction::towards(&there, &layout, &other).is_err(), "the same weights");
    let d = Directions::new(&mut here, &layout, vec![d]).expect("one");
    let mut l = landscape(&mut here, &problem, &d, Statistics::Frozen);
    for at in [0.0, 1.0] {
        let session = if at == 0.0 { &mut here } else { &mut there };
        let mut g = Gradient::new(session, &problem, BatchNorm::Eval, None, &[]).expect("a gradient");
        let want = g.run(session).expect("a loss");
        let got = l.loss(&mut here, &[at]).expect("a loss");
        assert!((want - got).abs() < 1e-6, "{want} {got} at {at}");
    }
}

#[test]
fn principal_directions_span_the_planted_plane() {
    let mut session = Session::reference();
    let problem = classifier(&mut session, false);
    let layout = problem.layout(&[]).expect("a layout");
    let own = parameters(&session, &layout).expect("weights");
    let (u, v) = (noise(own.len(), 60), noise(own.len(), 61));
    let point = |i: u32| -> Vec<f64> {
        let (a, b) = (f64::from(i), f64::from(i * i % 7));
        (0..own.len()).map(|j| own[j] + a * u[j] + 0.3 * b * v[j]).collect()
    };
    let trajectory: Vec<Vec<f64>> = (1..6).map(point).collect();
    let (list, found) = Direction::principal(&session, &layout, &trajectory, 2).expect("a plane");
    assert!(found.explained[0] > found.explained[1] && (found.explained.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(dot(&list[0].vector, &list[1].vector).abs() < 1e-6 && (list[0].norm - 1.0).abs() < 1e-6);
    for w in [&u, &v] {
        let inside: f64 = list.iter().map(|d| dot(&d.vector, w).powi(2)).sum();
        assert!((inside / dot(w, w) - 1.0).abs() < 1e-6, "{inside}");
    }
    for (path, point) in found.path.iter().zip(&trajectory) {
        let far: f64 = point.iter().zip(&own).map(|(p, o)| (p - o).powi(2)).sum();
        assert!((dot(path, path) / far - 1.0).abs() < 1e-6);
    }
    let error = Direction::principal(&session, &layout, &trajectory, 3).expect_err("a plane only").to_string();
    assert!(error.contains("spans 3 directions, found 2"), "{error}");
}

#[test]
fn sharpness_of_a_quadratic_is_known() {
    let mut session = Session::reference();
    let plain = Conditions::default();
    let rho = 0.3;
    let problem = quadratic(&mut session, [0.0; 4]);
    let worst = worst_sharpness(&mut session, &problem, &plain, Ball::L2, rho, 20, 1).expect("a rise");
    let want = 0.5 * LAMBDA[0] * rho * rho;
    assert!((worst.value / want - 1.0).abs() < 1e-3 && worst.value <= want * (1.0 + 1e-6), "{worst:?}");
    let mean = average_sharpness(&mut session, &problem, &plain, rho, 400, 1).expect("a mean");
    let want = rho * rho * LAMBDA.iter().sum::<f64>() / 8.0;
    assert!((mean.value - want).abs() < 4.0 * mean.standard_error && mean.standard_error < 0.1 * want, "{mean:?}");
    // At ones the worst corner has every weight larger.
    let problem = quadratic(&mut session, [1.0; 4]);
    let worst = worst_sharpness(&mut session, &problem, &plain, Ball::Elementwise, rho, 20, 1).expect("a rise");
    let want = loss_at([1.0; 4]) * ((1.0 + rho).powi(2) - 1.0);
    assert!((worst.value / want - 1.0).abs() < 1e-6, "{worst:?} {want}");
    assert!(worst_sharpness(&mut session, &problem, &plain, Ball::L2, -1.0, 20, 1).is_err());
    assert!(average_sharpness(&mut session, &problem, &plain, rho, 1, 1).is_err());
}

#[test]
fn steps_of_a_quadratic_are_known() {
    let mut session = Session::reference();
    let w = [0.5, -1.0, 2.0, 0.25];
    let problem = quadratic(&mut session, w);
    let steps = [0.01, 0.1, 0.4];
    let step = step_measures(&mut session, &problem, &Conditions::default(), &steps).expect("measures");
    let g: Vec<f64> = (0..4).map(|i| LAMBDA[i] * f64::from(w[i])).collect();
    let hg: Vec<f64> = (0..4).map(|i| LAMBDA[i] * g[i]).collect();
    let (norm, beta) = (dot(&g, &g).sqrt(), (dot(&hg, &hg) / dot(&g, &g)).sqrt());
    assert_close("norm and beta", &[step.gradient_norm, step.beta], &[norm, beta], 1e-5);
    for (p, s) in step.points.iter().zip(steps) {
        let loss = loss_at((0..4).map(|i| f64::from(w[i]) - s * g[i]));
        assert_close("a step", &[p.loss, p.change], &[loss, s * dot(&hg, &hg).sqrt()], 1e-5);
    }
    assert!(step.variation[0] < step.variation[1] && step.variation[1] < step.loss);
    let error = step_measures(&mut session, &problem, &Conditions::default(), &[0.1, 0.0]).expect_err("no length");
    assert!(error.to_string().starts_with("step: expected a positive number"), "{error}");
}

#[test]
fn host_and_device_agree() {
    let mut found = Vec::new();
    for mut session in [Session::reference(), Session::host(), Session::device(gpu(false))] {
        let problem = classifier(&mut session, true);
        let d = random(&mut session, &problem, Scaling::Filter, 2);
        let mut values = Vec::new();
        for statistics in [Statistics::Frozen, Statistics::Batch(5), Statistics::Reestimated(5)] {
            let mut l = landscape(&mut session, &problem, &d, statistics);
            for at in [[0.0, 0.0], [0.7, -0.4], [-1.0, 1.0]] {
                values.push(l.loss(&mut session, &at).expect("a loss"));
            }
            let flips = l.flips(&mut session, &[-0.5, 0.0], &[0.5, 0.0]).expect("counts");
            assert!(flips.count > 0 && flips.of == 12 * 60, "{flips:?}");
        }
        found.push(values);
    }
    for other in &found[1..] {
        assert_close("losses", other, &found[0], 1e-5);
    }
}

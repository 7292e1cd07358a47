//! What programs give when they run: large arrays, ties and either side of a choice, the same bits again.

mod common;

use common::{Bench, each_case, evaluate, feeds, gpu, input_names, noise, pollster_block};
use hillshade::engine::{Case, Conv, Data, Graph, Pool, Result, Sample, Session, Sgd, Var};

/// Plain descent.
const DESCENT: Sgd = Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };

/// A case's wanted values.
fn values(session: &mut Session, case: &Case) -> Vec<Vec<f64>> {
    Bench::new(case).values(session)
}

/// What chooses is a comparison here, so that both sides are taken; each operand in turn is broadcast.
#[test]
fn select_takes_either_side() {
    let unit = |shape: &[usize]| Sample::Range(shape.to_vec(), -1.0, 1.0);
    let shapes: [[&[usize]; 3]; 4] =
        [[&[3, 5, 7]; 3], [&[7], &[3, 5, 7], &[5, 1]], [&[3, 5, 7], &[7], &[3, 1, 1]], [&[3, 1, 7], &[], &[5, 7]]];
    for shapes in shapes {
        let case = Case::new("select", shapes.map(unit).to_vec(), |g, x| {
            let zero = g.fill(&[], 0.0)?;
            let m = g.gt(x[0], zero)?;
            Ok(vec![g.select(m, x[1], x[2])?, m])
        });
        let want = values(&mut Session::twin(), &case);
        let chosen = want[1].iter().sum::<f64>();
        assert!(chosen > 0.0 && chosen < want[1].len() as f64, "both sides are taken");
        for mut session in [Session::device(gpu(false)), Session::host()] {
            assert_eq!(values(&mut session, &case), want, "{shapes:?} on {}", session.executor());
        }
    }
}

/// The first of equal elements is the maximum, in a window as along an axis.
#[test]
fn the_first_of_equals_is_found() {
    let three_values = |g: &mut Graph, x: Var| -> Result<Var> {
        let low = g.fill(&[], -0.3).and_then(|at| g.gt(x, at))?;
        let high = g.fill(&[], 0.3).and_then(|at| g.gt(x, at))?;
        g.add(low, high)
    };
    let case = Case::new("ties", vec![Sample::Range(vec![2, 8, 9, 3], -1.0, 1.0)], move |g, x| {
        let x = three_values(g, x[0])?;
        let [most, at] = g.max_pool(x, Pool { kernel: [3, 2], stride: [2, 1], padding: [1, 1] })?;
        Ok(vec![most, at, g.argmax(x, 1)?, x])
    });
    let want = values(&mut Session::twin(), &case);
    for mut session in [Session::device(gpu(false)), Session::host()] {
        assert_eq!(values(&mut session, &case), want, "{}", session.executor());
    }
    // Image 0, channel 0, window (1, 1): rows 1 to 3, columns 0 and 1.
    let window: Vec<usize> = [1, 2, 3].iter().flat_map(|y| [0, 1].map(|x| (y * 9 + x) * 3)).collect();
    let most = window.iter().map(|&i| want[3][i]).fold(0.0, f64::max);
    let first = window.into_iter().find(|&i| want[3][i] == most).expect("the largest of them");
    assert_eq!(want[1][(10 + 1) * 3], first as f64);
}

/// More workgroups than one dimension of a grid has: 20 million elements and one.
#[test]
fn large_arrays_are_right() {
    const LEN: usize = 20_000_001;
    let mut g = Graph::new();
    let x = g.input("x", &[LEN]).expect("a free name");
    let scalar = g.input("scalar", &[1]).expect("a free name");
    let (y, z) = (g.neg(x).expect("one operand"), g.add(x, scalar).expect("the shapes fit"));
    let sum = g.sum(z, &[0]).expect("an axis");
    let data: Vec<f32> = (0..LEN).map(|i| (i % 4096) as f32).collect();
    let mut session = Session::device(gpu(false));
    let mut program = session.compile(&g, &[y, z, sum]).expect("it fits");
    program.run(&mut session, &[("x", (&data).into()), ("scalar", Data::F32(&[0.5]))]).expect("the feeds fit");
    let wrong = |got: Vec<f32>, f: fn(f32) -> f32| got.iter().zip(&data).position(|(got, &x)| *got != f(x));
    assert_eq!(wrong(program.read_now(&session, y).expect("an output"), |x| -x), None);
    assert_eq!(wrong(program.read_now(&session, z).expect("an output"), |x| x + 0.5), None);
    let exact: f64 = data.iter().map(|&x| f64::from(x) + 0.5).sum();
    let got = program.read_now(&session, sum).expect("an output")[0];
    assert!((f64::from(got) - exact).abs() < 1e-6 * exact, "{got}, expected {exact}");
}

/// One program, ten runs, the same bits: every op on the device and on the host.
#[test]
fn runs_repeat_bit_for_bit() {
    for mut session in [Session::device(gpu(false)), Session::host()] {
        each_case(|case| {
            let b = Bench::new(case);
            let names = input_names(&b.g);
            let mut program = session.compile(&b.g, &b.y).expect("the graph compiles");
            let mut run = || {
                program.run(&mut session, &feeds(&names, &b.drawn)).expect("the feeds fit");
                let read = |&y: &Var| pollster_block(program.read_wide(&session, y)).expect("an output");
                b.y.iter().flat_map(read).map(f64::to_bits).collect::<Vec<_>>()
            };
            let first = run();
            for _ in 1..10 {
                assert!(run() == first, "{}", case.what);
            }
        });
    }
}

/// A training step of a small convolutional net, ten times from the same start: the same bits.
#[test]
fn training_repeats_bit_for_bit() {
    let build = || -> Result<(Graph, Var)> {
        let mut g = Graph::new();
        let (x, labels) = (g.input("x", &[16, 12, 12, 3])?, g.input_u32("labels", &[16])?);
        let [w, v] = [g.state("w", &[3, 3, 3, 8])?, g.state("v", &[8, 10])?];
        let (gamma, beta, rate) = (g.fill(&[8], 1.0)?, g.fill(&[8], 0.0)?, g.fill(&[1], 0.1)?);
        let h = g.conv2d(x, w, Conv::padded(1))?;
        let [h, ..] = g.batch_norm(h, gamma, beta, 1e-5)?;
        let h = g.relu(h).and_then(|h| g.global_avg_pool(h))?;
        let logits = g.matmul(h, v)?;
        let losses = g.cross_entropy(logits, labels)?[0];
        let loss = g.mean(losses, &[0])?;
        let d = g.grad(loss, &[w, v])?;
        for (p, d) in [w, v].into_iter().zip(d) {
            let new = g.sgd(DESCENT, p, d, rate, None)?[0];
            g.assign(p, new)?;
        }
        Ok((g, loss))
    };
    let (g, loss) = build().expect("the shapes fit");
    let draw = |len, stream| noise(len, stream).iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let (x, labels): (_, Vec<u32>) = (draw(16 * 12 * 12 * 3, 1), (0..16).map(|i| i % 10).collect());
    let feeds = [("x", Data::F32(&x)), ("labels", Data::U32(&labels))];
    for mut session in [Session::device(gpu(false)), Session::host()] {
        let mut run = || {
            session.set("w", &[3, 3, 3, 8], &draw(216, 2)).expect("the sizes match");
            session.set("v", &[8, 10], &draw(80, 3)).expect("the sizes match");
            let losses: Vec<_> = (0..3).map(|_| evaluate(&mut session, &g, &[loss], &feeds)[0][0].to_bits()).collect();
            (losses, pollster_block(session.get("w")).expect("a state"))
        };
        let first = run();
        assert!(first.0[0] != first.0[1], "the steps move the parameters");
        assert!((1..10).all(|_| run() == first));
    }
}

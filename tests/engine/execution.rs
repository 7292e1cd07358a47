//! What programs give when they run: large arrays, ties and either side of a choice, the same bits again.

use hillshade::engine::{Conv, Data, Graph, Pool, Result, Session, Sgd, Tensor, TestCase};

use crate::common::{Bench, each_case, evaluate, gpu, noise32, pollster_block, unit};

/// Plain descent.
const DESCENT: Sgd = Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };

/// A case's wanted values.
fn values(session: &mut Session, case: &TestCase) -> Vec<Vec<f64>> {
    Bench::new(case).values(session)
}

/// What chooses is a comparison here, so that both sides are taken; each operand in turn is broadcast.
#[test]
fn select_takes_either_side() {
    let shapes: [[&[usize]; 3]; 4] =
        [[&[3, 5, 7]; 3], [&[7], &[3, 5, 7], &[5, 1]], [&[3, 5, 7], &[7], &[3, 1, 1]], [&[3, 1, 7], &[], &[5, 7]]];
    for shapes in shapes {
        let case = TestCase::new("select", shapes.map(unit).to_vec(), |x| {
            let m = x[0].gt(x[0].graph().fill(&[], 0.0));
            Ok(vec![m.select(x[1], x[2]), m])
        });
        let want = values(&mut Session::reference(), &case);
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
    let case = TestCase::new("ties", vec![unit(&[2, 8, 9, 3])], |x| {
        let above = |at: f64| x[0].gt(x[0].graph().fill(&[], at));
        let three_values = above(-0.3) + above(0.3);
        let [most, at] = three_values.max_pool(Pool { kernel: [3, 2], stride: [2, 1], padding: [1, 1] });
        Ok(vec![most, at, three_values.argmax(1), three_values])
    });
    let want = values(&mut Session::reference(), &case);
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
    let g = Graph::new();
    let (x, scalar) = (g.input("x", &[LEN]), g.input("scalar", &[1]));
    let (y, z) = (-x, x + scalar);
    let sum = z.sum(&[0]);
    let data: Vec<f32> = (0..LEN).map(|i| (i % 4096) as f32).collect();
    let mut session = Session::device(gpu(false));
    let mut program = session.compile(&g, &[y, z, sum]).expect("it fits");
    program.run(&mut session, [(x, Data::from(&data)), (scalar, Data::F32(&[0.5]))]).expect("the inputs fit");
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
            let mut program = session.compile(&b.g, &b.y()).expect("the graph compiles");
            let mut run = || {
                program.run(&mut session, &b.inputs()).expect("the inputs fit");
                let read = |y: Tensor| pollster_block(program.read_wide(&session, y)).expect("an output");
                b.y().into_iter().flat_map(read).map(f64::to_bits).collect::<Vec<_>>()
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
    let g = Graph::new();
    let build = || -> Result<_> {
        let (x, labels) = (g.input("x", &[16, 12, 12, 3]), g.input_u32("labels", &[16]));
        let (w, v) = (g.state("w", &[3, 3, 3, 8]), g.state("v", &[8, 10]));
        let (gamma, beta, rate) = (g.fill(&[8], 1.0), g.fill(&[8], 0.0), g.fill(&[1], 0.1));
        let [h, ..] = x.conv2d(w, Conv::padded(1)).batch_norm(gamma, beta, 1e-5);
        let [losses, _] = h.relu().global_avg_pool().matmul(v).cross_entropy(labels);
        let loss = losses.mean_all();
        for (p, d) in [w, v].into_iter().zip(loss.grad(&[w, v])?) {
            g.assign(p, p.sgd(DESCENT, d, rate, None)?[0]);
        }
        Ok((loss, x, labels))
    };
    let (loss, x, labels) = build().expect("the shapes fit");
    let (images, digits): (_, Vec<u32>) = (noise32(16 * 12 * 12 * 3, 1), (0..16).map(|i| i % 10).collect());
    let inputs = [(x, Data::from(&images)), (labels, Data::from(&digits))];
    for mut session in [Session::device(gpu(false)), Session::host()] {
        let mut run = || {
            session.set("w", &[3, 3, 3, 8], &noise32(216, 2)).expect("the sizes match");
            session.set("v", &[8, 10], &noise32(80, 3)).expect("the sizes match");
            let losses: Vec<_> = (0..3).map(|_| evaluate(&mut session, &g, &[loss], inputs)[0][0].to_bits()).collect();
            (losses, pollster_block(session.get("w")).expect("a state"))
        };
        let first = run();
        assert!(first.0[0] != first.0[1], "the steps move the parameters");
        assert!((1..10).all(|_| run() == first));
    }
}

//! 16-bit floats: rounded to the bit on every executor, straight through for derivatives, and what a step stores in them.

mod common;

use common::*;
use half::f16;
use hillshade::{
    engine::{DType, Data, Graph, Plan, Result, Session, Source, Var},
    models::{
        Config, Network, Optimizer, Perturbation, Precision, Schedule, ScheduleShape, Task, Trainer,
        data::{Dataset, Images},
    },
};

fn executors() -> [Session; 3] {
    [Session::device(gpu(false)), Session::host(), Session::twin()]
}

fn pack(halves: &[u16]) -> Vec<u32> {
    halves.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0)) << 16).collect()
}

/// The floats as halves, by a graph.
fn halves(session: &mut Session, x: &[f32]) -> Vec<u16> {
    let mut g = Graph::new();
    let input = g.input("x", &[x.len()]).expect("a fresh graph");
    let y = g.half(input).expect("floats");
    let words = evaluate(session, &g, &[y], &[("x", Data::F32(x))]).concat();
    words.into_iter().flat_map(|w| [w as u32 as u16, (w as u32 >> 16) as u16]).take(x.len()).collect()
}

#[test]
fn every_half_is_read_exactly() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for mut session in executors() {
        let mut g = Graph::new();
        let words = g.input_u32("words", &[all.len() / 2]).expect("a fresh graph");
        let y = g.float(words, &[256, 256]).expect("as many");
        let got = evaluate(&mut session, &g, &[y], &[("words", Data::U32(&pack(&all)))]).concat();
        for (&bits, got) in all.iter().zip(got) {
            let want = f16::from_bits(bits).to_f64();
            let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            assert!(same, "{bits:#06x} is {got}, expected {want}, on {}", session.executor());
        }
    }
}

/// To the nearest, at a tie to the even one; beyond the largest to infinity; what is no number stays none.
#[test]
fn floats_are_rounded_to_the_nearest_half() {
    let (mut x, mut want) = (Vec::new(), Vec::new());
    for low in 0..0x7c00_u16 {
        // As if there were a number after the largest, 65536, half-way to which infinity begins.
        let at = |bits: u16| if bits == 0x7c00 { 65536.0 } else { f16::from_bits(bits).to_f32() };
        let middle = (at(low) + at(low + 1)) / 2.0;
        let even = low + low % 2;
        for (v, half) in [(at(low), low), (middle.next_down(), low), (middle, even), (middle.next_up(), low + 1)] {
            x.extend([v, -v]);
            want.extend([half, half | 0x8000]);
        }
    }
    x.extend([f32::INFINITY, f32::NEG_INFINITY, 1e30, f32::MIN_POSITIVE, -1e-40]);
    want.extend([0x7c00, 0xfc00, 0x7c00, 0, 0x8000]);
    for mut session in executors() {
        let got = halves(&mut session, &x);
        for ((x, want), got) in x.iter().zip(&want).zip(got) {
            assert_eq!(got, *want, "{x:e} is {got:#06x}, expected {want:#06x}, on {}", session.executor());
        }
        assert!(f16::from_bits(halves(&mut session, &[f32::NAN])[0]).is_nan());
    }
}

#[test]
fn shapes_must_fit() {
    let mut g = Graph::new();
    let words = g.input_u32("words", &[3]).expect("a fresh graph");
    assert_eq!(g.float(words, &[5]).and_then(|y| g.half(y)).map(|y| g.ty(y).clone()).expect("5 of 6"), *g.ty(words));
    let told = g.float(words, &[2, 2]).expect_err("4 of 6").to_string();
    assert!(told.contains("[2] words for [2, 2]"), "{told}");
    assert!(g.half(words).is_err());
}

/// Both modes, and both orders of a second derivative, see the identity in `float(half(x))`.
#[test]
fn derivatives_go_straight_through() {
    let mut g = Graph::new();
    let [x, v] = ["x", "v"].map(|name| g.input(name, &[3, 5]).expect("a fresh graph"));
    let build = |g: &mut Graph| -> Result<Vec<Var>> {
        let words = g.half(x)?;
        let y = g.float(words, &[3, 5])?;
        let [forward, back] = [g.jvp(&[y], &[x], &[v])?[0], g.vjp(&[y], &[v], &[x])?[0]];
        let cube = g.mul(y, y).and_then(|s| g.mul(s, y))?;
        let slope = g.vjp(&[cube], &[v], &[x])?;
        let bent = [g.jvp(&slope, &[x], &[v])?[0], g.vjp(&slope, &[v], &[x])?[0]];
        Ok([vec![forward, back, slope[0]], bent.to_vec()].concat())
    };
    let y = build(&mut g).expect("rules");
    let [data, along] = [noise(15, 1), noise(15, 2)];
    let [narrow, v] = [&data, &along].map(|x| x.iter().map(|&v| v as f32).collect::<Vec<_>>());
    let got = evaluate(&mut Session::twin(), &g, &y, &[("x", Data::F32(&narrow)), ("v", Data::F32(&v))]);
    assert_eq!((&got[0], &got[1]), (&along, &along));
    let rounded: Vec<f64> = data.iter().map(|&x| f16::from_f64(x).to_f64()).collect();
    let want = |f: fn(f64, f64) -> f64| rounded.iter().zip(&along).map(|(&x, &v)| f(x, v)).collect::<Vec<_>>();
    assert_close("slope", &got[2], &want(|x, v| 3.0 * x * x * v), 1e-14);
    for bent in &got[3..] {
        assert_close("slope's slope", bent, &want(|x, v| 6.0 * x * v * v), 1e-14);
    }
}

/// `Σ c exp(x w)` by rows: the rule of exp reads its result rounded, that of the product its operands, which are no op's.
#[test]
fn reverse_mode_reads_rounded_values() {
    let mut values = Vec::new();
    for stored in [false, true] {
        let mut g = Graph::new();
        let [x, w, c] = ["x", "w", "c"].map(|name| g.input(name, &[4, 6]).expect("a fresh graph"));
        let build = |g: &mut Graph| -> Result<Vec<Var>> {
            let product = g.mul(x, w)?;
            let y = g.exp(product)?;
            let weighed = g.mul(y, c)?;
            let loss = g.sum(weighed, &[0, 1])?;
            g.store_half(stored);
            Ok(vec![loss, g.grad(loss, &[w])?[0], g.hvp(loss, &[w], &[c])?[0]])
        };
        let y = build(&mut g).expect("rules");
        let data: Vec<Vec<f32>> = (0..3).map(|s| noise(24, s).iter().map(|&v| v as f32).collect()).collect();
        let feeds: Vec<_> = ["x", "w", "c"].into_iter().zip(&data).map(|(n, d)| (n, Data::F32(d))).collect();
        let got = evaluate(&mut Session::twin(), &g, &y, &feeds);
        let [x, w, c] = [0, 1, 2].map(|i| data[i].iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        let round = |v: f64| if stored { f16::from_f64(v).to_f64() } else { v };
        let want: Vec<f64> = (0..24).map(|i| c[i] * round((x[i] * w[i]).exp()) * x[i]).collect();
        assert_close("gradient", &got[1], &want, 1e-14);
        values.push(got);
    }
    assert_eq!(values[0][0], values[1][0], "the first pass is as it was");
    assert_ne!(values[0][1], values[1][1]);
    assert_close("the Hessian's product", &values[1][2], &values[0][2], 2e-3);
}

/// Images of noise, brighter or darker by their label.
fn dataset(size: [usize; 3], n: usize) -> Dataset {
    let pixels = size.iter().product::<usize>();
    let draw = |n: usize, stream: u32| {
        let labels: Vec<u32> = (0..n).map(|i| (i * 7 % 10) as u32).collect();
        let shade = |i: usize| 20.0 * f64::from(labels[i / pixels]) + 35.0;
        let pixels = noise(n * pixels, stream).iter().enumerate().map(|(i, v)| (shade(i) + 35.0 * v) as u8).collect();
        Images { shape: size, pixels, labels }
    };
    Dataset::new("noise", (0..10).map(|c| c.to_string()).collect(), draw(n, 1), draw(20, 2))
}

fn config(model: &str, precision: Precision, own: Config) -> Config {
    let schedule = Schedule { rate: 0.02, shape: ScheduleShape::Constant, warmup: 0 };
    Config { model: model.into(), data: "noise".into(), epochs: 4, seed: 5, schedule, precision, ..own }
}

fn after(session: Session, config: Config, steps: usize) -> Vec<(String, Vec<f32>)> {
    let mut t = Trainer::new(config, dataset([8, 8, 1], 64), session).expect("a fitting configuration");
    for _ in 0..steps {
        t.step().expect("the step runs");
    }
    let states = pollster_block(t.checkpoint()).expect("finite states").states;
    states.into_iter().map(|(name, (_, data))| (name, data)).collect()
}

/// A step in f16 is nearly that in f32, the same on all executors, and the same bits each time.
#[test]
fn steps_are_nearly_those_in_f32() {
    let sam = Some(Perturbation::Sam { rho: 0.05 });
    let adam = Optimizer::AdamW { decay: 0.01 };
    for (model, perturbation, accumulate) in [
        ("cnn:widths=4-6", None, 2),
        ("cnn:widths=4-6,norm=none", sam, 1),
        ("resnet8:width=4", None, 1),
        ("vit:layers=1,heads=2,width=16,patch=4", None, 1),
        ("mlp:widths=20,activation=gelu,dropout=0.3", None, 1),
    ] {
        let own = |precision| {
            let own = Config { batch: 16, perturbation, accumulate, optimizer: adam, ..Config::default() };
            config(model, precision, own)
        };
        let whole = after(Session::twin(), own(Precision::F32), 1);
        let want = after(Session::twin(), own(Precision::F16), 1);
        assert!(whole != want, "{model}");
        for session in executors() {
            let executor = session.executor();
            let got = after(session, own(Precision::F16), 1);
            for ((name, got), ((_, want), (_, whole))) in got.iter().zip(want.iter().zip(&whole)) {
                let what = format!("{model} on {executor}: {name}");
                let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
                // A key's bias moves all scores of a query alike: its gradient is rounding.
                if name.starts_with("moment1/") && !name.ends_with("key.bias") {
                    // A value beside a tie falls to either side.
                    assert_close(&what, &wide(got), &wide(want), 2e-2);
                    assert_close(&what, &wide(got), &wide(whole), 5e-2);
                }
            }
        }
        let [one, other] = [(), ()].map(|()| after(Session::host(), own(Precision::F16), 3));
        assert!(one == other, "{model}: other bits in another run");
    }
}

/// Between the passes of a step on ResNet-20 all that is large is stored as halves.
#[test]
fn a_step_in_f16_needs_little_more_than_half_the_memory() {
    let plan = |precision| {
        let own = Config { batch: 128, ..Config::default() };
        let task = Task::from(dataset([32, 32, 3], 256));
        let t = Trainer::new(config("resnet20", precision, own), task, Session::host()).expect("it fits");
        t.step_program().plan().clone()
    };
    let [whole, half] = [Precision::F32, Precision::F16].map(plan);
    let ratio = half.bytes() as f64 / whole.bytes() as f64;
    println!("{} and {} bytes: {ratio:.3}", whole.bytes(), half.bytes());
    assert!(ratio <= 0.66, "{ratio}");
    assert!(half.flops() as f64 <= 1.02 * whole.flops() as f64);
    let words = |plan: &Plan| plan.slots.iter().filter(|(dtype, _)| *dtype == DType::U32).map(|s| s.1).sum::<usize>();
    assert!(4 * words(&half) as u64 > half.bytes() / 2, "{} words", words(&half));
}

/// An activation beyond the largest half does not go by unseen.
#[test]
fn overflow_is_seen_in_the_gradient() {
    for (scale, finite) in [(1e4_f32, true), (1e6, false)] {
        let mut g = Graph::new();
        let x = g.input("x", &[3]).expect("a fresh graph");
        let large = g.affine(x, f64::from(scale), 0.0).expect("floats");
        let square = g.mul(large, large).expect("alike");
        let loss = g.sum(square, &[0]).expect("an axis");
        g.store_half(true);
        let d = g.grad(loss, &[x]).expect("rules");
        let got = evaluate(&mut Session::host(), &g, &[loss, d[0]], &[("x", Data::F32(&[1.0, -2.0, 0.5]))]);
        assert!(got[0][0].is_finite());
        assert_eq!(got[1].iter().all(|d| d.is_finite()), finite, "{got:?}");
    }
}

/// Nothing is stored where nothing is asked for, and inputs never are.
#[test]
fn what_is_stored_is_what_ops_made() {
    let task = Task::from(dataset([8, 8, 1], 64));
    let network = Network::parse("cnn:widths=4").expect("a network");
    let mut stored = Vec::new();
    for half in [false, true] {
        let mut b = hillshade::models::Builder::new(hillshade::models::Mode::Train);
        let [x, _] = task.inputs(&mut b, 16).expect("a batch");
        let y = network.build(&mut b, x, 10).expect("it fits");
        let loss = b.g.mean(y, &[0, 1]).expect("axes");
        let wrt: Vec<Var> = b.trained().map(|p| p.var).collect();
        b.g.store_half(half);
        b.g.grad(loss, &wrt).expect("rules");
        let made: Vec<bool> =
            b.g.nodes()
                .iter()
                .filter_map(|n| match &n.source {
                    Source::Op(op) if op.name() == "half" => Some(matches!(b.g.node_of(n.x[0]).source, Source::Op(_))),
                    _ => None,
                })
                .collect();
        assert!(made.iter().all(|&by_op| by_op));
        stored.push(made.len());
    }
    assert_eq!(stored[0], 0);
    assert!(stored[1] >= 3, "{stored:?}");
}

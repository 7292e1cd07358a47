//! 16-bit floats: rounded to the bit on every executor, straight through for derivatives, and what a step stores in them.

use half::f16;
use hillshade::engine::{DType, Data, Graph, Result, Session, Type};

use crate::common::*;

fn executors() -> [Session; 3] {
    [Session::device(gpu(false)), Session::host(), Session::reference()]
}

fn pack(halves: &[u16]) -> Vec<u32> {
    halves.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0)) << 16).collect()
}

/// The floats as halves, by a graph.
fn halves(session: &mut Session, x: &[f32]) -> Vec<u16> {
    let g = Graph::new();
    let input = g.input("x", &[x.len()]);
    let words = evaluate(session, &g, &[input.pack_f16()], [(input, x)]).concat();
    words.into_iter().flat_map(|w| [w as u32 as u16, (w as u32 >> 16) as u16]).take(x.len()).collect()
}

#[test]
fn every_half_is_read_exactly() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for mut session in executors() {
        let g = Graph::new();
        let words = g.input_u32("words", &[all.len() / 2]);
        let y = words.unpack_f16(&[256, 256]);
        let got = evaluate(&mut session, &g, &[y], [(words, &pack(&all))]).concat();
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
    let g = Graph::new();
    let words = g.input_u32("words", &[3]);
    let packed = Type { shape: vec![3], dtype: DType::F16x2 };
    assert_eq!(words.unpack_f16(&[5]).pack_f16().ty(), Ok(&packed), "5 of 6");
    words.unpack_f16(&[2, 2]);
    let told = g.check().expect_err("4 of 6").to_string();
    assert!(told.contains("[2] words for [2, 2]"), "{told}");
    let g = Graph::new();
    assert!(g.input_u32("words", &[3]).pack_f16().ty().is_err());
}

/// Both modes, and both orders of a second derivative, see the identity in `float(half(x))`.
#[test]
fn derivatives_go_straight_through() {
    let g = Graph::new();
    let [x, v] = ["x", "v"].map(|name| g.input(name, &[3, 5]));
    let build = || -> Result<_> {
        let y = x.pack_f16().unpack_f16(&[3, 5]);
        let [forward, back] = [g.jvp(&[y], &[x], &[v])?[0], g.vjp(&[y], &[v], &[x])?[0]];
        let slope = g.vjp(&[y * y * y], &[v], &[x])?;
        let bent = [g.jvp(&slope, &[x], &[v])?[0], g.vjp(&slope, &[v], &[x])?[0]];
        Ok([forward, back, slope[0], bent[0], bent[1]])
    };
    let y = build().expect("rules");
    let [data, along] = [noise(15, 1), noise(15, 2)];
    let got = evaluate(&mut Session::reference(), &g, &y, [(x, &noise32(15, 1)), (v, &noise32(15, 2))]);
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
        let g = Graph::new();
        let [x, w, c] = ["x", "w", "c"].map(|name| g.input(name, &[4, 6]));
        let loss = ((x * w).exp() * c).sum(&[0, 1]);
        g.store_f16(stored);
        let gradient = loss.grad(&[w]).expect("rules")[0];
        let product = loss.hvp(&[w], &[c]).expect("rules")[0];
        let data = [0, 1, 2].map(|stream| noise32(24, stream));
        let inputs = [(x, &data[0]), (w, &data[1]), (c, &data[2])];
        let got = evaluate(&mut Session::reference(), &g, &[loss, gradient, product], inputs);
        let [x, w, c] = [0, 1, 2].map(|stream| noise(24, stream));
        let round = |v: f64| if stored { f16::from_f64(v).to_f64() } else { v };
        let want: Vec<f64> = (0..24).map(|i| c[i] * round((x[i] * w[i]).exp()) * x[i]).collect();
        assert_close("gradient", &got[1], &want, 1e-14);
        values.push(got);
    }
    assert_eq!(values[0][0], values[1][0], "the first pass is as it was");
    assert_ne!(values[0][1], values[1][1]);
    assert_close("the Hessian's product", &values[1][2], &values[0][2], 2e-3);
}

/// An activation beyond the largest half does not go by unseen.
#[test]
fn overflow_is_seen_in_the_gradient() {
    for (scale, finite) in [(1e4_f32, true), (1e6, false)] {
        let g = Graph::new();
        let x = g.input("x", &[3]);
        let large = x * f64::from(scale);
        let loss = (large * large).sum(&[0]);
        g.store_f16(true);
        let d = loss.grad(&[x]).expect("rules");
        let got = evaluate(&mut Session::host(), &g, &[loss, d[0]], [(x, Data::F32(&[1.0, -2.0, 0.5]))]);
        assert!(got[0][0].is_finite());
        assert_eq!(got[1].iter().all(|d| d.is_finite()), finite, "{got:?}");
    }
}

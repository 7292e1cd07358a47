//! Numbers by themselves: shapes, randomness, functions of f32, convolutions in tiles, columns of channels, ceilings.

use std::array::from_fn;

use hillshade::engine::{
    Ceilings, Conv, Data, Generator, Geometry, Graph, OperandData, Session, Tensor, block_on, philox,
    shape::{Loops, broadcast, broadcast_axes, broadcast_strides, signed, strides},
};

#[test]
fn shapes_broadcast_from_the_last_axis() {
    assert_eq!(broadcast(&[3, 1], &[4]), Some(vec![3, 4]));
    assert_eq!(broadcast(&[], &[2, 2]), Some(vec![2, 2]));
    assert_eq!(broadcast(&[3], &[4]), None);
    assert_eq!(broadcast_strides(&[3, 1], &[2, 3, 4]), [0, 1, 0]);
    assert_eq!(broadcast_axes(&[3, 1], &[2, 3, 4]), [0, 2]);
}

#[test]
fn loops_merge_what_is_contiguous() {
    let s = signed(&strides(&[2, 3, 4]));
    let loops = Loops::new(&[2, 3, 4], [&s, &[0, 0, 1]]);
    assert_eq!(loops.extents, [6, 4]);
    assert_eq!(Loops::new(&[2, 3, 4], [&s]).extents, [24]);
    assert_eq!(Loops::new(&[], [&[]]).extents, [1]);
}

#[test]
fn runs_begin_where_the_strides_say() {
    let loops = Loops::new(&[2, 3, 4], [&[1, 8, 2], &[100, 0, 1]]);
    let mut seen = Vec::new();
    loops.each_segment(1, 6, |run, at| seen.push((run, at)));
    assert_eq!(seen, [(1, [8, 0]), (2, [16, 0]), (3, [1, 100]), (4, [9, 100]), (5, [17, 100])]);
}

/// Known answers of the Random123 library.
#[test]
fn philox_gives_the_known_answers() {
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
}

/// An op on one operand.
type Function = for<'g> fn(Tensor<'g>) -> Tensor<'g>;

/// What an op makes of numbers, on the host and in the reference.
fn both(op: Function, x: &[f32]) -> [Vec<f64>; 2] {
    let g = Graph::new();
    let input = g.input("x", &[x.len()]);
    let y = op(input);
    [Session::host(), Session::reference()].map(|mut session| {
        let mut program = session.compile(&g, &[y]).expect("it compiles");
        program.run(&mut session, [(input, Data::F32(x))]).expect("it runs");
        block_on(program.read_wide(&session, y)).expect("it is there")
    })
}

/// Floats of all sizes between bounds.
fn floats([lo, hi]: [f32; 2]) -> Vec<f32> {
    let [low, high] = [lo, hi].map(f64::from);
    let even = (0..200_000).map(|i| (low + (high - low) * f64::from(i) / 200_000.0) as f32);
    let small = (1..2_000).flat_map(|i| [1.0, -1.0].map(|sign| sign * 1.5 * 0.97_f32.powi(i)));
    even.chain(small).filter(|x| (lo..=hi).contains(x)).collect()
}

#[test]
fn functions_are_within_units_of_the_last_place() {
    let functions: [(&str, Function, [f32; 2], f64); 3] = [
        ("exp", |x| x.exp(), [-104.0, 88.7], 2.0),
        ("tanh", |x| x.tanh(), [-12.0, 12.0], 3.0),
        ("erf", |x| x.erf(), [-5.0, 5.0], 3.0),
    ];
    for (name, op, bounds, most) in functions {
        let [got, want] = both(op, &floats(bounds));
        let units = |(got, want): (&f64, &f64)| {
            let power = (want.abs() as f32).max(f32::MIN_POSITIVE).to_bits() & 0x7f80_0000;
            (got - want).abs() / f64::from(f32::from_bits(power)) / f64::from(f32::EPSILON)
        };
        let worst = got.iter().zip(&want).map(units).fold(0.0, f64::max);
        assert!(worst <= most, "{name}: {worst} units of the last place, {most} are allowed");
    }
}

#[test]
fn functions_are_right_at_their_ends() {
    let infinity = f64::INFINITY;
    let inf = f32::INFINITY;
    let host = |op, x: &[f32]| both(op, x)[0].clone();
    assert_eq!(host(|x| x.exp(), &[inf, -inf, 0.0, 89.0, -110.0]), [infinity, 0.0, 1.0, infinity, 0.0]);
    assert_eq!(host(|x| x.tanh(), &[inf, -inf, 0.0, 90.0]), [1.0, -1.0, 0.0, 1.0]);
    assert_eq!(host(|x| x.erf(), &[inf, -inf, 0.0, 90.0]), [1.0, -1.0, 0.0, 1.0]);
    assert_eq!(host(|x| x.tanh(), &[-0.0])[0].to_bits(), (-0.0_f64).to_bits());
    for op in [|x: Tensor<'_>| x.exp(), |x| x.tanh(), |x| x.erf()] as [Function; 3] {
        assert!(host(op, &[f32::NAN])[0].is_nan());
    }
}

fn drawn(shape: &[usize], stream: u32) -> Vec<f32> {
    let OperandData::Float(x) = Generator::Range(shape.to_vec(), -1.0, 1.0).draw(stream) else {
        unreachable!("a range is of floats")
    };
    x
}

/// The host's convolutions in tiles: images that end within a tile, paddings, few and many channels, tasks of a part of an
/// image and of several, stacks of either factor.
#[test]
fn convolutions_in_tiles_are_as_exact_arithmetic() {
    for (n, size, padding, ci, co, stacks) in [
        (9, [8, 8], 1, 16, 32, [1, 1, 1]),
        (1, [32, 32], 1, 16, 16, [1, 1, 1]),
        (3, [13, 7], 0, 32, 64, [1, 1, 1]),
        (2, [12, 19], 2, 48, 16, [1, 1, 1]),
        (17, [7, 7], 1, 64, 64, [1, 1, 1]),
        (8, [8, 8], 1, 16, 16, [1, 3, 3]),
        (2, [16, 16], 1, 32, 16, [3, 1, 3]),
        (2, [16, 16], 1, 32, 16, [3, 3, 1]),
    ] {
        let conv = Conv::padded(padding);
        let geometry = Geometry::new(conv, &[n, size[0], size[1], ci], &[3, 3, ci, co]).expect("it fits");
        let singles = [geometry.x(), geometry.w(), geometry.y()];
        let shapes: [Vec<usize>; 3] = from_fn(|i| match stacks[i] {
            1 => singles[i].to_vec(),
            k => [&[k], &singles[i][..]].concat(),
        });
        let g = Graph::new();
        let [x, w, ct] = from_fn(|i| g.input(["x", "w", "ct"][i], &shapes[i]));
        let bias = g.literal(&[co], &(0..co).map(|c| c as f32 / 7.0).collect::<Vec<_>>());
        // Two terms each, which the compiler makes one.
        let forward = || x.conv2d(w, conv);
        let (dx, dw) = (|| ct.conv2d_input_grad(w, conv, size), || x.conv2d_weight_grad(ct, conv, [3, 3]));
        let outputs = [forward() + bias, dx(), dw()];
        let data: [Vec<f32>; 3] = from_fn(|i| drawn(&shapes[i], i as u32));
        let [found, exact] = [Session::host(), Session::reference()].map(|mut session| {
            let mut program = session.compile(&g, &outputs).expect("it compiles");
            let inputs = [(x, &data[0]), (w, &data[1]), (ct, &data[2])];
            program.run(&mut session, inputs).expect("it runs");
            outputs.map(|y| block_on(program.read_wide(&session, y)).expect("it is there"))
        });
        for (what, (found, exact)) in ["result", "input", "weight"].iter().zip(found.iter().zip(&exact)) {
            let most = exact.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            let error = found.iter().zip(exact).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
            assert!(error < 4e-6 * most, "{what} of {geometry:?}, {stacks:?}: {error:e} of {most}");
        }
    }
}

/// Moments of channels that divide a block of the loops, that do not, and that are more than are repeated; rows that end
/// within a period.
#[test]
fn every_element_meets_its_channel() {
    for (rows, channels) in [(2, 1), (700, 3), (531, 16), (2000, 17), (5, 64), (77, 100), (9, 300), (300, 257)] {
        let data: Vec<f32> = (0..rows * channels).map(|i| (0.3 * i as f32).sin()).collect();
        let g = Graph::new();
        let x = g.input("x", &[rows, channels]);
        let [gamma, beta] = [2.0, 0.5].map(|v| g.fill(&[channels], v));
        let y = x.batch_norm(gamma, beta, 1e-3);
        let mut session = Session::reference();
        let mut program = session.compile(&g, &y).expect("it compiles");
        program.run(&mut session, [(x, &data)]).expect("it runs");
        let [found, mean, rstd] = y.map(|y| block_on(program.read_wide(&session, y)).expect("it is there"));
        for k in 0..channels {
            let column: Vec<f64> = data.iter().skip(k).step_by(channels).map(|&x| x.into()).collect();
            let average = column.iter().sum::<f64>() / rows as f64;
            let variance = column.iter().map(|x| (x - average) * (x - average)).sum::<f64>() / rows as f64;
            let deviation = (variance + 1e-3).sqrt();
            assert!((mean[k] - average).abs() < 1e-13, "{rows} rows of {channels}, channel {k}");
            assert!((rstd[k] * deviation - 1.0).abs() < 1e-12, "{rows} rows of {channels}, channel {k}");
            for (row, x) in column.iter().enumerate() {
                let want = 2.0 * (x - average) / deviation + 0.5;
                assert!((found[row * channels + k] - want).abs() < 1e-12, "row {row} of channel {k}");
            }
        }
    }
}

#[test]
fn the_slower_of_computing_and_moving_counts() {
    let ceilings = Ceilings { fma: 4e9, matmul: 8e9, copy: 2e9 };
    assert_eq!([(8e9, 1e9), (8e9, 4e9)].map(|(flops, bytes)| ceilings.seconds(flops, bytes)), [1.0, 2.0]);
}

/// The roof is the best of what was seen: no row of a report is above it.
#[test]
fn ceilings_are_raised_to_what_was_reached() {
    let ceilings = Ceilings { fma: 4e9, matmul: 8e9, copy: 2e9 };
    let none: [f64; 0] = [];
    assert_eq!(ceilings.raised(none, none), ceilings);
    assert_eq!(ceilings.raised([7e9, f64::INFINITY], [1e9, f64::NAN]), ceilings);
    let raised = ceilings.raised([1e9, 9e9], [5e9, 3e9]);
    assert_eq!(raised, Ceilings { fma: 9e9, copy: 5e9, ..ceilings });
    assert_eq!([(9e9, 0.0), (9e9, 5e9), (0.0, 5e9)].map(|(flops, bytes)| raised.seconds(flops, bytes)), [1.0; 3]);
}

#[test]
fn what_is_measured_leaves_no_state() {
    let mut session = Session::host();
    let c = block_on(Ceilings::measure(&mut session)).expect("the host has room for it");
    assert!([c.fma, c.matmul, c.copy].iter().all(|rate| *rate > 0.0 && rate.is_finite()), "{c:?}");
    assert!(session.names().is_empty());
}

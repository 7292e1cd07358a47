//! The GEMM variants on a device that stamps its dispatches, each held to the host before it is timed.
//!
//! `HILLSHADE_ADAPTER` picks the device. Times are the device's, of the product alone; 10^9 elements are a GFLOP.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hillshade::engine::{Class, Conv, GemmVariant, Gpu, Graph, Options, Program, Result, Session, Tensor, block_on};

type Build = for<'g> fn([Tensor<'g>; 2]) -> Tensor<'g>;

/// A product of two inputs of these shapes.
struct Row {
    name: &'static str,
    id: String,
    shapes: [Vec<usize>; 2],
    build: Build,
}

fn rows(software: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for n in [512, 1024, 2048, 4096].into_iter().take(if software { 2 } else { 4 }) {
        let shapes = [vec![n, n], vec![n, n]];
        rows.push(Row { name: "matmul", id: n.to_string(), shapes, build: |[a, b]| a.matmul(b) });
    }
    for [side, c] in [[28, 128], [14, 256]] {
        let images = if software { 4 } else { 64 };
        let (x, w) = (vec![images, side, side, c], vec![3, 3, c, c]);
        let builds: [(_, _, Build); 3] = [
            ("conv2d", [&x, &w], |[x, w]| x.conv2d(w, Conv::padded(1))),
            ("conv2d_input_grad", [&x, &w], |[ct, w]| {
                let [_, height, width, _] = ct.dims().expect("images");
                ct.conv2d_input_grad(w, Conv::padded(1), [height, width])
            }),
            ("conv2d_weight_grad", [&x, &x], |[x, ct]| x.conv2d_weight_grad(ct, Conv::padded(1), [3, 3])),
        ];
        for (name, [a, b], build) in builds {
            rows.push(Row { name, id: format!("{images}x{side}x{side}x{c}"), shapes: [a.clone(), b.clone()], build });
        }
    }
    rows
}

/// Runs the product on operands that stay on the session.
fn run(session: &mut Session, row: &Row, data: &[Vec<f32>; 2]) -> Result<(Program, Vec<f32>)> {
    for (name, (shape, data)) in ["a", "b"].into_iter().zip(row.shapes.iter().zip(data)) {
        session.set(name, shape, data)?;
    }
    let g = Graph::new();
    let [a, b] = &row.shapes;
    let y = (row.build)([g.state("a", a), g.state("b", b)]);
    let mut program = session.compile(&g, &[y])?;
    program.run(session, ())?;
    let y = program.read_now(session, y)?;
    Ok((program, y))
}

fn variants(c: &mut Criterion) {
    let open = |products| block_on(Gpu::open_with(options(products)));
    let software = open(None).expect("an adapter").adapter().is_software();
    for row in rows(software) {
        // Halves exactly, so that all variants have the same bound.
        let number = |i: usize| ((i * 7919 + i / 97) % 128) as f32 / 64.0 - 1.0;
        let data = row.shapes.each_ref().map(|s| (0..s.iter().product()).map(number).collect::<Vec<f32>>());
        let (_, want) = run(&mut Session::host(), &row, &data).expect("the host runs it");
        let most = want.iter().fold(0f32, |m, v| m.max(v.abs()));
        let mut group = c.benchmark_group(row.name);
        group.sample_size(10);
        let mut seen = Vec::new();
        for variant in GemmVariant::all() {
            let gpu = open(Some(variant)).expect("an adapter");
            if gpu.products().is_none() {
                continue;
            }
            let mut session = Session::device(gpu);
            let (mut program, got) = run(&mut session, &row, &data).expect("the device runs it");
            let plan = program.plan().to_string();
            if seen.contains(&plan) {
                continue;
            }
            seen.push(plan);
            let error = got.iter().zip(&want).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(error <= 1e-5 * most, "{} {} {variant}: {error} of {most}", row.name, row.id);
            group.throughput(Throughput::Elements(program.plan().flops()));
            group.bench_function(BenchmarkId::new(variant.to_string(), &row.id), |b| {
                b.iter_custom(|times| {
                    let mut once = || block_on(program.profile(&mut session, ())).expect("dispatches are stamped");
                    Duration::from_nanos((0..times).map(|_| once().length()).sum())
                });
            });
        }
        group.finish();
    }
}

fn options(products: Option<GemmVariant>) -> Options {
    let adapter = std::env::var("HILLSHADE_ADAPTER").ok().filter(|name| !name.is_empty());
    Options { adapter, class: Some(Class::GPU), products, ..Options::default() }
}

criterion_group!(benches, variants);
criterion_main!(benches);

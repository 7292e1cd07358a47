//! Every hot op on its timed cases, on the host and on the device: wall time, and on the device also its own clock's.
//!
//! Results are first held to the reference in f64. Operands and results rotate through copies that together exceed caches, and
//! are there before the clock starts. `HILLSHADE_ADAPTER` picks the device; `cargo bench --bench ops -- host`,
//! `-- device` or `-- conv2d` runs a part.

mod common;

use std::{
    cell::OnceCell,
    time::{Duration, Instant},
};

use common::{Facts, Row, Side, group, sides};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hillshade::engine::{
    DType, Data, Generator, Graph, OperandData, Plan, Program, Result, Session, Source, Target, Tensor, TestCase,
    block_on, ops,
};

/// Bytes that the copies of a case exceed together.
const CACHE: u64 = 64 << 20;

/// Copies of a case at least.
const COPIES: u64 = 3;

/// Floating-point operations and bytes of a case above which only GPUs run it.
const LARGE: [f64; 2] = [2e9, 1e8];

/// Time of a sample, of which there are ten.
const SAMPLE: Duration = Duration::from_millis(20);

/// The state that a reading of which waits for all that was handed over.
const MARK: &str = "mark";

/// A case on operands that are states of this copy; updates in place are kept.
fn build<'g>(g: &'g Graph, case: &TestCase, copy: u64) -> Result<Vec<Tensor<'g>>> {
    let state = |(i, sample): (usize, &Generator)| {
        let (name, ty) = (format!("{copy}/{i}"), sample.ty());
        match ty.dtype {
            DType::F32 => g.state(&name, &ty.shape),
            _ => g.state_u32(&name, &ty.shape),
        }
    };
    let x: Vec<Tensor> = case.x.iter().enumerate().map(state).collect();
    let y = (case.build)(&x)?;
    for node in g.nodes() {
        let Source::Op(op) = &node.source else { continue };
        for (&result, operand) in node.y.iter().zip(op.in_place(node.x.len())) {
            g.assign(g.tensor(node.x[operand]), g.tensor(result));
        }
    }
    Ok(y)
}

fn data(drawn: &OperandData) -> Data<'_> {
    match drawn {
        OperandData::Float(x) => Data::F32(x),
        OperandData::Index(x) => Data::U32(x),
    }
}

/// Sets the states of a copy.
fn upload(session: &mut Session, case: &TestCase, drawn: &[OperandData], copy: u64) -> Result<()> {
    let g = Graph::new();
    let mut inputs = Vec::new();
    for (i, (sample, drawn)) in case.x.iter().zip(drawn).enumerate() {
        let (name, ty) = (format!("{copy}/{i}"), sample.ty());
        session.reserve(&name, &ty)?;
        let (from, to) = match ty.dtype {
            DType::F32 => (g.input(&format!("from {name}"), &ty.shape), g.state(&name, &ty.shape)),
            _ => (g.input_u32(&format!("from {name}"), &ty.shape), g.state_u32(&name, &ty.shape)),
        };
        g.assign(to, from);
        inputs.push((from, data(drawn)));
    }
    session.compile(&g, &[])?.run(session, &inputs)
}

/// Runs a copy and gives what it has computed.
fn run(session: &mut Session, case: &TestCase, copy: u64) -> Result<(Program, Vec<Vec<f64>>)> {
    let g = Graph::new();
    let y = build(&g, case, copy)?;
    let mut program = session.compile(&g, &y)?;
    program.run(session, ())?;
    let results = y.iter().map(|&y| block_on(program.read_wide(session, y))).collect::<Result<_>>()?;
    Ok((program, results))
}

/// Operands and the reference's results.
struct Truth {
    drawn: Vec<OperandData>,
    y: Vec<Vec<f64>>,
}

impl Truth {
    fn new(case: &TestCase) -> Result<Self> {
        let drawn: Vec<OperandData> = case.x.iter().enumerate().map(|(i, sample)| sample.draw(i as u32)).collect();
        let mut reference = Session::reference();
        upload(&mut reference, case, &drawn, 0)?;
        let y = run(&mut reference, case, 0)?.1;
        Ok(Truth { drawn, y })
    }

    /// Fails where a result is off by more than the case allows.
    fn hold(&self, what: &str, got: &[Vec<f64>], tolerance: f64) {
        for (i, (got, want)) in got.iter().zip(&self.y).enumerate() {
            let most = want.iter().fold(1e-30, |most: f64, want| most.max(want.abs()));
            let errors = got.iter().zip(want).map(|(got, want)| (got - want).abs() / most);
            // Not a number is larger than any error.
            let worst = errors.max_by(f64::total_cmp).unwrap_or(f64::NAN);
            assert!(
                got.len() == want.len() && worst <= tolerance,
                "{what}: result {i} is off by {worst:e} of the largest, {tolerance:e} is allowed"
            );
        }
    }
}

/// Programs of one case, each on operands of its own, that run in turn.
struct Copies {
    session: Session,
    programs: Vec<Program>,
    next: usize,
}

impl Copies {
    /// Uploads, runs all once, and holds the first one's results to the reference's.
    fn new(side: &Side, what: &str, case: &TestCase, truth: &Truth, bytes: u64) -> Result<Self> {
        let (mut session, mut programs) = (side.open(), Vec::new());
        session.set(MARK, &[1], &[0.0])?;
        for copy in 0..CACHE.div_ceil(bytes).max(COPIES) {
            upload(&mut session, case, &truth.drawn, copy)?;
            let (program, got) = run(&mut session, case, copy)?;
            if copy == 0 {
                truth.hold(&format!("{what} on {}", session.executor()), &got, case.tolerance);
            }
            programs.push(program);
        }
        let mut copies = Copies { session, programs, next: 0 };
        copies.wait()?;
        Ok(copies)
    }

    fn wait(&mut self) -> Result<()> {
        block_on(self.session.get(MARK)).map(|_| ())
    }

    fn turn(&mut self) -> (&mut Program, &mut Session) {
        self.next = (self.next + 1) % self.programs.len();
        (&mut self.programs[self.next], &mut self.session)
    }

    /// Time of so many runs that are handed over one after the other and waited for at the end.
    fn wall(&mut self, runs: u64) -> Result<Duration> {
        let begin = Instant::now();
        for _ in 0..runs {
            let (program, session) = self.turn();
            program.run(session, ())?;
        }
        self.wait()?;
        Ok(begin.elapsed())
    }

    /// Time that the device's clock counts between begin and end of the dispatches of so many runs.
    fn stamped(&mut self, runs: u64) -> Result<Duration> {
        let mut seconds = 0.0;
        for _ in 0..runs {
            let (program, session) = self.turn();
            seconds += block_on(program.profile(session, ()))?.spans.iter().map(|s| s.seconds()).sum::<f64>();
        }
        // A clock that does not tick within an op counts a tick.
        Ok(Duration::from_secs_f64(seconds.max(1e-9)))
    }
}

type Clock = fn(&mut Copies, u64) -> Result<Duration>;

fn time(c: &mut Criterion, sides: &[Side], facts: &mut Facts, op: &str, case: &TestCase) {
    let what = format!("{op} {}", case.what);
    let g = Graph::new();
    let planned = build(&g, case, 0).and_then(|y| Plan::new(Target::GPU, &g, &y));
    let plan = planned.unwrap_or_else(|e| panic!("{what}: {e}"));
    let (flops, bytes) = (plan.flops(), plan.steps.iter().map(|s| s.bytes()).sum::<u64>());
    let large = flops as f64 > LARGE[0] || bytes as f64 > LARGE[1];
    if large && !sides.iter().any(Side::is_gpu) {
        return;
    }
    // What is not asked for is not prepared.
    let truth = OnceCell::new();
    let mut group = group(c, op, SAMPLE);
    group.throughput(Throughput::ElementsAndBytes { elements: flops, bytes });
    for side in sides.iter().filter(|side| !large || side.is_gpu()) {
        let mut copies = None;
        let stamped = (format!("{}, GPU time", side.by), "GPU", Copies::stamped as Clock);
        let clocks = [(side.by.to_string(), "wall", Copies::wall as Clock)].into_iter();
        for (function, clock, run) in clocks.chain(side.stamps().then_some(stamped)) {
            let mut noted = false;
            group.bench_function(BenchmarkId::new(&function, &case.what), |b| {
                let truth = truth.get_or_init(|| Truth::new(case).unwrap_or_else(|e| panic!("{what}: {e}")));
                let copies = copies.get_or_insert_with(|| {
                    Copies::new(side, &what, case, truth, bytes).unwrap_or_else(|e| panic!("{what}: {e}"))
                });
                if !std::mem::replace(&mut noted, true) {
                    let (flops, bytes) = (flops as f64, bytes as f64);
                    facts.add(side, &Row { op, shape: &case.what, function: &function, clock, flops, bytes });
                }
                b.iter_custom(|runs| run(copies, runs).unwrap_or_else(|e| panic!("{what}: {e}")));
            });
        }
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    let (sides, mut facts) = (sides(), Facts::new("ops"));
    for (op, cases) in ops::timed() {
        cases.iter().for_each(|case| time(c, &sides, &mut facts, op, case));
    }
}

criterion_group!(benches, all);
criterion_main!(benches);

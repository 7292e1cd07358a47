//! Every hot op on its timed cases, on the host and on the device: wall time, and on the device also its own clock's.
//!
//! Results are first held to the f64 twin. Operands and results rotate through copies that together exceed caches, and
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
    Case, Class, DType, Data, Drawn, Graph, Plan, Program, Result, Session, Source, Var, block_on, ops,
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
fn graph(case: &Case, copy: u64) -> Result<(Graph, Vec<Var>)> {
    let mut g = Graph::new();
    let mut x = Vec::new();
    for (i, sample) in case.x.iter().enumerate() {
        let (name, ty) = (format!("{copy}/{i}"), sample.ty());
        x.push(match ty.dtype {
            DType::F32 => g.state(&name, &ty.shape)?,
            DType::U32 => g.state_u32(&name, &ty.shape)?,
        });
    }
    let y = (case.build)(&mut g, &x)?;
    for node in g.nodes().to_vec() {
        let Source::Op(op) = &node.source else { continue };
        for (&result, operand) in node.y.iter().zip(op.in_place(node.x.len())) {
            g.assign(node.x[operand], result)?;
        }
    }
    Ok((g, y))
}

fn data(drawn: &Drawn) -> Data<'_> {
    match drawn {
        Drawn::Float(x) => Data::F32(x),
        Drawn::Index(x) => Data::U32(x),
    }
}

/// Sets the states of a copy.
fn upload(session: &mut Session, case: &Case, drawn: &[Drawn], copy: u64) -> Result<()> {
    let mut g = Graph::new();
    for (i, sample) in case.x.iter().enumerate() {
        let (name, ty) = (format!("{copy}/{i}"), sample.ty());
        session.reserve(&name, &ty)?;
        let (from, to) = match ty.dtype {
            DType::F32 => (g.input(&format!("from {name}"), &ty.shape)?, g.state(&name, &ty.shape)?),
            DType::U32 => (g.input_u32(&format!("from {name}"), &ty.shape)?, g.state_u32(&name, &ty.shape)?),
        };
        g.assign(to, from)?;
    }
    let names: Vec<String> = (0..case.x.len()).map(|i| format!("from {copy}/{i}")).collect();
    let feeds: Vec<(&str, Data)> = names.iter().map(String::as_str).zip(drawn.iter().map(data)).collect();
    session.compile(&g, &[])?.run(session, &feeds)
}

/// What a program has computed.
fn results(session: &Session, program: &Program, y: &[Var]) -> Result<Vec<Vec<f64>>> {
    y.iter().map(|&y| block_on(program.read_wide(session, y))).collect()
}

/// Operands and the twin's results.
struct Truth {
    drawn: Vec<Drawn>,
    y: Vec<Vec<f64>>,
}

impl Truth {
    fn new(case: &Case) -> Result<Self> {
        let drawn: Vec<Drawn> = case.x.iter().enumerate().map(|(i, sample)| sample.draw(i as u32)).collect();
        let mut twin = Session::twin();
        upload(&mut twin, case, &drawn, 0)?;
        let (g, y) = graph(case, 0)?;
        let mut program = twin.compile(&g, &y)?;
        program.run(&mut twin, &[])?;
        Ok(Truth { drawn, y: results(&twin, &program, &y)? })
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
    /// Uploads, runs all once, and holds the first one's results to the twin's.
    fn new(side: &Side, what: &str, case: &Case, truth: &Truth, bytes: u64) -> Result<Self> {
        let (mut session, mut programs) = (side.open(), Vec::new());
        session.set(MARK, &[1], &[0.0])?;
        for copy in 0..CACHE.div_ceil(bytes).max(COPIES) {
            upload(&mut session, case, &truth.drawn, copy)?;
            let (g, y) = graph(case, copy)?;
            let mut program = session.compile(&g, &y)?;
            program.run(&mut session, &[])?;
            if copy == 0 {
                let what = format!("{what} on {}", session.executor());
                truth.hold(&what, &results(&session, &program, &y)?, case.tolerance);
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
            program.run(session, &[])?;
        }
        self.wait()?;
        Ok(begin.elapsed())
    }

    /// Time that the device's clock counts between begin and end of the dispatches of so many runs.
    fn stamped(&mut self, runs: u64) -> Result<Duration> {
        let mut seconds = 0.0;
        for _ in 0..runs {
            let (program, session) = self.turn();
            seconds += block_on(program.profile(session, &[]))?.spans.iter().map(|s| s.seconds()).sum::<f64>();
        }
        // A clock that does not tick within an op counts a tick.
        Ok(Duration::from_secs_f64(seconds.max(1e-9)))
    }
}

type Clock = fn(&mut Copies, u64) -> Result<Duration>;

fn time(c: &mut Criterion, sides: &[Side], facts: &mut Facts, op: &str, case: &Case) {
    let what = format!("{op} {}", case.what);
    let planned = graph(case, 0).and_then(|(g, y)| Plan::for_class(Class::GPU, &g, &y, true));
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

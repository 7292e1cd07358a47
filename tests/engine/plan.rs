//! Where values live: slots used again, states updated in place, old and new values of a state.

use hillshade::engine::{Data, Graph, Place, Plan, Session, Sgd, Step, Target, Tensor, philox};

use crate::common::{Bench, each_case, evaluate, gpu, noise32, pollster_block};

/// Plain descent: `p − rate·grad`.
const DESCENT: Sgd = Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };

fn copies(plan: &Plan) -> usize {
    plan.steps.iter().filter(|s| matches!(s, Step::Copy { .. })).count()
}

fn each_executor(mut f: impl FnMut(&str, &mut Session)) {
    f("device", &mut Session::device(gpu(false)));
    f("host", &mut Session::host());
    f("reference", &mut Session::reference());
}

fn state(session: &Session, name: &str) -> Vec<f32> {
    pollster_block(session.get(name)).expect("a state")
}

/// A program on states a, b, c = [1, 2], [10, 20], [100, 200], the rate ½ and the gradient [2, 4].
struct Program<'g> {
    g: &'g Graph,
    states: [Tensor<'g>; 3],
    rate: Tensor<'g>,
    grad: Tensor<'g>,
}

impl<'g> Program<'g> {
    fn new(g: &'g Graph) -> Self {
        let states = ["a", "b", "c"].map(|name| g.state(name, &[2]));
        Program { g, states, rate: g.input("rate", &[1]), grad: g.input("grad", &[2]) }
    }

    /// `p − ½ grad`, to be made in the place of `p` where that is possible.
    fn step(&self, p: Tensor<'g>) -> Tensor<'g> {
        stepped(DESCENT, p, self.grad, self.rate, None)[0]
    }

    /// Runs once on every executor and compares the outputs, then the states after the run; returns the plan.
    fn check(&self, outputs: &[(Tensor, [f32; 2])], after: [[f32; 2]; 3]) -> Plan {
        let wanted: Vec<Tensor> = outputs.iter().map(|o| o.0).collect();
        each_executor(|executor, session| {
            for (name, scale) in [("a", 1.0), ("b", 10.0), ("c", 100.0)] {
                session.set(name, &[2], &[scale, 2.0 * scale]).expect("the sizes match");
            }
            let got = evaluate(
                session,
                self.g,
                &wanted,
                [(self.rate, Data::F32(&[0.5])), (self.grad, Data::F32(&[2.0, 4.0]))],
            );
            for ((got, (_, want)), i) in got.iter().zip(outputs).zip(0..) {
                assert_eq!(got, &want.map(f64::from), "{executor}: output {i}");
            }
            for (name, want) in ["a", "b", "c"].iter().zip(after) {
                assert_eq!(state(session, name), want, "{executor}: state {name} after the run");
            }
        });
        Plan::new(Target::GPU, self.g, &wanted).expect("the graph compiles")
    }
}

/// An update by a rule: the parameter, and its velocity where there is one.
fn stepped<'g>(
    rule: Sgd, p: Tensor<'g>, grad: Tensor<'g>, rate: Tensor<'g>, velocity: Option<Tensor<'g>>,
) -> Vec<Tensor<'g>> {
    p.sgd(rule, grad, rate, velocity).expect("the shapes fit")
}

const A: [f32; 2] = [1.0, 2.0];
const B: [f32; 2] = [10.0, 20.0];
const C: [f32; 2] = [100.0, 200.0];
/// `a` after a step.
const A_NEW: [f32; 2] = [0.0, 0.0];

#[test]
fn updates_in_place_need_no_copy() {
    let g = Graph::new();
    let p = Program::new(&g);
    let a = p.step(p.states[0]);
    g.assign(p.states[0], a);
    let plan = p.check(&[], [A_NEW, B, C]);
    assert_eq!((plan.steps.len(), copies(&plan), plan.slots.len()), (1, 0, 0), "{plan}");
    let plan = p.check(&[(a, A_NEW)], [A_NEW, B, C]);
    assert_eq!(copies(&plan), 0, "the new value can be read where it is:\n{plan}");
}

#[test]
fn the_old_value_is_read_after_the_update() {
    let g = Graph::new();
    let p = Program::new(&g);
    let a = p.step(p.states[0]);
    let twice = p.states[0] * 2.0;
    g.assign(p.states[0], a);
    p.check(&[(twice, [2.0, 4.0]), (a, A_NEW)], [A_NEW, B, C]);
}

#[test]
fn a_wanted_state_has_its_value_of_before() {
    let g = Graph::new();
    let p = Program::new(&g);
    let a = p.step(p.states[0]);
    g.assign(p.states[0], a);
    g.assign(p.states[1], p.states[2]);
    p.check(&[(p.states[0], A), (p.states[1], B), (p.states[2], C), (a, A_NEW)], [A_NEW, C, C]);
}

/// A view of a state is the state's old value too.
#[test]
fn a_view_of_a_state_has_its_value_of_before() {
    let g = Graph::new();
    let p = Program::new(&g);
    let a = p.step(p.states[0]);
    let view = p.states[0].reshape(&[2, 1]);
    g.assign(p.states[0], a);
    p.check(&[(view, A)], [A_NEW, B, C]);
}

#[test]
fn states_swap_and_rotate() {
    let g = Graph::new();
    let p = Program::new(&g);
    let [a, b, c] = p.states;
    g.assign(a, b);
    g.assign(b, a);
    p.check(&[], [B, A, C]);
    g.assign(c, c);
    p.check(&[], [B, A, C]);

    let g = Graph::new();
    let p = Program::new(&g);
    let [a, b, c] = p.states;
    for (state, value) in [(a, b), (b, c), (c, a)] {
        g.assign(state, value);
    }
    p.check(&[], [B, C, A]);
}

/// `b` takes the old `a`, `c` the new one.
#[test]
fn other_states_take_old_and_new_values() {
    let g = Graph::new();
    let p = Program::new(&g);
    let [a, b, c] = p.states;
    let new = p.step(a);
    for (state, value) in [(a, new), (b, a), (c, new)] {
        g.assign(state, value);
    }
    p.check(&[], [A_NEW, A, A_NEW]);

    let g = Graph::new();
    let p = Program::new(&g);
    let [a, b, _] = p.states;
    let new = p.step(a);
    g.assign(a, new);
    g.assign(b, new);
    p.check(&[(new, A_NEW)], [A_NEW, A_NEW, C]);
}

/// An update whose result goes elsewhere leaves its operand alone.
#[test]
fn an_update_of_another_state_copies() {
    let g = Graph::new();
    let p = Program::new(&g);
    let [a, b, _] = p.states;
    let new = p.step(a);
    g.assign(b, new);
    p.check(&[], [A, A_NEW, C]);
}

/// An operand that is overwritten and read besides is copied first: `a − ½ a`.
#[test]
fn an_operand_that_is_read_twice_is_copied() {
    let g = Graph::new();
    let p = Program::new(&g);
    let a = p.states[0];
    g.assign(a, stepped(DESCENT, a, a, p.rate, None)[0]);
    p.check(&[], [[0.5, 1.0], B, C]);

    let g = Graph::new();
    let p = Program::new(&g);
    let a = p.states[0];
    let view = a.reshape(&[2, 1]).reshape(&[2]);
    g.assign(a, stepped(DESCENT, a, view, p.rate, None)[0]);
    p.check(&[], [[0.5, 1.0], B, C]);

    // Parameter and velocity from one state: v = ½ a + grad, a − ½ v.
    let g = Graph::new();
    let p = Program::new(&g);
    let [a, b, _] = p.states;
    let y = stepped(Sgd { momentum: 0.5, ..DESCENT }, a, p.grad, p.rate, Some(a));
    g.assign(a, y[0]);
    g.assign(b, y[1]);
    p.check(&[], [[-0.25, -0.5], [2.5, 5.0], C]);
}

/// A value that dies in an update in place gives its slot to the result.
#[test]
fn a_dying_value_is_updated_in_its_slot() {
    let g = Graph::new();
    let p = Program::new(&g);
    let double = p.states[0] * 2.0;
    let stepped = p.step(double);
    let plan = p.check(&[(stepped, [1.0, 2.0])], [A, B, C]);
    assert_eq!((copies(&plan), plan.slots.len()), (0, 1), "{plan}");
    let plan = p.check(&[(stepped, [1.0, 2.0]), (double, [2.0, 4.0])], [A, B, C]);
    assert_eq!((copies(&plan), plan.slots.len()), (1, 2), "{plan}");
}

/// Programs of one session share its states by name.
#[test]
fn programs_share_states() {
    let graphs = [Graph::new(), Graph::new()];
    let [writer, reader] = graphs.each_ref().map(Program::new);
    writer.g.assign(writer.states[0], writer.step(writer.states[0]));
    each_executor(|executor, session| {
        for name in ["a", "b", "c"] {
            session.set(name, &[2], &A).expect("the sizes match");
        }
        let mut read = session.compile(reader.g, &[reader.states[0]]).expect("the state is there");
        let mut write = session.compile(writer.g, &[]).expect("the state is there");
        let inputs = [(writer.rate, Data::F32(&[0.5])), (writer.grad, Data::F32(&[2.0, 2.0]))];
        for expected in [[1.0, 2.0], [0.0, 1.0], [-1.0, 0.0]] {
            read.run(session, ()).expect("it has no inputs");
            assert_eq!(read.read_now(session, reader.states[0]).expect("an output"), expected, "{executor}");
            write.run(session, inputs).expect("the inputs fit");
        }
        session.set("a", &[2], &B).expect("the sizes match");
        read.run(session, ()).expect("it has no inputs");
        assert_eq!(read.read_now(session, reader.states[0]).expect("an output"), B, "{executor}: set anew");
    });
}

#[test]
fn a_chain_uses_two_slots() {
    let g = Graph::new();
    let x = g.input("x", &[1000]);
    let mut y = x;
    for i in 0..50 {
        y = if i % 2 == 0 { y.tanh() } else { y + x };
    }
    let plan = |outputs: &[Tensor]| Plan::new(Target::GPU, &g, outputs).expect("the graph compiles");
    let last = plan(&[y]);
    assert_eq!((last.steps.len(), last.slots.len(), last.slot_bytes()), (50, 2, 8000), "{last}");
    let keep_all: Vec<Tensor> = g.nodes().skip(1).map(|n| g.tensor(n.y[0])).collect();
    assert_eq!(plan(&keep_all).slots.len(), 50, "wanted values stay");
}

/// What is planned for the CPU has neither dispatches nor their scratch buffers, so that it needs fewer bytes.
#[test]
fn scratch_is_planned_for_devices_alone() {
    let mut with_scratch = 0;
    each_case(|case| {
        let b = Bench::new(case);
        let host = b.plan(Target::Host);
        assert_eq!(host.dispatches(), 0, "{}:\n{host}", case.what);
        for step in &host.steps {
            let Step::Apply { scratch, launches, .. } = step else { continue };
            assert!(scratch.is_empty() && launches.scratch.is_empty(), "{}:\n{host}", case.what);
        }
        let device = b.plan(Target::GPU);
        assert!(host.bytes() <= device.bytes(), "{}: {} and {} bytes", case.what, host.bytes(), device.bytes());
        let slots = |of: &dyn Fn(&Step) -> Vec<Place>| device.steps.iter().flat_map(of).collect::<Vec<_>>();
        let values = slots(&|step| match step {
            Step::Apply { x, y, .. } => x.iter().chain(y).map(|(place, _)| *place).collect(),
            Step::Copy { from, to, .. } => vec![*from, *to],
        });
        let scratch = slots(&|step| match step {
            Step::Apply { scratch, .. } => scratch.clone(),
            Step::Copy { .. } => Vec::new(),
        });
        if scratch.iter().any(|slot| !values.contains(slot)) {
            with_scratch += 1;
            assert!(host.bytes() < device.bytes(), "{}: {} and {} bytes", case.what, host.bytes(), device.bytes());
        }
    });
    assert!(with_scratch > 0, "some case takes scratch buffers of its own");
}

/// A random program of 40 ops on arrays of several sizes, updates in place and views among them.
fn random_program(g: &Graph, seed: u32) -> Vec<Tensor<'_>> {
    let rate = g.input("rate", &[1]);
    let mut values = vec![g.input("x", &[6, 4]), g.input("y", &[4, 6]), g.state("s", &[6, 4])];
    let shape = |x: Tensor| x.dims::<2>().expect("a matrix");
    let mut draws = (0..).flat_map(|i| philox([i, seed, 0, 0], [1, 2]));
    for _ in 0..40 {
        let mut draw = |below: usize| draws.next().map_or(0, |word| word as usize % below);
        // Mostly the latest values, so that the others die.
        let (kind, a) = (draw(7), values[values.len() - 1 - draw(3)]);
        let alike: Vec<Tensor> = values.iter().copied().filter(|&v| shape(v) == shape(a)).collect();
        let b = alike[draw(alike.len())];
        let [rows, columns] = shape(a);
        values.push(match kind {
            0 => a.tanh(),
            1 => a + b,
            2 => a * b,
            3 => a.transpose(&[1, 0]),
            4 => a.reshape(&[columns, rows]),
            5 => a.sum(&[1]).reshape(&[rows, 1]).broadcast(&[rows, columns]).tanh(),
            _ => stepped(Sgd { momentum: 0.5, ..DESCENT }, a, b, rate, Some(b))[draw(2)],
        });
    }
    let last = values.iter().rfind(|&&v| shape(v) == [6, 4]).expect("the state at least");
    g.assign(values[2], *last);
    values
}

fn run_random(session: &mut Session, g: &Graph, outputs: &[Tensor]) -> (Vec<Vec<f64>>, Vec<f32>) {
    session.set("s", &[6, 4], &noise32(24, 3)).expect("the sizes match");
    let (rate, x, y) = (noise32(1, 0), noise32(24, 1), noise32(24, 2));
    let got = evaluate(session, g, outputs, [("rate", &rate), ("x", &x), ("y", &y)]);
    (got, state(session, "s"))
}

/// Whatever shares a slot or is overwritten, the values are those of a run that keeps every one of them.
#[test]
fn reuse_changes_no_value() {
    let (mut device, mut host, mut reference) = (Session::device(gpu(false)), Session::host(), Session::reference());
    let (mut fewer, mut updated) = (0, 0);
    for seed in 0..60 {
        let g = Graph::new();
        let values = random_program(&g, seed);
        let last = [values[values.len() - 1], values[values.len() - 2]];
        let plan = |v: &[Tensor]| Plan::new(Target::Reference, &g, v).expect("the graph compiles");
        let (kept, reused) = (plan(&values), plan(&last));
        fewer += usize::from(reused.slots.len() < kept.slots.len());
        let in_place = |s: &&Step| matches!(s, Step::Apply { op, x, y, .. } if op.name() == "sgd" && x[0].0 == y[0].0);
        updated += reused.steps.iter().filter(in_place).count();
        for (name, session) in [("device", &mut device), ("host", &mut host), ("reference", &mut reference)] {
            let (all, s_all) = run_random(session, &g, &values);
            let (got, s) = run_random(session, &g, &last);
            assert_eq!(got, [all[all.len() - 1].clone(), all[all.len() - 2].clone()], "{name}, seed {seed}:\n{reused}");
            assert_eq!(s, s_all, "{name}, seed {seed}: the state");
        }
    }
    assert!(fewer > 50 && updated > 10, "slots were used again ({fewer}), values updated in place ({updated})");
}

//! Where values live: slots used again, states updated in place, old and new values of a state.

mod common;

use common::{evaluate, gpu, noise, pollster_block};
use hillshade::engine::{Data, Graph, Plan, Result, Session, Sgd, Step, Var, ops};

/// Plain descent: `p − rate·grad`.
const DESCENT: Sgd = Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };

fn copies(plan: &Plan) -> usize {
    plan.steps.iter().filter(|s| matches!(s, Step::Copy { .. })).count()
}

fn each_executor(mut f: impl FnMut(&str, &mut Session)) {
    f("device", &mut Session::device(gpu(false)));
    f("host", &mut Session::host());
    f("twin", &mut Session::twin());
}

fn state(session: &Session, name: &str) -> Vec<f32> {
    pollster_block(session.get(name)).expect("a state")
}

/// A program on states a, b, c = [1, 2], [10, 20], [100, 200], the rate ½ and the gradient [2, 4].
struct Program {
    g: Graph,
    states: [Var; 3],
    rate: Var,
    grad: Var,
}

impl Program {
    fn new() -> Self {
        let mut g = Graph::new();
        let states = ["a", "b", "c"].map(|name| g.state(name, &[2]).expect("a free name"));
        let rate = g.input("rate", &[1]).expect("a free name");
        let grad = g.input("grad", &[2]).expect("a free name");
        Program { g, states, rate, grad }
    }

    /// `p − ½ grad`, to be made in the place of `p` where that is possible.
    fn step(&mut self, p: Var) -> Result<Var> {
        Ok(self.g.sgd(DESCENT, p, self.grad, self.rate, None)?[0])
    }

    /// Runs once on every executor and compares the outputs, then the states after the run; returns the plan.
    fn check(&self, outputs: &[(Var, [f32; 2])], after: [[f32; 2]; 3]) -> Plan {
        let wanted: Vec<Var> = outputs.iter().map(|o| o.0).collect();
        each_executor(|executor, session| {
            for (name, scale) in [("a", 1.0), ("b", 10.0), ("c", 100.0)] {
                session.set(name, &[2], &[scale, 2.0 * scale]).expect("the sizes match");
            }
            let feeds: [(&str, Data); 2] = [("rate", Data::F32(&[0.5])), ("grad", Data::F32(&[2.0, 4.0]))];
            let got = evaluate(session, &self.g, &wanted, &feeds);
            for ((got, (_, want)), i) in got.iter().zip(outputs).zip(0..) {
                assert_eq!(got, &want.map(f64::from), "{executor}: output {i}");
            }
            for (name, want) in ["a", "b", "c"].iter().zip(after) {
                assert_eq!(state(session, name), want, "{executor}: state {name} after the run");
            }
        });
        Plan::new(&self.g, &wanted, true).expect("the graph compiles")
    }
}

const A: [f32; 2] = [1.0, 2.0];
const B: [f32; 2] = [10.0, 20.0];
const C: [f32; 2] = [100.0, 200.0];
/// `a` after a step.
const A_NEW: [f32; 2] = [0.0, 0.0];

#[test]
fn updates_in_place_need_no_copy() {
    let mut p = Program::new();
    let a = p.step(p.states[0]).expect("the shapes fit");
    p.g.assign(p.states[0], a).expect("the types match");
    let plan = p.check(&[], [A_NEW, B, C]);
    assert_eq!((plan.steps.len(), copies(&plan), plan.slots.len()), (1, 0, 0), "{plan}");
    let plan = p.check(&[(a, A_NEW)], [A_NEW, B, C]);
    assert_eq!(copies(&plan), 0, "the new value can be read where it is:\n{plan}");
}

#[test]
fn the_old_value_is_read_after_the_update() {
    let mut p = Program::new();
    let a = p.step(p.states[0]).expect("the shapes fit");
    let twice = p.g.affine(p.states[0], 2.0, 0.0).expect("one operand");
    p.g.assign(p.states[0], a).expect("the types match");
    p.check(&[(twice, [2.0, 4.0]), (a, A_NEW)], [A_NEW, B, C]);
}

#[test]
fn a_wanted_state_has_its_value_of_before() {
    let mut p = Program::new();
    let a = p.step(p.states[0]).expect("the shapes fit");
    p.g.assign(p.states[0], a).expect("the types match");
    p.g.assign(p.states[1], p.states[2]).expect("the types match");
    p.check(&[(p.states[0], A), (p.states[1], B), (p.states[2], C), (a, A_NEW)], [A_NEW, C, C]);
}

/// A view of a state is the state's old value too.
#[test]
fn a_view_of_a_state_has_its_value_of_before() {
    let mut p = Program::new();
    let a = p.step(p.states[0]).expect("the shapes fit");
    let view = p.g.reshape(p.states[0], &[2, 1]).expect("as many elements");
    p.g.assign(p.states[0], a).expect("the types match");
    p.check(&[(view, A)], [A_NEW, B, C]);
}

#[test]
fn states_swap_and_rotate() {
    let mut p = Program::new();
    let [a, b, c] = p.states;
    p.g.assign(a, b).and_then(|()| p.g.assign(b, a)).expect("the types match");
    p.check(&[], [B, A, C]);
    p.g.assign(c, c).expect("the types match");
    p.check(&[], [B, A, C]);

    let mut p = Program::new();
    p.g.assign(a, b).and_then(|()| p.g.assign(b, c)).and_then(|()| p.g.assign(c, a)).expect("the types match");
    p.check(&[], [B, C, A]);
}

/// `b` takes the old `a`, `c` the new one.
#[test]
fn other_states_take_old_and_new_values() {
    let mut p = Program::new();
    let [a, b, c] = p.states;
    let new = p.step(a).expect("the shapes fit");
    for (state, value) in [(a, new), (b, a), (c, new)] {
        p.g.assign(state, value).expect("the types match");
    }
    p.check(&[], [A_NEW, A, A_NEW]);

    let mut p = Program::new();
    let new = p.step(a).expect("the shapes fit");
    p.g.assign(a, new).and_then(|()| p.g.assign(b, new)).expect("the types match");
    p.check(&[(new, A_NEW)], [A_NEW, A_NEW, C]);
}

/// An update whose result goes elsewhere leaves its operand alone.
#[test]
fn an_update_of_another_state_copies() {
    let mut p = Program::new();
    let [a, b, _] = p.states;
    let new = p.step(a).expect("the shapes fit");
    p.g.assign(b, new).expect("the types match");
    p.check(&[], [A, A_NEW, C]);
}

/// An operand that is overwritten and read besides is copied first: `a − ½ a`.
#[test]
fn an_operand_that_is_read_twice_is_copied() {
    let mut p = Program::new();
    let a = p.states[0];
    let new = p.g.sgd(DESCENT, a, a, p.rate, None).expect("the shapes fit")[0];
    p.g.assign(a, new).expect("the types match");
    p.check(&[], [[0.5, 1.0], B, C]);

    let mut p = Program::new();
    let view = p.g.reshape(a, &[2, 1]).and_then(|v| p.g.reshape(v, &[2])).expect("as many elements");
    let new = p.g.sgd(DESCENT, a, view, p.rate, None).expect("the shapes fit")[0];
    p.g.assign(a, new).expect("the types match");
    p.check(&[], [[0.5, 1.0], B, C]);

    // Parameter and velocity from one state: v = ½ a + grad, a − ½ v.
    let mut p = Program::new();
    let rule = Sgd { momentum: 0.5, ..DESCENT };
    let y = p.g.sgd(rule, a, p.grad, p.rate, Some(a)).expect("the shapes fit");
    p.g.assign(a, y[0]).and_then(|()| p.g.assign(p.states[1], y[1])).expect("the types match");
    p.check(&[], [[-0.25, -0.5], [2.5, 5.0], C]);
}

/// A value that dies in an update in place gives its slot to the result.
#[test]
fn a_dying_value_is_updated_in_its_slot() {
    let mut p = Program::new();
    let double = p.g.affine(p.states[0], 2.0, 0.0).expect("one operand");
    let stepped = p.step(double).expect("the shapes fit");
    let plan = p.check(&[(stepped, [1.0, 2.0])], [A, B, C]);
    assert_eq!((copies(&plan), plan.slots.len()), (0, 1), "{plan}");
    let plan = p.check(&[(stepped, [1.0, 2.0]), (double, [2.0, 4.0])], [A, B, C]);
    assert_eq!((copies(&plan), plan.slots.len()), (1, 2), "{plan}");
}

/// Programs of one session share its states by name.
#[test]
fn programs_share_states() {
    let mut writer = Program::new();
    let new = writer.step(writer.states[0]).expect("the shapes fit");
    writer.g.assign(writer.states[0], new).expect("the types match");
    let reader = Program::new();
    each_executor(|executor, session| {
        for name in ["a", "b", "c"] {
            session.set(name, &[2], &A).expect("the sizes match");
        }
        let mut read = session.compile(&reader.g, &[reader.states[0]]).expect("the state is there");
        let mut write = session.compile(&writer.g, &[]).expect("the state is there");
        let feeds: [(&str, Data); 2] = [("rate", Data::F32(&[0.5])), ("grad", Data::F32(&[2.0, 2.0]))];
        for expected in [[1.0, 2.0], [0.0, 1.0], [-1.0, 0.0]] {
            read.run(session, &[]).expect("it has no inputs");
            assert_eq!(read.read_now(session, reader.states[0]).expect("an output"), expected, "{executor}");
            write.run(session, &feeds).expect("the feeds fit");
        }
        session.set("a", &[2], &B).expect("the sizes match");
        read.run(session, &[]).expect("it has no inputs");
        assert_eq!(read.read_now(session, reader.states[0]).expect("an output"), B, "{executor}: set anew");
    });
}

#[test]
fn a_chain_uses_two_slots() {
    let mut g = Graph::new();
    let x = g.input("x", &[1000]).expect("a free name");
    let mut y = x;
    for i in 0..50 {
        y = if i % 2 == 0 { g.tanh(y) } else { g.add(y, x) }.expect("the shapes fit");
    }
    let plan = Plan::new(&g, &[y], true).expect("the graph compiles");
    assert_eq!((plan.steps.len(), plan.slots.len(), plan.slot_bytes()), (50, 2, 8000), "{plan}");
    let keep_all: Vec<Var> = g.nodes().iter().skip(1).map(|n| n.y[0]).collect();
    assert_eq!(Plan::new(&g, &keep_all, true).expect("the graph compiles").slots.len(), 50, "wanted values stay");
}

/// A random program of 40 ops on arrays of several sizes, updates in place and views among them.
fn random_program(seed: u32) -> Result<(Graph, Vec<Var>)> {
    let mut g = Graph::new();
    let rate = g.input("rate", &[1])?;
    let mut values = vec![g.input("x", &[6, 4])?, g.input("y", &[4, 6])?, g.state("s", &[6, 4])?];
    let mut draws = (0..).flat_map(|i| philox([i, seed, 0, 0], [1, 2]));
    for _ in 0..40 {
        let mut draw = |below: usize| draws.next().map_or(0, |word| word as usize % below);
        // Mostly the latest values, so that the others die.
        let (kind, a) = (draw(7), values[values.len() - 1 - draw(3)]);
        let alike: Vec<Var> = values.iter().copied().filter(|&v| g.shape(v) == g.shape(a)).collect();
        let b = alike[draw(alike.len())];
        values.push(match kind {
            0 => g.tanh(a)?,
            1 => g.add(a, b)?,
            2 => g.mul(a, b)?,
            3 => g.transpose(a, &[1, 0])?,
            4 => {
                let shape = [g.shape(a)[1], g.shape(a)[0]];
                g.reshape(a, &shape)?
            }
            5 => {
                let sums = g.sum(a, &[1])?;
                let [rows, columns] = [0, 1].map(|axis| g.shape(a)[axis]);
                let sums = g.reshape(sums, &[rows, 1])?;
                g.broadcast(sums, &[rows, columns]).and_then(|s| g.tanh(s))?
            }
            _ => g.sgd(Sgd { momentum: 0.5, ..DESCENT }, a, b, rate, Some(b))?[draw(2)],
        });
    }
    let state = values[2];
    let alike: Vec<Var> = values.iter().copied().filter(|&v| g.shape(v) == [6, 4]).collect();
    g.assign(state, alike[alike.len() - 1])?;
    Ok((g, values))
}

fn run_random(session: &mut Session, g: &Graph, outputs: &[Var]) -> (Vec<Vec<f64>>, Vec<f32>) {
    let draw = |len, stream| noise(len, stream).iter().map(|&v| v as f32).collect::<Vec<f32>>();
    session.set("s", &[6, 4], &draw(24, 3)).expect("the sizes match");
    let (rate, x, y) = (draw(1, 0), draw(24, 1), draw(24, 2));
    let feeds = [("rate", Data::F32(&rate)), ("x", Data::F32(&x)), ("y", Data::F32(&y))];
    let got = evaluate(session, g, outputs, &feeds);
    (got, state(session, "s"))
}

/// Whatever shares a slot or is overwritten, the values are those of a run that keeps every one of them.
#[test]
fn reuse_changes_no_value() {
    let (mut device, mut host, mut twin) = (Session::device(gpu(false)), Session::host(), Session::twin());
    let (mut fewer, mut updated) = (0, 0);
    for seed in 0..60 {
        let (g, values) = random_program(seed).expect("the shapes fit");
        let last = [values[values.len() - 1], values[values.len() - 2]];
        let [kept, reused] = [values.as_slice(), &last].map(|v| Plan::new(&g, v, false).expect("the graph compiles"));
        fewer += usize::from(reused.slots.len() < kept.slots.len());
        let in_place = |s: &&Step| matches!(s, Step::Apply { op, x, y, .. } if op.name() == "sgd" && x[0].0 == y[0].0);
        updated += reused.steps.iter().filter(in_place).count();
        for (name, session) in [("device", &mut device), ("host", &mut host), ("twin", &mut twin)] {
            let (all, s_all) = run_random(session, &g, &values);
            let (got, s) = run_random(session, &g, &last);
            assert_eq!(got, [all[all.len() - 1].clone(), all[all.len() - 2].clone()], "{name}, seed {seed}:\n{reused}");
            assert_eq!(s, s_all, "{name}, seed {seed}: the state");
        }
    }
    assert!(fewer > 50 && updated > 10, "slots were used again ({fewer}), values updated in place ({updated})");
}

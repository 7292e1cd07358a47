//! Updates of many arrays at once: the bits of one at a time, and what must not be joined.

use hillshade::engine::{Adam, Class, Data, Graph, Plan, Result, Session, Sgd, Step, Target, Tensor};

use crate::common::{evaluate, gpu_as, noise32, pollster_block};

/// An optimizer's rule.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Sgd(Sgd),
    Adam(Adam),
    Lerp,
}

impl Rule {
    fn sgd(momentum: f64, nesterov: bool) -> Self {
        Rule::Sgd(Sgd { momentum, nesterov, decay: 0.0 })
    }

    fn adam(decoupled: bool) -> Self {
        Rule::Adam(Adam { betas: [0.9, 0.999], eps: 1e-8, decay: 0.0, decoupled })
    }

    fn decayed(self, decay: f64) -> Self {
        match self {
            Rule::Sgd(rule) => Rule::Sgd(Sgd { decay, ..rule }),
            Rule::Adam(rule) => Rule::Adam(Adam { decay, ..rule }),
            Rule::Lerp => Rule::Lerp,
        }
    }

    /// Arrays that are kept beside each.
    fn kept(self) -> usize {
        match self {
            Rule::Sgd(rule) => usize::from(rule.momentum != 0.0),
            Rule::Adam(_) => 2,
            Rule::Lerp => 0,
        }
    }

    fn rates(self) -> Vec<f32> {
        match self {
            Rule::Sgd(_) | Rule::Lerp => vec![0.05],
            Rule::Adam(rule) => rule.rates(0.05, 3).to_vec(),
        }
    }

    /// Updates states `p<i>` and those that are kept, in place.
    fn update<'g>(self, g: &'g Graph, i: usize, len: usize, rates: Tensor<'g>) -> Result<()> {
        let (p, grad) = (g.state(&format!("p{i}"), &[len]), g.input(&format!("grad{i}"), &[len]));
        let kept: Vec<Tensor> = (0..self.kept()).map(|k| g.state(&format!("kept{k}/{i}"), &[len])).collect();
        let new = match self {
            Rule::Sgd(rule) => p.sgd(rule, grad, rates, kept.first().copied())?,
            Rule::Adam(rule) => p.adam(rule, grad, [kept[0], kept[1]], rates).to_vec(),
            Rule::Lerp => vec![p.lerp(grad, rates)],
        };
        [&[p], &kept[..]].concat().into_iter().zip(new).for_each(|(state, new)| g.assign(state, new));
        g.check()
    }
}

fn rules() -> [Rule; 6] {
    let [plain, heavy, nesterov] = [(0.0, false), (0.9, false), (0.9, true)].map(|(m, ahead)| Rule::sgd(m, ahead));
    [plain, heavy, nesterov, Rule::adam(false), Rule::adam(true), Rule::Lerp]
}

/// Arrays, some around a workgroup and some longer than a task of the CPU.
const ARRAYS: usize = 70;
const LENS: [usize; 7] = [1, 255, 257, 4099, 3, 1024, 20_001];
/// Arrays that are decayed: the others are another rule's.
const DECAYED: usize = 30;

fn len(i: usize) -> usize {
    LENS[i * i % LENS.len()]
}

/// One program of all these arrays' updates.
fn program(rule: Rule, arrays: &[usize]) -> Graph {
    let g = Graph::new();
    let rates = g.input("rates", &[rule.rates().len()]);
    for &i in arrays {
        let rule = rule.decayed(if i < DECAYED { 0.01 } else { 0.0 });
        rule.update(&g, i, len(i), rates).expect("the shapes fit");
    }
    g
}

/// All states after two runs of these graphs, as bits.
fn run(session: &mut Session, rule: Rule, graphs: &[Graph]) -> Vec<u32> {
    let names = |i: usize| [format!("p{i}")].into_iter().chain((0..rule.kept()).map(move |k| format!("kept{k}/{i}")));
    for i in 0..ARRAYS {
        for (k, name) in names(i).enumerate() {
            // Second moments are not negative.
            let data = noise32(len(i), (10 * i + k) as u32).into_iter().map(|v| if k == 2 { v * v } else { v });
            session.set(&name, &[len(i)], &data.collect::<Vec<_>>()).expect("the sizes match");
        }
    }
    let mut programs: Vec<_> = graphs.iter().map(|g| session.compile(g, &[]).expect("the states are there")).collect();
    for t in 0..2 {
        let data: Vec<(String, Vec<f32>)> =
            (0..ARRAYS).map(|i| (format!("grad{i}"), noise32(len(i), 5000 + (10 * i + t) as u32))).collect();
        let rates = rule.rates();
        let mut inputs: Vec<(&str, Data)> = data.iter().map(|(n, d)| (n.as_str(), Data::F32(d))).collect();
        inputs.push(("rates", Data::F32(&rates)));
        programs.iter_mut().for_each(|p| p.run(session, &inputs).expect("the program runs"));
    }
    let read = |name: String| pollster_block(session.get(&name)).expect("a state").into_iter().map(f32::to_bits);
    (0..ARRAYS).flat_map(names).flat_map(read).collect()
}

/// One dispatch, or as many as an adapter needs, does what one for each array does, to the bit.
#[test]
fn many_at_once_have_the_bits_of_one_at_a_time() {
    let [gpu, software] = [Class::GPU, Class::SOFTWARE].map(|class| Session::device(gpu_as(Some(class), false)));
    let mut sessions = [("device", gpu), ("software", software), ("host", Session::host())];
    let all: Vec<usize> = (0..ARRAYS).collect();
    for rule in rules() {
        let together = vec![program(rule, &all)];
        let apart = all.chunks(1).map(|array| program(rule, array)).collect();
        for (name, session) in &mut sessions {
            let [got, want] = [&together, &apart].map(|graphs| run(session, rule, graphs));
            let differ = got.iter().zip(&want).filter(|(got, want)| got != want).count();
            assert_eq!((got.len(), differ), (want.len(), 0), "{name}: {rule:?}");
        }
    }
}

/// One step for each rule; seven arrays to a dispatch where that many buffers can be bound, else one.
#[test]
fn updates_by_one_rule_are_one_step() {
    let all: Vec<usize> = (0..ARRAYS).collect();
    for rule in rules() {
        let g = program(rule, &all);
        // The arrays', the rates', and one to spare.
        let buffers = 7 * (2 + rule.kept()) + 2;
        let [least, fewer, wide] = [8, buffers - 1, buffers].map(|storage_buffers| {
            let target = Target::Device { class: Class::GPU, storage_buffers };
            let plan = Plan::new(target, &g, &[]).expect("it can be planned");
            assert!(plan.slots.is_empty() && copies(&plan) == 0, "in place:\n{plan}");
            (plan.steps.len(), plan.dispatches())
        });
        // Thirty arrays and forty, of which two and five are left over, or all seventy.
        let (steps, dispatches) = if matches!(rule, Rule::Lerp) { (1, 10) } else { (2, 4 + 2 + 5 + 5) };
        assert_eq!([least, fewer, wide], [(steps, ARRAYS), (steps, ARRAYS), (steps, dispatches)], "{rule:?}");
    }
}

fn copies(plan: &Plan) -> usize {
    plan.steps.iter().filter(|s| matches!(s, Step::Copy { .. })).count()
}

/// How many arrays each step updates.
fn updated(g: &Graph, outputs: &[Tensor]) -> Vec<usize> {
    let plan = Plan::new(Target::GPU, g, outputs).expect("it can be planned");
    let arrays = |s: &Step| match s {
        Step::Apply { op, y, .. } if op.name() == "sgd" => Some(y.len()),
        _ => None,
    };
    plan.steps.iter().filter_map(arrays).collect()
}

/// `p − rate·grad`.
fn step<'g>(p: Tensor<'g>, grad: Tensor<'g>, rate: Tensor<'g>) -> Tensor<'g> {
    p.sgd(Sgd { momentum: 0.0, nesterov: false, decay: 0.0 }, grad, rate, None).expect("the shapes fit")[0]
}

/// Descent in turn: the second array's gradient is what the first one has become. Others are by another rate, or apart.
#[test]
fn what_waits_for_another_update_is_not_joined() {
    let g = Graph::new();
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|name| g.state(name, &[3]));
    let [rate, other] = ["rate", "other"].map(|name| g.input(name, &[1]));
    let first = step(a, c, rate);
    let wanted = [first, step(b, first * 2.0, rate), step(d, c, rate), step(e, c, other)];
    [a, b, d, e].into_iter().zip(wanted).for_each(|(state, value)| g.assign(state, value));
    let mut counts = updated(&g, &wanted);
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 2], "the second waits for the first, the last has another rate");
    let inputs = [(rate, Data::F32(&[0.5])), (other, Data::F32(&[0.25]))];
    for session in &mut [Session::device(gpu_as(None, false)), Session::host(), Session::reference()] {
        for (name, value) in [("a", 1.0), ("b", 2.0), ("c", 4.0), ("d", 8.0), ("e", 16.0)] {
            session.set(name, &[3], &[value; 3]).expect("the sizes match");
        }
        let got = evaluate(session, &g, &wanted, inputs);
        assert_eq!(got, [-1.0, 3.0, 6.0, 15.0].map(|v| vec![v; 3]), "{}", session.executor());
        for (name, want) in [("a", -1.0), ("b", 3.0), ("c", 4.0), ("d", 6.0), ("e", 15.0)] {
            let state = pollster_block(session.get(name)).expect("a state");
            assert_eq!(state, [want; 3], "{name} on {}", session.executor());
        }
    }
}

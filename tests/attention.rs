//! What attention does not depend on, and how much memory it takes.

mod common;

use common::{assert_close, evaluate, gpu_as, noise};
use hillshade::engine::{Attention, Class, Data, Graph, Plan, Result, Session, Type, Var};

const NAMES: [&str; 3] = ["q", "k", "v"];

/// Numbers for q, k and v.
fn drawn(shapes: &[[usize; 4]; 3]) -> Vec<Vec<f32>> {
    let draw =
        |(i, shape): (u32, &[usize; 4])| noise(shape.iter().product(), i).into_iter().map(|v| v as f32).collect();
    (0..).zip(shapes).map(draw).collect()
}

/// Runs what is built on q, k and v of these shapes on every executor; `check` gets its name, bound and the results.
fn each_executor(
    shapes: [[usize; 4]; 3],
    build: impl Fn(&mut Graph, [Var; 3]) -> Result<Vec<Var>>,
    check: impl Fn(&str, f64, Vec<Vec<f64>>),
) {
    let mut g = Graph::new();
    let x = [0, 1, 2].map(|i| g.input(NAMES[i], &shapes[i]).expect("names differ"));
    let y = build(&mut g, x).expect("the shapes fit");
    let data = drawn(&shapes);
    let feeds: Vec<(&str, Data)> = NAMES.into_iter().zip(data.iter().map(|x| Data::F32(x))).collect();
    let device = |class| Session::device(gpu_as(Some(class), false));
    let executors = [
        ("device", 3e-6, device(Class::GPU)),
        ("software", 3e-6, device(Class::SOFTWARE)),
        ("host", 3e-6, Session::host()),
        ("twin", 1e-12, Session::twin()),
    ];
    for (name, bound, mut session) in executors {
        check(name, bound, evaluate(&mut session, &g, &y, &feeds));
    }
}

/// y and its gradients for a fixed cotangent.
fn with_gradients(g: &mut Graph, x: [Var; 3], how: Attention, lengths: Option<u32>) -> Result<Vec<Var>> {
    let n = g.shape(x[0])[0];
    let lengths = lengths.map(|length| g.fill_u32(&[n], length)).transpose()?;
    let [y, lse] = g.attention(x[0], x[1], x[2], how, lengths)?;
    let square = g.mul(y, y)?;
    let loss = g.sum(square, &[0, 1, 2, 3])?;
    let d = g.grad(loss, &x)?;
    Ok([vec![y, lse], d].concat())
}

const FREE: Attention = Attention { causal: false, scale: 0.8 };
const CAUSAL: Attention = Attention { causal: true, scale: 0.8 };

/// The order of keys does not count.
#[test]
fn keys_may_be_permuted() {
    let build = |g: &mut Graph, [q, k, v]: [Var; 3]| {
        let (kr, vr) = (g.flip(k, &[1])?, g.flip(v, &[1])?);
        let (one, mut other) = (with_gradients(g, [q, k, v], FREE, None)?, with_gradients(g, [q, kr, vr], FREE, None)?);
        for d in &mut other[3..] {
            *d = g.flip(*d, &[1])?;
        }
        Ok([one, other].concat())
    };
    each_executor([[2, 37, 4, 12], [2, 41, 2, 12], [2, 41, 2, 12]], build, |name, bound, values| {
        let (one, other) = values.split_at(5);
        for (i, (one, other)) in one.iter().zip(other).enumerate() {
            assert_close(&format!("{name}, result {i}"), other, one, bound);
        }
    });
}

/// Keys behind the length are as if they were not there, and have no gradient.
#[test]
fn padding_does_not_count() {
    const LENGTH: usize = 35;
    let build = |g: &mut Graph, [q, k, v]: [Var; 3]| {
        let padded = with_gradients(g, [q, k, v], FREE, Some(LENGTH as u32))?;
        let (k, v) = (g.slice(k, 1, 0, LENGTH)?, g.slice(v, 1, 0, LENGTH)?);
        Ok([padded, with_gradients(g, [q, k, v], FREE, None)?].concat())
    };
    each_executor([[1, 5, 2, 8], [1, 70, 2, 8], [1, 70, 2, 8]], build, |name, bound, values| {
        let (padded, cut) = values.split_at(5);
        for (i, (padded, cut)) in padded.iter().zip(cut).enumerate() {
            let (there, behind) = padded.split_at(cut.len());
            assert_close(&format!("{name}, result {i}"), there, cut, bound);
            assert!(behind.iter().all(|&d| d == 0.0), "{name}, result {i}: padding has a gradient");
        }
    });
}

/// The last queries with all keys are the last rows of all queries with all keys, as a cache of keys has it; a causal
/// query sees nothing behind it.
#[test]
fn the_last_queries_see_what_they_saw() {
    const LAST: usize = 3;
    let build = |g: &mut Graph, [q, k, v]: [Var; 3]| {
        let whole = g.attention(q, k, v, CAUSAL, None)?[0];
        let last = g.slice(q, 1, 37 - LAST, LAST)?;
        let cached = g.attention(last, k, v, CAUSAL, None)?[0];
        let (k, v) = (g.slice(k, 1, 0, 37 - LAST)?, g.slice(v, 1, 0, 37 - LAST)?);
        let earlier = g.slice(q, 1, 0, 37 - LAST)?;
        Ok(vec![whole, cached, g.attention(earlier, k, v, CAUSAL, None)?[0]])
    };
    each_executor([[1, 37, 2, 6], [1, 37, 1, 6], [1, 37, 1, 6]], build, |name, bound, values| {
        let (earlier, last) = values[0].split_at((37 - LAST) * 12);
        assert_close(&format!("{name}, cached"), &values[1], last, bound);
        assert_close(&format!("{name}, earlier"), &values[2], earlier, bound);
    });
}

/// Queries that see no key have y = 0, and nothing has a gradient from them.
#[test]
fn without_keys_there_is_nothing() {
    let build = |g: &mut Graph, x: [Var; 3]| with_gradients(g, x, FREE, Some(0));
    each_executor([[2, 33, 2, 5], [2, 9, 1, 5], [2, 9, 1, 5]], build, |name, _, values| {
        assert!(values.iter().flatten().all(|&v| v == 0.0), "{name}");
    });
}

/// A training step's values and its Hessian product for sequences of length `t`.
fn product(t: usize) -> Result<(Graph, Vec<Var>)> {
    let mut g = Graph::new();
    let mut x = Vec::new();
    for name in ["q", "k", "v", "vq", "vk", "vv"] {
        x.push(g.input(name, &[1, t, 4, 32])?);
    }
    let [y, _] = g.attention(x[0], x[1], x[2], CAUSAL, None)?;
    let square = g.mul(y, y)?;
    let loss = g.mean(square, &[0, 1, 2, 3])?;
    let gradient = g.grad(loss, &x[..3])?;
    let product = g.jvp(&gradient, &x[..3], &x[3..])?;
    Ok((g, [vec![loss], gradient, product].concat()))
}

/// Nothing of t·s elements is held in a value, its gradient or a Hessian product, and memory is linear in t.
#[test]
fn memory_is_linear() {
    for class in [Class::GPU, Class::SOFTWARE] {
        let plan = |t: usize| {
            let (g, outputs) = product(t).expect("there are rules");
            Plan::for_class(class, &g, &outputs, true).expect("it can be planned")
        };
        let (once, twice) = (plan(1024), plan(2048));
        let named = |plan: &Plan| plan.inputs.iter().map(|input| input.ty.count()).max();
        let largest = once.slots.iter().map(|slot| slot.1).chain(named(&once)).max().expect("there are buffers");
        assert!(largest <= 2 * Type::f32([1024, 4, 32]).count(), "{largest} elements");
        assert!(once.literals.is_empty(), "no mask is written out");
        assert!(twice.bytes() <= 2 * once.bytes(), "{} bytes, then {}", once.bytes(), twice.bytes());
    }
}

//! What attention does not depend on, and how much memory it takes.

use hillshade::engine::{Attention, Class, Data, Graph, Plan, Result, Session, Target, Tensor, Type};

use crate::common::{assert_close, evaluate, gpu_as, noise32};

type Build = for<'g> fn([Tensor<'g>; 3]) -> Result<Vec<Tensor<'g>>>;

/// Runs what is built on q, k and v of these shapes on every executor; `check` gets its name, bound and the results.
fn each_executor(shapes: [[usize; 4]; 3], build: Build, check: impl Fn(&str, f64, Vec<Vec<f64>>)) {
    let g = Graph::new();
    let x = [0, 1, 2].map(|i| g.input(["q", "k", "v"][i], &shapes[i]));
    let y = build(x).expect("the shapes fit");
    let data = [0, 1, 2].map(|i| noise32(shapes[i].iter().product(), i as u32));
    let inputs = [0, 1, 2].map(|i| (x[i], Data::F32(&data[i])));
    let device = |class| Session::device(gpu_as(Some(class), false));
    let executors = [
        ("device", 3e-6, device(Class::GPU)),
        ("software", 3e-6, device(Class::SOFTWARE)),
        ("host", 3e-6, Session::host()),
        ("reference", 1e-12, Session::reference()),
    ];
    for (name, bound, mut session) in executors {
        check(name, bound, evaluate(&mut session, &g, &y, inputs));
    }
}

/// y and its gradients for a fixed cotangent.
fn with_gradients<'g>([q, k, v]: [Tensor<'g>; 3], how: Attention, lengths: Option<u32>) -> Result<Vec<Tensor<'g>>> {
    let [n, ..] = q.dims::<4>()?;
    let lengths = lengths.map(|length| q.graph().fill_u32(&[n], length));
    let [y, lse] = q.attention(k, v, how, lengths);
    let d = (y * y).sum_all().grad(&[q, k, v])?;
    Ok([vec![y, lse], d].concat())
}

const FREE: Attention = Attention { causal: false, scale: 0.8 };
const CAUSAL: Attention = Attention { causal: true, scale: 0.8 };

/// The order of keys does not count.
#[test]
fn keys_may_be_permuted() {
    let build: Build = |[q, k, v]| {
        let one = with_gradients([q, k, v], FREE, None)?;
        let mut other = with_gradients([q, k.flip(&[1]), v.flip(&[1])], FREE, None)?;
        for d in &mut other[3..] {
            *d = d.flip(&[1]);
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
    let build: Build = |[q, k, v]| {
        let padded = with_gradients([q, k, v], FREE, Some(LENGTH as u32))?;
        let [k, v] = [k, v].map(|x| x.slice(1, 0, LENGTH));
        Ok([padded, with_gradients([q, k, v], FREE, None)?].concat())
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
    let build: Build = |[q, k, v]| {
        let whole = q.attention(k, v, CAUSAL, None)[0];
        let cached = q.slice(1, 37 - LAST, LAST).attention(k, v, CAUSAL, None)[0];
        let [q, k, v] = [q, k, v].map(|x| x.slice(1, 0, 37 - LAST));
        Ok(vec![whole, cached, q.attention(k, v, CAUSAL, None)[0]])
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
    let build: Build = |x| with_gradients(x, FREE, Some(0));
    each_executor([[2, 33, 2, 5], [2, 9, 1, 5], [2, 9, 1, 5]], build, |name, _, values| {
        assert!(values.iter().flatten().all(|&v| v == 0.0), "{name}");
    });
}

/// A training step's values and its Hessian product for sequences of length `t`.
fn product(g: &Graph, t: usize) -> Result<Vec<Tensor<'_>>> {
    let x = ["q", "k", "v", "vq", "vk", "vv"].map(|name| g.input(name, &[1, t, 4, 32]));
    let [y, _] = x[0].attention(x[1], x[2], CAUSAL, None);
    let loss = (y * y).mean_all();
    let gradient = loss.grad(&x[..3])?;
    let product = g.jvp(&gradient, &x[..3], &x[3..])?;
    Ok([vec![loss], gradient, product].concat())
}

/// Nothing of t·s elements is held in a value, its gradient or a Hessian product, and memory is linear in t.
#[test]
fn memory_is_linear() {
    for class in [Class::GPU, Class::SOFTWARE] {
        let plan = |t: usize| {
            let g = Graph::new();
            let outputs = product(&g, t).expect("there are rules");
            Plan::new(Target::device(class), &g, &outputs).expect("it can be planned")
        };
        let (once, twice) = (plan(1024), plan(2048));
        let named = |plan: &Plan| plan.inputs.iter().map(|input| input.ty.count()).max();
        let largest = once.slots.iter().map(|slot| slot.1).chain(named(&once)).max().expect("there are buffers");
        assert!(largest <= 2 * Type::f32([1024, 4, 32]).count(), "{largest} elements");
        assert!(once.literals.is_empty(), "no mask is written out");
        assert!(twice.bytes() <= 2 * once.bytes(), "{} bytes, then {}", once.bytes(), twice.bytes());
    }
}

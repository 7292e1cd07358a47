//! What the tests of the whole workspace share.
#![allow(dead_code, reason = "every test file uses its part")]

pub mod golden;
pub mod lab;

use hillshade::engine::{
    Case, Class, DType, Data, Drawn, Gpu, Graph, Options, Plan, Program, Sample, Session, Source, Step, Var, Variant,
    ops,
};

/// The device that kernels are tested on, with poisoned buffers.
pub fn gpu(checked: bool) -> Gpu {
    gpu_as(None, checked)
}

/// The same device with the kernels of a class.
pub fn gpu_as(class: Option<Class>, checked: bool) -> Gpu {
    opened(Options { checked, class, ..Options::default() })
}

/// The same device with matrix products of a variant, or of what it has in place of it.
pub fn gpu_with(products: Variant, checked: bool) -> Gpu {
    opened(Options { checked, class: Some(Class::GPU), products: Some(products), ..Options::default() })
}

fn opened(options: Options) -> Gpu {
    let adapter = std::env::var("HILLSHADE_ADAPTER").ok();
    let opened = pollster_block(Gpu::open_with(Options { adapter, poison: true, ..options }));
    opened.expect("a Vulkan adapter, or a software one: cargo xtask test installs it")
}

/// Waits for a future.
pub fn pollster_block<T>(future: impl Future<Output = T>) -> T {
    hillshade::engine::block_on(future)
}

/// Runs a check on every case of every op, and fails with all that failed.
pub fn each_case(mut check: impl FnMut(&Case)) {
    let all = ops::all();
    assert!(!all.is_empty());
    let mut failed = Vec::new();
    for (op, cases) in all {
        assert!(!cases.is_empty(), "{op} has no cases");
        for case in &cases {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(case)));
            if caught.is_err() {
                failed.push(case.what.clone());
            }
        }
    }
    assert!(failed.is_empty(), "{} cases failed: {}", failed.len(), failed.join("; "));
}

/// A case's graph with its operands as inputs, and the drawn operands.
pub struct Bench {
    pub g: Graph,
    pub x: Vec<Var>,
    pub drawn: Vec<Drawn>,
    pub y: Vec<Var>,
}

impl Bench {
    pub fn new(case: &Case) -> Self {
        let (g, x, y) = built(case);
        let drawn = case.x.iter().enumerate().map(|(i, s)| s.draw(i as u32)).collect();
        Bench { g, x, drawn, y }
    }

    /// The results on the drawn operands.
    pub fn values(&self, session: &mut Session) -> Vec<Vec<f64>> {
        evaluate(session, &self.g, &self.y, &feeds(&input_names(&self.g), &self.drawn))
    }
}

/// Numbers in ±1 of a shape.
pub fn unit(shape: &[usize]) -> Sample {
    Sample::Range(shape.to_vec(), -1.0, 1.0)
}

/// The steps of a plan that compute something.
pub fn applied(plan: &Plan) -> Vec<String> {
    let names =
        plan.steps.iter().filter_map(|s| if let Step::Apply { op, .. } = s { Some(format!("{op:?}")) } else { None });
    names.collect()
}

/// A case's graph, its operands and its results.
pub fn built(case: &Case) -> (Graph, Vec<Var>, Vec<Var>) {
    let mut g = Graph::new();
    let x = inputs(&mut g, case, "x");
    let y = (case.build)(&mut g, &x).unwrap_or_else(|e| panic!("{}: {e}", case.what));
    (g, x, y)
}

/// Inputs for a case's operands, named by a prefix and their number.
pub fn inputs(g: &mut Graph, case: &Case, prefix: &str) -> Vec<Var> {
    case.x
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let (name, ty) = (format!("{prefix}{i}"), s.ty());
            match ty.dtype {
                DType::F32 => g.input(&name, &ty.shape),
                DType::U32 => g.input_u32(&name, &ty.shape),
            }
            .expect("names differ")
        })
        .collect()
}

/// Operands as feeds.
pub fn feeds<'a>(names: &'a [String], drawn: &'a [Drawn]) -> Vec<(&'a str, Data<'a>)> {
    names
        .iter()
        .zip(drawn)
        .map(|(name, d)| {
            let data = match d {
                Drawn::Float(x) => Data::F32(x),
                Drawn::Index(x) => Data::U32(x),
            };
            (name.as_str(), data)
        })
        .collect()
}

/// Runs a graph once and reads values, in f64.
pub fn evaluate(session: &mut Session, g: &Graph, outputs: &[Var], feeds: &[(&str, Data)]) -> Vec<Vec<f64>> {
    let mut program: Program = session.compile(g, outputs).expect("the graph compiles");
    program.run(session, feeds).expect("the program runs");
    let read = |&o: &Var| pollster_block(program.read_wide(session, o)).expect("outputs can be read");
    outputs.iter().map(read).collect()
}

/// Names of a graph's inputs, in order.
pub fn input_names(g: &Graph) -> Vec<String> {
    let name = |s: &Source| if let Source::Input(name) = s { Some(name.clone()) } else { None };
    g.nodes().iter().filter_map(|n| name(&n.source)).collect()
}

/// Asserts that `got` is `want` to `tolerance` of the largest `|want|`.
pub fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let most = want.iter().fold(0.0, |m: f64, w| m.max(w.abs())).max(1e-30);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs();
        assert!(
            error <= tolerance * most,
            "{what}: element {i} is {g}, expected {w} (error {:e} of the largest)",
            error / most
        );
    }
}

/// Inner product.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Numbers in ±1 that depend on a stream alone.
pub fn noise(len: usize, stream: u32) -> Vec<f64> {
    let word = |i: usize| philox([i as u32, stream, 9, 9], [3, 1])[0];
    (0..len).map(|i| f64::from((f64::from(word(i)) / 2_147_483_648.0 - 1.0) as f32)).collect()
}

//! What the test suites share.
#![allow(dead_code, reason = "every suite uses its part")]

pub mod golden;
pub mod lab;

use std::{
    env,
    fmt::Display,
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    thread,
};

use hillshade::engine::{
    Class, DType, Data, GemmVariant, Generator, Gpu, Graph, Inputs, OperandData, Options, Plan, Result, Session, Step,
    Target, Tensor, TestCase, Var, ops, philox,
};

/// The folder of the repository, or that of the tests that were copied to another machine.
pub fn root() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// The device that kernels are tested on, with poisoned buffers.
pub fn gpu(checked: bool) -> Gpu {
    gpu_as(None, checked)
}

/// The same device with the kernels of a class.
pub fn gpu_as(class: Option<Class>, checked: bool) -> Gpu {
    opened(Options { checked, class, ..Options::default() })
}

/// The same device with matrix products of a variant, or of what it has in place of it.
pub fn gpu_with(products: GemmVariant, checked: bool) -> Gpu {
    opened(Options { checked, class: Some(Class::GPU), products: Some(products), ..Options::default() })
}

fn opened(options: Options) -> Gpu {
    let adapter = env::var("HILLSHADE_ADAPTER").ok();
    let opened = pollster_block(Gpu::open_with(Options { adapter, poison: true, ..options }));
    opened.expect("a Vulkan adapter, or a software one: cargo xtask test installs it")
}

/// Ends a test that needs an adapter where there is none: it fails where `HILLSHADE_REQUIRE_ADAPTER` is set.
pub fn skip_without_adapter() {
    let required = env::var_os("HILLSHADE_REQUIRE_ADAPTER").is_some();
    assert!(!required, "HILLSHADE_REQUIRE_ADAPTER is set, but there is no adapter");
    skip("there is no adapter");
}

/// Ends a test that needs what the adapter lacks, and says so past what collects the output of tests that pass.
pub fn skip(missing: impl Display) {
    let test = thread::current().name().unwrap_or("a test").to_string();
    writeln!(io::stderr(), "{test}: skipped: {missing}").expect("the standard error takes a line");
}

/// Waits for a future.
pub fn pollster_block<T>(future: impl Future<Output = T>) -> T {
    hillshade::engine::block_on(future)
}

/// Whether a check fails, whose message is then in the output.
pub fn fails(check: impl FnOnce()) -> bool {
    panic::catch_unwind(AssertUnwindSafe(check)).is_err()
}

/// Runs a check on every case of every op, and fails with all that failed.
pub fn each_case(check: impl FnMut(&TestCase)) {
    each_case_of(1, check);
}

/// [`each_case`] of every so many cases; with `HILLSHADE_TEST_ALL`, as `cargo xtask test --all` sets it, of all.
pub fn each_case_of(every: usize, mut check: impl FnMut(&TestCase)) {
    let every = if env::var_os("HILLSHADE_TEST_ALL").is_some() { 1 } else { every };
    let all = ops::all();
    assert!(!all.is_empty());
    let (mut failed, mut seen) = (Vec::new(), 0);
    for (op, cases) in all {
        assert!(!cases.is_empty(), "{op} has no cases");
        for case in cases {
            seen += 1;
            if seen % every == 0 && fails(|| check(&case)) {
                failed.push(case.what);
            }
        }
    }
    assert!(failed.is_empty(), "{} cases failed: {}", failed.len(), failed.join("; "));
}

/// What makes one value of operands.
pub type Build = for<'g> fn(&[Tensor<'g>]) -> Tensor<'g>;

/// A case's graph with its operands as inputs, and their data.
pub struct Bench {
    pub g: Graph,
    pub drawn: Vec<OperandData>,
    x: Vec<Var>,
    y: Vec<Var>,
}

impl Bench {
    pub fn new(case: &TestCase) -> Self {
        let (g, x, y) = built(case);
        let drawn = case.x.iter().enumerate().map(|(i, s)| s.draw(i as u32)).collect();
        Bench { g, drawn, x, y }
    }

    /// The operands.
    pub fn x(&self) -> Vec<Tensor<'_>> {
        self.g.tensors(&self.x)
    }

    /// The operands that are floats.
    pub fn floats(&self) -> Vec<Tensor<'_>> {
        floats(self.x())
    }

    /// The results.
    pub fn y(&self) -> Vec<Tensor<'_>> {
        self.g.tensors(&self.y)
    }

    /// The operands' data.
    pub fn inputs(&self) -> Vec<(Var, Data<'_>)> {
        self.inputs_of(&self.drawn)
    }

    /// Other data for the operands.
    pub fn inputs_of<'a>(&self, drawn: &'a [OperandData]) -> Vec<(Var, Data<'a>)> {
        self.x.iter().copied().zip(drawn.iter().map(data)).collect()
    }

    /// The results on the operands' data.
    pub fn values(&self, session: &mut Session) -> Vec<Vec<f64>> {
        evaluate(session, &self.g, &self.y(), self.inputs().as_slice())
    }

    /// What is run for an executor.
    pub fn plan(&self, target: Target) -> Plan {
        Plan::new(target, &self.g, &self.y()).expect("the graph compiles")
    }
}

/// The tensors among these that have derivatives.
pub fn floats(x: Vec<Tensor>) -> Vec<Tensor> {
    x.into_iter().filter(|x| x.ty().expect("no rule was broken").dtype == DType::F32).collect()
}

/// Numbers in ±1 of a shape.
pub fn unit(shape: &[usize]) -> Generator {
    Generator::Range(shape.to_vec(), -1.0, 1.0)
}

/// The steps of a plan that compute something.
pub fn applied(plan: &Plan) -> Vec<String> {
    let names =
        plan.steps.iter().filter_map(|s| if let Step::Apply { op, .. } = s { Some(format!("{op:?}")) } else { None });
    names.collect()
}

/// A case's graph, its operands and its results.
pub fn built(case: &TestCase) -> (Graph, Vec<Var>, Vec<Var>) {
    let g = Graph::new();
    let x = inputs(&g, case, "x");
    let y =
        (case.build)(&x).and_then(|y| g.check().map(|()| vars(&y))).unwrap_or_else(|e| panic!("{}: {e}", case.what));
    let x = vars(&x);
    (g, x, y)
}

/// The numbers by which tensors are known beside their graph.
pub fn vars(x: &[Tensor]) -> Vec<Var> {
    x.iter().map(|x| x.var()).collect()
}

/// Inputs for a case's operands, named by a prefix and their number.
pub fn inputs<'g>(g: &'g Graph, case: &TestCase, prefix: &str) -> Vec<Tensor<'g>> {
    case.x
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let (name, ty) = (format!("{prefix}{i}"), s.ty());
            match ty.dtype {
                DType::F32 => g.input(&name, &ty.shape),
                DType::U32 | DType::F16x2 => g.input_u32(&name, &ty.shape),
            }
        })
        .collect()
}

/// An operand as an input's data.
pub fn data(drawn: &OperandData) -> Data<'_> {
    match drawn {
        OperandData::Float(x) => Data::F32(x),
        OperandData::Index(x) => Data::U32(x),
    }
}

/// Runs a graph once and reads values, in f64.
pub fn evaluate<'a>(
    session: &mut Session, g: &Graph, outputs: &[Tensor], inputs: impl Into<Inputs<'a>>,
) -> Vec<Vec<f64>> {
    let mut program = session.compile(g, outputs).expect("the graph compiles");
    program.run(session, inputs).expect("the program runs");
    let read = |&o: &Tensor| pollster_block(program.read_wide(session, o)).expect("outputs can be read");
    outputs.iter().map(read).collect()
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

/// [`noise`] in f32, in which it is exact.
pub fn noise32(len: usize, stream: u32) -> Vec<f32> {
    noise(len, stream).into_iter().map(|v| v as f32).collect()
}

/// [`noise`] of a tensor's shape, as a literal.
pub fn noise_like(like: Tensor, stream: u32) -> Result<Tensor> {
    Ok(like.graph().literal(like.shape()?, &noise32(like.count()?, stream)))
}

/// `Σ c·y + ½ Σ c·y²` over results, with noise of these streams for `c`.
pub fn bent_loss<'g>(y: &[Tensor<'g>], stream: u32) -> Result<Tensor<'g>> {
    let term = |(&y, stream): (&Tensor<'g>, u32)| Ok((y * (y * 0.5 + 1.0) * noise_like(y, stream)?).sum_all());
    let terms = y.iter().zip(stream..).map(term).collect::<Result<Vec<_>>>()?;
    Ok(terms.into_iter().reduce(|sum, term| sum + term).expect("there are results"))
}

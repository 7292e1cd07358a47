//! What an op is: a shape rule, kernels, a CPU evaluation, derivative rules, cases.

use std::fmt;

use crate::{Class, DType, Error, Graph, In, OutMut, Place, Result, Shape, Var, shape};

/// Element type and extents of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Type {
    /// Extents, outermost first.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl Type {
    /// An f32 array.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Type { shape: shape.into(), dtype: DType::F32 }
    }

    /// A u32 array.
    pub fn u32(shape: impl Into<Shape>) -> Self {
        Type { shape: shape.into(), dtype: DType::U32 }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        shape::count(&self.shape)
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        4 * self.count()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// An operand on the CPU.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a, F> {
    /// Its type.
    pub ty: &'a Type,
    /// Its elements; empty for an operand that is updated in place, which comes as the output instead.
    pub data: In<'a, F>,
}

impl<'a, F: crate::Real> Operand<'a, F> {
    /// The floats.
    pub fn floats(&self) -> &'a [F] {
        match self.data {
            In::Float(x) => x,
            In::Index(_) => unreachable!("the shape rule admits floats only"),
        }
    }

    /// The indices.
    pub fn indices(&self) -> &'a [u32] {
        match self.data {
            In::Index(x) => x,
            In::Float(_) => unreachable!("the shape rule admits indices only"),
        }
    }

    /// The extents.
    pub fn shape(&self) -> &'a [usize] {
        &self.ty.shape
    }
}

/// What a kernel's storage binding holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// The op's operand.
    In(usize),
    /// The op's result.
    Out(usize),
    /// A scratch buffer of the op.
    Scratch(usize),
}

impl Bind {
    /// Where it lives.
    pub(crate) fn place(self, x: &[(Place, Type)], y: &[(Place, Type)], scratch: &[Place]) -> Place {
        match self {
            Bind::In(i) => x[i].0,
            Bind::Out(i) => y[i].0,
            Bind::Scratch(i) => scratch[i],
        }
    }
}

/// One dispatch: a kernel with its constants, uniforms, bindings 1, 2, … and grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The kernel's name in the shaders crate.
    pub kernel: &'static str,
    /// Values of its `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// The words of its `Params`.
    pub params: Vec<u32>,
    /// What is bound from binding 1 on.
    pub bind: Vec<Bind>,
    /// Workgroups, each at most 65,535.
    pub groups: [u32; 3],
}

impl Launch {
    /// Folds `groups` workgroups into two dimensions of at most 65,535 each; kernels unfold them with `flat_group`.
    pub fn new(kernel: &'static str, groups: usize) -> Self {
        const MOST: usize = 65_535;
        let y = groups.div_ceil(MOST).max(1);
        let x = groups.div_ceil(y).max(1);
        Launch { kernel, constants: Vec::new(), params: Vec::new(), bind: Vec::new(), groups: [x as u32, y as u32, 1] }
    }

    /// With these uniform words.
    pub fn params(mut self, words: impl IntoIterator<Item = u32>) -> Self {
        self.params.extend(words);
        self
    }

    /// With these bindings.
    pub fn bind(mut self, bind: impl IntoIterator<Item = Bind>) -> Self {
        self.bind.extend(bind);
        self
    }

    /// With this constant.
    pub fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.constants.push((name, value.into()));
        self
    }
}

/// An op's dispatches, in order, and the scratch buffers that they share.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Launches {
    /// Elements (4 bytes each) of every scratch buffer.
    pub scratch: Vec<usize>,
    /// The dispatches.
    pub list: Vec<Launch>,
}

impl From<Launch> for Launches {
    fn from(launch: Launch) -> Self {
        Launches { scratch: Vec::new(), list: vec![launch] }
    }
}

/// Operands and results of the node whose derivative is asked for.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The operands.
    pub x: &'a [Var],
    /// The results.
    pub y: &'a [Var],
}

/// One mathematical operation.
///
/// Either `host`/`twin`, `vjp` and `jvp` are given, or `plain` is, and those come from there.
pub trait Op: fmt::Debug + Send + Sync + 'static {
    /// The op's one name: of its files, of its method on [`Graph`], of its rows in tests and benches.
    fn name(&self) -> &'static str;

    /// The shape rule.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] or [`Error::DType`] for operands that the op does not admit.
    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>>;

    /// The dispatches that compute it on a device of this class.
    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches;

    /// The evaluation in f32 on all cores.
    fn host(&self, x: &[Operand<f32>], y: &mut [OutMut<f32>]);

    /// The same evaluation in f64.
    fn twin(&self, x: &[Operand<f64>], y: &mut [OutMut<f64>]);

    /// The definition of a fused op as a graph of simpler ones.
    ///
    /// # Errors
    ///
    /// Those of the ops that it is made of.
    fn plain(&self, _g: &mut Graph, _x: &[Var]) -> Result<Option<Vec<Var>>> {
        Ok(None)
    }

    /// Cotangents of the operands from those of the results; `None` stands for zero.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`] where there is none.
    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        match self.plain(g, at.x)? {
            Some(plain) => crate::grad::pull(g, &plain, ct, at.x),
            None => Err(Error::NoRule { op: self.name(), rule: "vjp", why: "it is not differentiable" }),
        }
    }

    /// Tangents of the results from those of the operands; `None` stands for zero.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`] where there is none.
    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        match self.plain(g, at.x)? {
            Some(plain) => crate::grad::push(g, &plain, at.x, dx),
            None => Err(Error::NoRule { op: self.name(), rule: "jvp", why: "it is not differentiable" }),
        }
    }

    /// The results for several values of some operands at once, stacked; `None` where it is to be repeated for each.
    ///
    /// # Errors
    ///
    /// Those of the ops that it is made of.
    fn batched(&self, _g: &mut Graph, _x: crate::Stacked) -> Result<Option<Vec<Var>>> {
        Ok(None)
    }

    /// The operand that each result overwrites, of so many, for updates in place.
    fn in_place(&self, _operands: usize) -> Vec<usize> {
        Vec::new()
    }

    /// True for an op whose result is its operand's bytes under another shape.
    fn is_view(&self) -> bool {
        false
    }

    /// Floating-point operations; pointwise ops count one per element.
    fn flops(&self, _x: &[&Type], y: &[&Type]) -> u64 {
        y.iter().map(|y| y.count() as u64).sum()
    }

    /// For the compiler's patterns, which look for ops by type.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// Forwards `host` and `twin` to one `eval` that is generic over the float, and `as_any` to the op itself.
macro_rules! cpu {
    () => {
        fn host(&self, x: &[crate::Operand<f32>], y: &mut [crate::OutMut<f32>]) {
            self.eval(x, y)
        }

        fn twin(&self, x: &[crate::Operand<f64>], y: &mut [crate::OutMut<f64>]) {
            self.eval(x, y)
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    };
}
pub(crate) use cpu;

/// Refuses operands that are not of these types.
pub(crate) fn expect_dtypes(op: &'static str, x: &[&Type], dtypes: &[DType]) -> Result<()> {
    if x.len() != dtypes.len() {
        let rule = format!("takes {} operands", dtypes.len());
        return Err(Error::Shape { op, rule, got: x.len().to_string() });
    }
    for (operand, (x, &expected)) in x.iter().zip(dtypes).enumerate() {
        if x.dtype != expected {
            return Err(Error::DType { op, operand, expected, found: x.dtype });
        }
    }
    Ok(())
}

/// The error of an op whose shape rule the operands break.
pub(crate) fn shape_error(op: &'static str, rule: impl Into<String>, x: &[&Type]) -> Error {
    let got = x.iter().map(|x| format!("{:?}", x.shape)).collect::<Vec<_>>().join(" ");
    Error::Shape { op, rule: rule.into(), got }
}

/// `n` as a kernel's word.
///
/// # Panics
///
/// Above 2³²−1: no buffer that a device can bind has so many elements.
pub(crate) fn word(n: usize) -> u32 {
    u32::try_from(n).expect("buffers are refused at 2^31 bytes, long before an index exceeds 32 bits")
}

//! The graph: a program as data, nodes in single-assignment form, operands before results.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{HashMap, HashSet},
    fmt,
    panic::Location,
    sync::Arc,
};

use elsa::FrozenVec;

use crate::{
    error::{Error, Result},
    graph::{
        op::Op,
        tensor::{Tensor, vars},
    },
    tensor::{DIMS, Type},
};

/// The number of a value in its [`Graph`], by which it is known beside the graph: in a compiled program, for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub(crate) u32);

impl Var {
    /// What follows from a broken rule.
    pub(crate) const INERT: Var = Var(u32::MAX);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Var::INERT => f.write_str("%inert"),
            Var(i) => write!(f, "%{i}"),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Given anew for each run.
    Input(String),
    /// Kept by the session from run to run, under a name.
    State(String),
    /// The same in every run.
    Literal(Arc<[f32]>),
    /// Computed.
    Op(Arc<dyn Op>),
}

/// A node: where its results come from, its operands, its results.
#[derive(Debug, Clone)]
pub struct Node {
    /// Source of the results.
    pub source: Source,
    /// Operands.
    pub x: Vec<Var>,
    /// Results.
    pub y: Vec<Var>,
    /// The node beside which the compiler places it: itself, or for a tangent the node that it belongs to.
    anchor: usize,
}

/// Refuses a value that no kernel can hold: of no elements, of more than can be counted, or of too many axes.
fn admit(op: &'static str, ty: &Type) -> Result<()> {
    let count = ty.shape.iter().try_fold(4usize, |n, &extent| n.checked_mul(extent));
    if ty.shape.len() <= DIMS && count.is_some_and(|n| n > 0) {
        return Ok(());
    }
    let rule = format!("a value has at most {DIMS} axes, at least one element, and not more than can be counted");
    Err(Error::Shape { op, rule, got: format!("{:?}", ty.shape) })
}

#[derive(Debug, Clone)]
struct Value {
    ty: Type,
    node: usize,
}

/// A program: inputs, states, literals and the ops on them, with static shapes.
///
/// Its values are written by handles, [`Tensor`]s, on which the ops are methods and operators. A rule that is broken is not
/// reported there: the graph keeps the first one, with the place in the source where it was broken, what follows from it is
/// inert, and whatever returns a `Result` reports it: [`Tensor::dims`], [`Tensor::grad`](crate::Tensor::grad),
/// [`Session::compile`](crate::Session::compile), or [`Graph::check`].
#[derive(Clone, Default)]
pub struct Graph {
    nodes: FrozenVec<Box<Node>>,
    values: FrozenVec<Box<Value>>,
    /// Inputs and states, whose names are taken.
    names: RefCell<HashSet<(&'static str, String)>>,
    assigns: RefCell<Vec<(Var, Var)>>,
    assigned: RefCell<HashMap<Var, Var>>,
    /// The anchor of new nodes, while a tangent is built.
    beside: Cell<Option<usize>>,
    /// Whether reverse mode reads what was made before it as 16-bit floats.
    pub(crate) f16: Cell<bool>,
    /// The first broken rule.
    broken: OnceCell<Error>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// An f32 input, given for each run.
    ///
    /// Broken by a name that is taken ([`Error::Name`]), and by a shape of no elements or of more than eight axes
    /// ([`Error::Shape`]).
    #[track_caller]
    pub fn input(&self, name: &str, shape: &[usize]) -> Tensor<'_> {
        self.handle(self.leaf(Source::Input(name.into()), Type::f32(shape)))
    }

    /// A u32 input, given for each run; broken as [`Graph::input`].
    #[track_caller]
    pub fn input_u32(&self, name: &str, shape: &[usize]) -> Tensor<'_> {
        self.handle(self.leaf(Source::Input(name.into()), Type::u32(shape)))
    }

    /// An f32 state, kept by the session under this name and shared by all programs that use the name; broken as
    /// [`Graph::input`].
    #[track_caller]
    pub fn state(&self, name: &str, shape: &[usize]) -> Tensor<'_> {
        self.handle(self.leaf(Source::State(name.into()), Type::f32(shape)))
    }

    /// A u32 state; broken as [`Graph::input`].
    #[track_caller]
    pub fn state_u32(&self, name: &str, shape: &[usize]) -> Tensor<'_> {
        self.handle(self.leaf(Source::State(name.into()), Type::u32(shape)))
    }

    /// The same numbers in every run.
    ///
    /// Broken by numbers that are not as many as the shape has ([`Error::Data`]), and by a shape of none ([`Error::Shape`]).
    #[track_caller]
    pub fn literal(&self, shape: &[usize], data: &[f32]) -> Tensor<'_> {
        self.handle(self.literal_of(shape, data.into()))
    }

    pub(crate) fn literal_of(&self, shape: &[usize], data: Arc<[f32]>) -> Result<Var> {
        let ty = Type::f32(shape);
        if ty.count() != data.len() {
            return Err(Error::Data {
                what: "literal".into(),
                expected: format!("{} values", ty.count()),
                found: data.len().to_string(),
            });
        }
        self.leaf(Source::Literal(data), ty)
    }

    /// After each run the state holds the value.
    ///
    /// Broken when `state` is no state or is assigned twice ([`Error::Name`]), and when the types differ ([`Error::Data`]).
    #[track_caller]
    pub fn assign<'g>(&'g self, state: Tensor<'g>, value: Tensor<'g>) {
        let done = self.vars(&[state, value]).and_then(|x| match x {
            Some(x) => self.assign_var(x[0], x[1]),
            None => Ok(()),
        });
        if let Err(error) = done {
            self.keep(error);
        }
    }

    pub(crate) fn assign_var(&self, state: Var, value: Var) -> Result<()> {
        let name = match &self.node_of(state).source {
            Source::State(name) => name.clone(),
            _ => {
                let problem = "only a state can be assigned".into();
                return Err(Error::Name { what: "value", name: state.to_string(), problem });
            }
        };
        if self.assigned.borrow().contains_key(&state) {
            return Err(Error::Name { what: "state", name, problem: "assigned twice".into() });
        }
        if self.ty(state) != self.ty(value) {
            return Err(Error::Data {
                what: format!("state {name}"),
                expected: self.ty(state).to_string(),
                found: self.ty(value).to_string(),
            });
        }
        self.assigns.borrow_mut().push((state, value));
        self.assigned.borrow_mut().insert(state, value);
        Ok(())
    }

    /// The states' updates: what each holds after a run.
    pub fn assigns(&self) -> Vec<(Tensor<'_>, Tensor<'_>)> {
        let all = self.assigns.borrow();
        all.iter().map(|&(state, value)| (self.tensor(state), self.tensor(value))).collect()
    }

    /// What a state holds after a run, if it is assigned.
    pub fn assigned<'g>(&'g self, state: Tensor<'g>) -> Option<Tensor<'g>> {
        self.assigned.borrow().get(&state.var()).map(|&value| self.tensor(value))
    }

    pub(crate) fn assigned_vars(&self) -> Vec<(Var, Var)> {
        self.assigns.borrow().clone()
    }

    /// Forgets all assignments, and returns them.
    pub fn take_assigns(&self) -> Vec<(Tensor<'_>, Tensor<'_>)> {
        let all = self.assigns();
        self.assigns.borrow_mut().clear();
        self.assigned.borrow_mut().clear();
        all
    }

    /// The same program without its assignments: a run changes no state.
    #[must_use]
    pub fn without_assigns(&self) -> Graph {
        let g = self.clone();
        g.take_assigns();
        g
    }

    /// Adds an op of `N` results.
    ///
    /// Broken by what breaks the op's shape rule, and where it has another number of results.
    #[track_caller]
    pub fn apply<'g, const N: usize>(&'g self, op: impl Op, x: &[Tensor<'g>]) -> [Tensor<'g>; N] {
        let name = op.name();
        let made = self.apply_all(op, x).and_then(|y| {
            <[Tensor; N]>::try_from(y).map_err(|y| Error::Shape {
                op: name,
                rule: format!("has {} results", y.len()),
                got: N.to_string(),
            })
        });
        self.wait_all(made)
    }

    /// Adds an op and returns all its results, as many as there are.
    ///
    /// # Errors
    ///
    /// Those of the op's shape rule, and what was broken before.
    pub fn apply_all<'g>(&'g self, op: impl Op, x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        self.push_all(Arc::new(op), x)
    }

    pub(crate) fn push_all<'g>(&'g self, op: Arc<dyn Op>, x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        match self.vars(x)? {
            Some(x) => Ok(self.tensors(&self.push(op, &x)?)),
            None => Err(self.broken.get().cloned().expect("operands are inert since a rule was broken")),
        }
    }

    pub(crate) fn push(&self, op: Arc<dyn Op>, x: &[Var]) -> Result<Vec<Var>> {
        let types = op.infer(&x.iter().map(|&x| self.ty(x)).collect::<Vec<_>>())?;
        types.iter().try_for_each(|ty| admit(op.name(), ty))?;
        Ok(self.node_with(Source::Op(op), x.to_vec(), types))
    }

    /// Values by number; `None` where one is inert.
    pub(crate) fn vars(&self, x: &[Tensor]) -> Result<Option<Vec<Var>>> {
        if x.iter().any(|x| !std::ptr::eq(x.graph(), self)) {
            let problem = "is a value of another graph".into();
            return Err(Error::Name { what: "operand", name: "tensor".into(), problem });
        }
        let inert = x.iter().any(|x| x.var() == Var::INERT);
        Ok((!inert).then(|| vars(x)))
    }

    /// Refuses values of another graph, and what follows from a rule that was broken.
    pub(crate) fn expect_own(&self, x: &[&[Tensor]]) -> Result<()> {
        self.check()?;
        x.iter().try_for_each(|x| self.vars(x).map(drop))
    }

    /// The handle of a value, or an inert one of an error that is kept.
    #[track_caller]
    pub(crate) fn handle(&self, made: Result<Var>) -> Tensor<'_> {
        match made {
            Ok(var) => Tensor::new(self, var),
            Err(error) => self.inert(error),
        }
    }

    /// What was made, or an inert tensor of an error that is kept.
    #[track_caller]
    pub fn wait<'g>(&'g self, made: Result<Tensor<'g>>) -> Tensor<'g> {
        match made {
            Ok(made) => made,
            Err(error) => self.inert(error),
        }
    }

    /// What follows from an error that is kept.
    #[track_caller]
    fn inert(&self, error: Error) -> Tensor<'_> {
        self.keep(error);
        Tensor::new(self, Var::INERT)
    }

    /// [`Graph::wait`] for several.
    #[track_caller]
    pub fn wait_all<'g, const N: usize>(&'g self, made: Result<[Tensor<'g>; N]>) -> [Tensor<'g>; N] {
        match made {
            Ok(made) => made,
            Err(error) => [self.inert(error); N],
        }
    }

    /// Keeps the first error, with the place in the source of who caused it.
    #[track_caller]
    pub(crate) fn keep(&self, error: Error) {
        let place = Location::caller();
        let _ = self.broken.set(match error {
            placed @ Error::At { .. } => placed,
            error => Error::At { error: Box::new(error), place },
        });
    }

    /// Whether no rule was broken so far.
    ///
    /// # Errors
    ///
    /// The first broken rule: an [`Error::At`].
    pub fn check(&self) -> Result<()> {
        self.broken.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// The value of this number.
    ///
    /// # Panics
    ///
    /// On a number of another graph that has more values.
    pub fn tensor(&self, var: Var) -> Tensor<'_> {
        assert!(var == Var::INERT || var.index() < self.values.len(), "the number of a value of this graph");
        Tensor::new(self, var)
    }

    /// The values of these numbers.
    ///
    /// # Panics
    ///
    /// As [`Graph::tensor`].
    pub fn tensors(&self, vars: &[Var]) -> Vec<Tensor<'_>> {
        vars.iter().map(|&var| self.tensor(var)).collect()
    }

    pub(crate) fn leaf(&self, source: Source, ty: Type) -> Result<Var> {
        let named = match &source {
            Source::Input(name) => Some(("input", name.clone())),
            Source::State(name) => Some(("state", name.clone())),
            _ => None,
        };
        admit(named.as_ref().map_or("literal", |(what, _)| what), &ty)?;
        if let Some((what, name)) = named
            && !self.names.borrow_mut().insert((what, name.clone()))
        {
            return Err(Error::Name { what, name, problem: "the name is taken".into() });
        }
        Ok(self.node_with(source, Vec::new(), vec![ty])[0])
    }

    pub(crate) fn node_with(&self, source: Source, x: Vec<Var>, types: Vec<Type>) -> Vec<Var> {
        let node = self.nodes.len();
        let first = self.values.len();
        let y: Vec<Var> = (first..first + types.len()).map(|i| Var(i as u32)).collect();
        types.into_iter().for_each(|ty| self.values.push(Box::new(Value { ty, node })));
        let anchor = self.beside.get().unwrap_or(node);
        self.nodes.push(Box::new(Node { source, x, y: y.clone(), anchor }));
        y
    }

    /// New nodes of `build` belong beside this one.
    pub(crate) fn beside<T>(&self, node: Option<usize>, build: impl FnOnce() -> T) -> T {
        let before = self.beside.replace(node.map(|n| self.anchor(n)));
        let built = build();
        self.beside.set(before);
        built
    }

    pub(crate) fn anchor(&self, node: usize) -> usize {
        self.node(node).anchor
    }

    /// Type of a value.
    pub(crate) fn ty(&self, x: Var) -> &Type {
        &self.values[x.index()].ty
    }

    /// Extents of a value.
    pub(crate) fn shape(&self, x: Var) -> &[usize] {
        &self.ty(x).shape
    }

    /// The nodes, operands before results.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = &Node> + ExactSizeIterator {
        (0..self.nodes.len()).map(|n| self.node(n))
    }

    /// The node of this number.
    ///
    /// # Panics
    ///
    /// Where there are not so many.
    pub fn node(&self, n: usize) -> &Node {
        &self.nodes[n]
    }

    /// The node that a value comes from.
    pub(crate) fn node_of(&self, x: Var) -> &Node {
        self.node(self.node_index(x))
    }

    pub(crate) fn node_index(&self, x: Var) -> usize {
        self.values[x.index()].node
    }

    pub(crate) fn value_count(&self) -> usize {
        self.values.len()
    }

    /// The nodes on which values depend, by their place in [`Graph::nodes`].
    pub(crate) fn ancestors(&self, roots: impl IntoIterator<Item = Var>) -> HashSet<usize> {
        let mut live = HashSet::new();
        let mut stack: Vec<usize> = roots.into_iter().map(|v| self.node_index(v)).collect();
        while let Some(n) = stack.pop() {
            if live.insert(n) {
                stack.extend(self.node(n).x.iter().map(|&x| self.node_index(x)));
            }
        }
        live
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for node in self.nodes() {
            let y = node.y.iter().map(|&y| format!("{y} {}", self.ty(y))).collect::<Vec<_>>().join(", ");
            let x = node.x.iter().map(Var::to_string).collect::<Vec<_>>().join(" ");
            match &node.source {
                Source::Input(name) => writeln!(f, "{y} = input {name}")?,
                Source::State(name) => writeln!(f, "{y} = state {name}")?,
                Source::Literal(_) => writeln!(f, "{y} = literal")?,
                Source::Op(op) => writeln!(f, "{y} = {op:?} {x}")?,
            }
        }
        for (state, value) in self.assigns.borrow().iter() {
            writeln!(f, "{state} := {value}")?;
        }
        Ok(())
    }
}

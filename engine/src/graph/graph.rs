//! A program as data: nodes in single assignment order.

use std::{collections::HashSet, fmt, sync::Arc};

use crate::{
    error::{Error, Result},
    graph::op::Op,
    tensor::{dtype::Type, shape::DIMS},
};

/// A value of a [`Graph`]: an index into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub(crate) u32);

impl Var {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "%{}", self.0)
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
/// Every method that adds an op returns the [`Var`] of its result, or an error that names the op, the rule and the shapes.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    /// For each node the one beside which the compiler places it: itself, or for a tangent the node that it belongs to.
    anchors: Vec<usize>,
    /// The anchor of new nodes, while a tangent is built.
    beside: Option<usize>,
    values: Vec<Value>,
    assigns: Vec<(Var, Var)>,
    /// Whether reverse mode reads what was made before it as 16-bit floats.
    pub(crate) halves: bool,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// An f32 input, given for each run.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when the name is taken, [`Error::Shape`] for a shape of no elements or of more than eight axes.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Result<Var> {
        self.leaf(Source::Input(name.into()), Type::f32(shape))
    }

    /// A u32 input, given for each run.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when the name is taken, [`Error::Shape`] for a shape of no elements or of more than eight axes.
    pub fn input_u32(&mut self, name: &str, shape: &[usize]) -> Result<Var> {
        self.leaf(Source::Input(name.into()), Type::u32(shape))
    }

    /// An f32 state, kept by the session under this name and shared by all programs that use the name.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when the name is taken, [`Error::Shape`] for a shape of no elements or of more than eight axes.
    pub fn state(&mut self, name: &str, shape: &[usize]) -> Result<Var> {
        self.leaf(Source::State(name.into()), Type::f32(shape))
    }

    /// A u32 state.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when the name is taken, [`Error::Shape`] for a shape of no elements or of more than eight axes.
    pub fn state_u32(&mut self, name: &str, shape: &[usize]) -> Result<Var> {
        self.leaf(Source::State(name.into()), Type::u32(shape))
    }

    /// The same numbers in every run.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] when their number is not that of the shape, [`Error::Shape`] when there are none.
    pub fn literal(&mut self, shape: &[usize], data: &[f32]) -> Result<Var> {
        let ty = Type::f32(shape);
        if ty.count() != data.len() {
            return Err(Error::Data {
                what: "literal".into(),
                expected: format!("{} values", ty.count()),
                found: data.len().to_string(),
            });
        }
        self.leaf(Source::Literal(data.into()), ty)
    }

    /// After each run the state holds the value.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when `state` is no state or is assigned twice, [`Error::Data`] when the types differ.
    pub fn assign(&mut self, state: Var, value: Var) -> Result<()> {
        let name = match &self.node_of(state).source {
            Source::State(name) => name.clone(),
            _ => {
                let problem = "only a state can be assigned".into();
                return Err(Error::Name { what: "value", name: state.to_string(), problem });
            }
        };
        if self.assigns.iter().any(|&(s, _)| s == state) {
            return Err(Error::Name { what: "state", name, problem: "assigned twice".into() });
        }
        if self.ty(state) != self.ty(value) {
            return Err(Error::Data {
                what: format!("state {name}"),
                expected: self.ty(state).to_string(),
                found: self.ty(value).to_string(),
            });
        }
        self.assigns.push((state, value));
        Ok(())
    }

    /// Adds an op that has one result.
    ///
    /// # Errors
    ///
    /// Those of the op's shape rule.
    pub fn apply(&mut self, op: impl Op, x: &[Var]) -> Result<Var> {
        Ok(self.apply_all(op, x)?[0])
    }

    /// Adds an op and returns all its results.
    ///
    /// # Errors
    ///
    /// Those of the op's shape rule.
    pub fn apply_all(&mut self, op: impl Op, x: &[Var]) -> Result<Vec<Var>> {
        self.push(Arc::new(op), x)
    }

    pub(crate) fn push(&mut self, op: Arc<dyn Op>, x: &[Var]) -> Result<Vec<Var>> {
        let types = op.infer(&x.iter().map(|&x| self.ty(x)).collect::<Vec<_>>())?;
        types.iter().try_for_each(|ty| admit(op.name(), ty))?;
        Ok(self.node(Source::Op(op), x.to_vec(), types))
    }

    fn leaf(&mut self, source: Source, ty: Type) -> Result<Var> {
        let named = |s: &Source| match s {
            Source::Input(name) => Some(("input", name.clone())),
            Source::State(name) => Some(("state", name.clone())),
            _ => None,
        };
        admit(named(&source).map_or("literal", |(what, _)| what), &ty)?;
        if let Some((what, name)) = named(&source)
            && self.nodes.iter().any(|n| named(&n.source) == Some((what, name.clone())))
        {
            return Err(Error::Name { what, name, problem: "the name is taken".into() });
        }
        Ok(self.node(source, Vec::new(), vec![ty])[0])
    }

    pub(crate) fn node(&mut self, source: Source, x: Vec<Var>, types: Vec<Type>) -> Vec<Var> {
        let node = self.nodes.len();
        let y: Vec<Var> = (0..types.len()).map(|i| Var((self.values.len() + i) as u32)).collect();
        self.values.extend(types.into_iter().map(|ty| Value { ty, node }));
        self.anchors.push(self.beside.unwrap_or(node));
        self.nodes.push(Node { source, x, y: y.clone() });
        y
    }

    /// Until it is called again, new nodes belong beside this one.
    pub(crate) fn place_beside(&mut self, node: Option<usize>) {
        self.beside = node.map(|n| self.anchors[n]);
    }

    pub(crate) fn anchor(&self, node: usize) -> usize {
        self.anchors[node]
    }

    /// Type of a value.
    pub fn ty(&self, x: Var) -> &Type {
        &self.values[x.index()].ty
    }

    /// Extents of a value.
    pub fn shape(&self, x: Var) -> &[usize] {
        &self.ty(x).shape
    }

    /// The nodes, operands before results.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node that a value comes from.
    pub fn node_of(&self, x: Var) -> &Node {
        &self.nodes[self.node_index(x)]
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
                stack.extend(self.nodes[n].x.iter().map(|&x| self.node_index(x)));
            }
        }
        live
    }

    /// The same program without its assignments: a run changes no state.
    #[must_use]
    pub fn without_assigns(&self) -> Graph {
        Graph { assigns: Vec::new(), ..self.clone() }
    }

    /// The states' updates: what each holds after a run.
    pub fn assigns(&self) -> &[(Var, Var)] {
        &self.assigns
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for node in &self.nodes {
            let y = node.y.iter().map(|&y| format!("{y} {}", self.ty(y))).collect::<Vec<_>>().join(", ");
            let x = node.x.iter().map(Var::to_string).collect::<Vec<_>>().join(" ");
            match &node.source {
                Source::Input(name) => writeln!(f, "{y} = input {name}")?,
                Source::State(name) => writeln!(f, "{y} = state {name}")?,
                Source::Literal(_) => writeln!(f, "{y} = literal")?,
                Source::Op(op) => writeln!(f, "{y} = {op:?} {x}")?,
            }
        }
        for (state, value) in &self.assigns {
            writeln!(f, "{state} := {value}")?;
        }
        Ok(())
    }
}

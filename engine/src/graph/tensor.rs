//! `Tensor`: a copyable handle on a value of a graph, with ops as methods and operators.

use std::fmt;

use crate::{
    error::{Error, Result},
    graph::{
        graph::{Graph, Node, Var},
        op::Op,
    },
    tensor::Type,
};

/// A value of a [`Graph`]: a handle that is copied freely. Ops are its methods, `+ - * /` and unary `-` work between tensors
/// (which broadcast) and with `f64`.
///
/// A broken rule is kept by the graph and makes its result inert; see [`Graph`].
#[derive(Clone, Copy)]
pub struct Tensor<'g> {
    graph: &'g Graph,
    var: Var,
}

impl<'g> Tensor<'g> {
    pub(crate) fn new(graph: &'g Graph, var: Var) -> Self {
        Tensor { graph, var }
    }

    /// The graph that it is a value of.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Its number in the graph.
    pub fn var(self) -> Var {
        self.var
    }

    /// Its type.
    ///
    /// # Errors
    ///
    /// For an inert tensor the rule that was broken.
    pub fn ty(self) -> Result<&'g Type> {
        match self.var {
            Var::INERT => Err(self.graph.check().expect_err("tensors are inert since a rule was broken")),
            var => Ok(self.graph.ty(var)),
        }
    }

    /// Its extents, outermost first.
    ///
    /// # Errors
    ///
    /// For an inert tensor the rule that was broken.
    pub fn shape(self) -> Result<&'g [usize]> {
        Ok(&self.ty()?.shape)
    }

    /// Its extents, of so many axes: `let [n, h, w, c] = x.dims()?`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another number of axes, and for an inert tensor the rule that was broken.
    #[track_caller]
    pub fn dims<const N: usize>(self) -> Result<[usize; N]> {
        let shape = self.shape()?;
        let place = std::panic::Location::caller();
        shape.try_into().map_err(|_| {
            let error = Error::Shape { op: "dims", rule: format!("has {N} axes"), got: format!("{shape:?}") };
            Error::At { error: Box::new(error), place }
        })
    }

    /// The number of its elements.
    ///
    /// # Errors
    ///
    /// For an inert tensor the rule that was broken.
    pub fn count(self) -> Result<usize> {
        Ok(self.ty()?.count())
    }

    /// The node that it comes from.
    ///
    /// # Errors
    ///
    /// For an inert tensor the rule that was broken.
    pub fn node(self) -> Result<&'g Node> {
        self.ty()?;
        Ok(self.graph.node_of(self.var))
    }

    /// The result of an op that has one, on this tensor alone.
    #[track_caller]
    pub fn apply(self, op: impl Op) -> Tensor<'g> {
        let [y] = self.graph.apply(op, &[self]);
        y
    }

    /// The result of an op that has one, on this tensor and another.
    #[track_caller]
    pub fn apply2(self, op: impl Op, other: Tensor<'g>) -> Tensor<'g> {
        let [y] = self.graph.apply(op, &[self, other]);
        y
    }
}

/// The numbers of tensors in their graph.
pub(crate) fn vars(x: &[Tensor]) -> Vec<Var> {
    x.iter().map(|x| x.var).collect()
}

/// Two handles are equal if they are of one value.
impl PartialEq for Tensor<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.graph, other.graph) && self.var == other.var
    }
}

impl Eq for Tensor<'_> {}

impl From<Tensor<'_>> for Var {
    fn from(x: Tensor) -> Var {
        x.var
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.ty() {
            Ok(ty) => write!(f, "{} {ty}", self.var),
            Err(_) => write!(f, "{}", self.var),
        }
    }
}

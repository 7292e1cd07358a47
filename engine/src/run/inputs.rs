//! Inputs of a program, by name or by handle, and the errors of what does not fit.

use crate::{
    compile::Named,
    error::Error,
    graph::{Tensor, Var},
    tensor::{DType, Type},
};

/// Data for an input.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// For an f32 input.
    F32(&'a [f32]),
    /// For a u32 input.
    U32(&'a [u32]),
}

impl Data<'_> {
    pub(crate) fn describe(&self) -> String {
        match self {
            Data::F32(x) => format!("{} of f32", x.len()),
            Data::U32(x) => format!("{} of u32", x.len()),
        }
    }

    pub(crate) fn fits(&self, ty: &Type) -> bool {
        match self {
            Data::F32(x) => ty.dtype == DType::F32 && x.len() == ty.count(),
            Data::U32(x) => ty.dtype == DType::U32 && x.len() == ty.count(),
        }
    }
}

impl<'a> From<&'a [f32]> for Data<'a> {
    fn from(x: &'a [f32]) -> Self {
        Data::F32(x)
    }
}

impl<'a> From<&'a [u32]> for Data<'a> {
    fn from(x: &'a [u32]) -> Self {
        Data::U32(x)
    }
}

impl<'a> From<&'a Vec<f32>> for Data<'a> {
    fn from(x: &'a Vec<f32>) -> Self {
        Data::F32(x)
    }
}

impl<'a> From<&'a Vec<u32>> for Data<'a> {
    fn from(x: &'a Vec<u32>) -> Self {
        Data::U32(x)
    }
}

/// What an input is known by: its name, or its value in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// Its name.
    Name(&'a str),
    /// Its value.
    Value(Var),
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Self {
        Key::Name(name)
    }
}

impl From<Var> for Key<'_> {
    fn from(var: Var) -> Self {
        Key::Value(var)
    }
}

impl From<Tensor<'_>> for Key<'_> {
    fn from(x: Tensor) -> Self {
        Key::Value(x.var())
    }
}

/// The inputs of a run: from arrays, slices or vectors of pairs of a [`Key`] and [`Data`], or from `()` where there are none.
#[derive(Debug, Clone, Default)]
pub struct Inputs<'a>(pub(crate) Vec<(Key<'a>, Data<'a>)>);

impl From<()> for Inputs<'_> {
    fn from((): ()) -> Self {
        Inputs::default()
    }
}

impl<'a, K: Into<Key<'a>>, D: Into<Data<'a>>, const N: usize> From<[(K, D); N]> for Inputs<'a> {
    fn from(pairs: [(K, D); N]) -> Self {
        Inputs(pairs.into_iter().map(|(key, data)| (key.into(), data.into())).collect())
    }
}

impl<'a, K: Into<Key<'a>> + Copy, D: Into<Data<'a>> + Copy> From<&[(K, D)]> for Inputs<'a> {
    fn from(pairs: &[(K, D)]) -> Self {
        Inputs(pairs.iter().map(|&(key, data)| (key.into(), data.into())).collect())
    }
}

impl<'a, K: Into<Key<'a>> + Copy, D: Into<Data<'a>> + Copy, const N: usize> From<&[(K, D); N]> for Inputs<'a> {
    fn from(pairs: &[(K, D); N]) -> Self {
        pairs.as_slice().into()
    }
}

impl<'a, K: Into<Key<'a>> + Copy, D: Into<Data<'a>> + Copy> From<&Vec<(K, D)>> for Inputs<'a> {
    fn from(pairs: &Vec<(K, D)>) -> Self {
        pairs.as_slice().into()
    }
}

/// A state that a program reads is not there, or of another type.
pub(crate) fn missing_state(named: &Named, found: Option<&Type>) -> Error {
    Error::Data {
        what: format!("state \"{}\"", named.name),
        expected: named.ty.to_string(),
        found: found.map_or("nothing: it was never set".into(), Type::to_string),
    }
}

/// A program meets a session that it was not compiled for.
pub(crate) fn other_session() -> Error {
    Error::Data {
        what: "program".into(),
        expected: "the session that it was compiled for".into(),
        found: "another one".into(),
    }
}

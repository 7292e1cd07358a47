//! `y = value`, everywhere.

use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{
        launch::{Bind, Launch, Launches, word},
        target::Class,
    },
    tensor::{
        dtype::{DType, Type},
        shape::Shape,
    },
    testing::cases::Case,
};

/// The op of [`Graph::fill`] and [`Graph::fill_u32`].
#[derive(Debug)]
pub struct Fill {
    ty: Type,
    value: f64,
}

impl Fill {
    fn eval<F: Real>(&self, _: &[Operand<F>], y: &mut [OutMut<F>]) {
        match &mut y[0] {
            OutMut::Float(y) => y.fill(F::of(self.value)),
            OutMut::Index(y) => y.fill(self.value as u32),
        }
    }

    /// The value.
    pub fn value(&self) -> f64 {
        self.value
    }
}

impl Op for Fill {
    cpu!();

    fn name(&self) -> &'static str {
        "fill"
    }

    fn infer(&self, _: &[&Type]) -> Result<Vec<Type>> {
        Ok(vec![self.ty.clone()])
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        let len = y[0].count();
        let bits = match self.ty.dtype {
            DType::F32 => (self.value as f32).to_bits(),
            DType::U32 => self.value as u32,
        };
        Launch::new("fill", len.div_ceil(256)).params([word(len), bits]).bind([Bind::Out(0)]).into()
    }

    fn vjp(&self, _: &mut Graph, _: At, _: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        Ok(Vec::new())
    }
}

impl Graph {
    /// `y = value` everywhere, of the given shape.
    ///
    /// # Errors
    ///
    /// None today; the signature is that of every op.
    pub fn fill(&mut self, shape: &[usize], value: f64) -> Result<Var> {
        self.apply(Fill { ty: Type::f32(shape), value }, &[])
    }

    /// The same index everywhere, of the given shape.
    ///
    /// # Errors
    ///
    /// None today; the signature is that of every op.
    pub fn fill_u32(&mut self, shape: &[usize], value: u32) -> Result<Var> {
        self.apply(Fill { ty: Type::u32(shape), value: value.into() }, &[])
    }

    /// `y = value` everywhere, of the shape of `x`.
    ///
    /// # Errors
    ///
    /// None today; the signature is that of every op.
    pub fn fill_like(&mut self, x: Var, value: f64) -> Result<Var> {
        let shape = self.shape(x).to_vec();
        self.fill(&shape, value)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    [vec![], vec![3, 5], vec![257]]
        .into_iter()
        .map(|s: Shape| {
            let what = format!("fill {s:?}");
            let build = move |g: &mut Graph, _: &[Var]| Ok(vec![g.fill(&s, -1.5)?, g.fill_u32(&s, 4_000_000_001)?]);
            Case::new(what, Vec::new(), build).order(0)
        })
        .collect()
}

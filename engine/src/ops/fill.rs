//! `y = value`, everywhere.

use crate::{
    At, Bind, OutMut, Case, Class, Graph, Launch, Launches, Op, Operand, Real, Result, Shape, Type, Var,
    op::{cpu, word},
};

/// The op of [`Graph::fill`].
#[derive(Debug)]
pub struct Fill {
    shape: Shape,
    value: f64,
}

impl Fill {
    fn eval<F: Real>(&self, _: &[Operand<F>], y: &mut [OutMut<F>]) {
        y[0].floats_mut().fill(F::of(self.value));
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
        Ok(vec![Type::f32(self.shape.clone())])
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        let len = y[0].count();
        Launch::new("fill", len.div_ceil(256)).params([word(len), (self.value as f32).to_bits()]).bind([Bind::Out(0)]).into()
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
        self.apply(Fill { shape: shape.to_vec(), value }, &[])
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
            Case::new(format!("fill {s:?}"), Vec::new(), move |g, _| g.fill(&s, -1.5).map(|y| vec![y])).order(0)
        })
        .collect()
}

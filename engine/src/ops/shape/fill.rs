//! `y = value`, everywhere.

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Graph::fill`] and [`Graph::fill_u32`].
#[derive(Debug)]
pub struct Fill {
    ty: Type,
    value: f64,
}

/// Bit for bit: a zero is not its negative.
impl PartialEq for Fill {
    fn eq(&self, other: &Self) -> bool {
        self.ty == other.ty && self.value.to_bits() == other.value.to_bits()
    }
}

impl Fill {
    fn eval<F: Real>(&self, _: &[Operand<F>], y: &mut [OutMut<F>]) {
        match &mut y[0] {
            OutMut::Float(y) => y.fill(F::of(self.value)),
            OutMut::Index(y) => y.fill(self.value as u32),
        }
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
            DType::U32 | DType::F16x2 => self.value as u32,
        };
        Launch::new("fill", len.div_ceil(256)).params([word(len), bits]).bind([Bind::Out(0)]).into()
    }

    fn vjp<'g>(&self, _: At<'_, 'g>, _: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(Vec::new()))
    }
}

impl Graph {
    /// `y = value` everywhere, of the given shape.
    ///
    /// Broken by a shape of no elements or of more than eight axes ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn fill(&self, shape: &[usize], value: f64) -> Tensor<'_> {
        let [y] = self.apply(Fill { ty: Type::f32(shape), value }, &[]);
        y
    }

    /// The same index everywhere, of the given shape; broken as [`Graph::fill`].
    #[track_caller]
    pub fn fill_u32(&self, shape: &[usize], value: u32) -> Tensor<'_> {
        let [y] = self.apply(Fill { ty: Type::u32(shape), value: value.into() }, &[]);
        y
    }
}

impl<'g> Tensor<'g> {
    /// `y = value` everywhere, of the shape of `x`.
    #[track_caller]
    pub fn fill_like(self, value: f64) -> Tensor<'g> {
        self.shape().map_or(self, |shape| self.graph().fill(shape, value))
    }
}

/// Its test cases: an operand gives them their graph.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |s: Shape| {
        TestCase::new(format!("fill {s:?}"), vec![Generator::Words(vec![0])], move |x| {
            let g = x[0].graph();
            Ok(vec![g.fill(&s, -1.5), g.fill_u32(&s, 4_000_000_001)])
        })
        .order(0)
    };
    [vec![], vec![3, 5], vec![257]].map(case).into()
}

//! Padding: a margin of one value around an array.

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::pad`].
#[derive(Debug)]
pub struct Pad {
    margins: Vec<[usize; 2]>,
    value: f64,
}

/// Bit for bit: a zero is not its negative.
impl PartialEq for Pad {
    fn eq(&self, other: &Self) -> bool {
        self.margins == other.margins && self.value.to_bits() == other.value.to_bits()
    }
}

impl Pad {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let from = x[0].shape();
        let to: Shape = from.iter().zip(&self.margins).map(|(n, [a, b])| n + a + b).collect();
        let strides = shape::strides(&to);
        let base: usize = strides.iter().zip(&self.margins).map(|(s, [before, _])| s * before).sum();
        let y = y[0].floats_mut();
        y.fill(F::of(self.value));
        let loops = Loops::new(from, [&signed(&shape::strides(from)), &signed(&strides)]);
        let run = loops.segment();
        loops.each_segment(0, loops.segments(), |_, [source, target]| {
            let source = &x[0].floats()[source as usize..];
            let stride = loops.strides[loops.strides.len() - 1];
            for i in 0..run {
                y[base + target as usize + i * stride[1] as usize] = source[i * stride[0] as usize];
            }
        });
    }
}

impl Op for Pad {
    cpu!();

    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("pad", x, &[DType::F32])?;
        if self.margins.len() != x[0].shape.len() || x[0].shape.len() > DIMS {
            return Err(shape_error("pad", format!("{} axes have a margin", self.margins.len()), x));
        }
        Ok(vec![Type::f32(x[0].shape.iter().zip(&self.margins).map(|(n, [a, b])| n + a + b).collect::<Shape>())])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let len = y[0].count();
        let strides = shape::strides(&x[0].shape);
        let mut words = vec![word(len), (self.value as f32).to_bits(), word(x[0].shape.len()), 0];
        for (axis, &stride) in strides.iter().enumerate() {
            words.extend([y[0].shape[axis], self.margins[axis][0], x[0].shape[axis], stride].map(word));
        }
        words.resize(4 + 4 * DIMS, 0);
        Launch::new("pad", len.div_ceil(256)).params(words).bind([Bind::In(0), Bind::Out(0)]).into()
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        let margins = [&[[0, 0]], &self.margins[..]].concat();
        Ok(Some(vec![x.x[0].pad(&margins, self.value)]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let shape = at.x[0].shape()?;
        let axes = shape.iter().zip(&self.margins).enumerate();
        let inner = |ct: Tensor<'g>| axes.fold(ct, |ct, (axis, (&len, margin))| ct.slice(axis, margin[0], len));
        Ok(Some(vec![ct[0].map(inner)]))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.pad(&self.margins, 0.0))]))
    }
}

impl<'g> Tensor<'g> {
    /// `x` inside a margin of `value`: `margins[axis]` elements before and after it. Its transpose is [`Tensor::slice`].
    ///
    /// Broken where there is not one margin for each axis ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn pad(self, margins: &[[usize; 2]], value: f64) -> Tensor<'g> {
        self.apply(Pad { margins: margins.to_vec(), value })
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |margins: [[usize; 2]; 3]| {
        TestCase::one(format!("pad {margins:?}"), vec![unit(&[2, 17, 3])], move |x| x[0].pad(&margins, 0.5))
    };
    [[[1, 2], [0, 0], [3, 0]], [[0, 0], [5, 7], [0, 1]], [[0, 1], [0, 0], [0, 0]]].map(case).into()
}

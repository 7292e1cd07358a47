//! Sums, and the means and variances made of them.

use crate::ops::reduce::frame::{self, Fold};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::sum`]: `[outer, n, inner]` to `[outer, inner]`.
#[derive(Debug, PartialEq)]
pub struct Sum;

impl Sum {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        frame::fold::<F, Sum>(x[0].shape(), x[0].floats(), y[0].floats_mut());
    }
}

/// Parts are few numbers, and are added up in f64: what they all lose would add up too.
impl<F: Real> Fold<F> for Sum {
    type Part = F;
    type Whole = f64;
    type Result = F;

    #[inline(always)]
    fn none() -> F {
        F::zero()
    }

    #[inline(always)]
    fn with(part: F, x: F, _: usize) -> F {
        part + x
    }

    #[inline(always)]
    fn join(a: F, b: F) -> F {
        a + b
    }

    #[inline(always)]
    fn whole(part: F) -> f64 {
        part.wide()
    }

    #[inline(always)]
    fn merge(a: f64, b: f64) -> f64 {
        a + b
    }

    #[inline(always)]
    fn result(whole: f64) -> F {
        F::of(whole)
    }
}

/// Drops the middle axis of three.
pub(crate) fn infer_middle(op: &'static str, x: &[&Type], dtype: DType) -> Result<Vec<Type>> {
    expect_dtypes(op, x, &[DType::F32])?;
    match x[0].shape[..] {
        [outer, _, inner] => Ok(vec![Type { shape: vec![outer, inner], dtype }]),
        _ => Err(shape_error(op, "x is [outer, n, inner]", x)),
    }
}

impl Op for Sum {
    cpu!();

    fn name(&self) -> &'static str {
        "sum"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        infer_middle("sum", x, DType::F32)
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        frame::launches(class, "sum", x[0], None)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        x[0].count() as u64
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        Ok(Some(vec![x.x[0].fold_stack(0)?.apply(Sum).unfold_stack(0, x.k)?]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![ct[0].map(|ct| ct.along(at.x[0])).transpose()?]))
    }

    fn jvp<'g>(&self, _: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.apply(Sum))]))
    }
}

impl<'g> Tensor<'g> {
    /// `y = Σ x` over some axes, which the result does not have. The order of summation depends on the shape alone.
    ///
    /// Broken by an axis that does not exist ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn sum(self, axes: &[usize]) -> Tensor<'g> {
        let (middle, rest) = self.middle("sum", axes);
        match middle.shape() {
            Ok([_, 1, _]) => self.reshape(&rest),
            _ => middle.apply(Sum).reshape(&rest),
        }
    }

    /// `y = Σ x` over all axes: [`Tensor::sum`] to a scalar.
    #[track_caller]
    pub fn sum_all(self) -> Tensor<'g> {
        self.sum(&frame::axes(self))
    }

    /// Sums to a shape that broadcasts to that of `x`: the transpose of [`Tensor::broadcast`].
    ///
    /// Broken by a shape that does not broadcast to that of `x` ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn sum_to(self, shape: &[usize]) -> Tensor<'g> {
        let Ok(ty) = self.ty() else { return self };
        if shape::broadcast(shape, &ty.shape).is_none_or(|all| shape::count(&all) != ty.count()) {
            let error = shape_error("sum_to", format!("{shape:?} broadcasts to it"), &[ty]);
            return self.graph().wait(Err(error));
        }
        if ty.count() == shape::count(shape) || ty.shape.len() < shape.len() {
            return self.reshape(shape);
        }
        self.sum(&shape::broadcast_axes(shape, &ty.shape)).reshape(shape)
    }

    /// `y = Σ x / n` over some axes.
    ///
    /// Broken by an axis that does not exist ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn mean(self, axes: &[usize]) -> Tensor<'g> {
        let y = self.sum(axes);
        match (self.count(), y.count()) {
            (Ok(all), Ok(rest)) => y / (all / rest) as f64,
            _ => y,
        }
    }

    /// `y = Σ x / n` over all axes: [`Tensor::mean`] as a scalar.
    #[track_caller]
    pub fn mean_all(self) -> Tensor<'g> {
        self.mean(&frame::axes(self))
    }

    /// `y = Σ (x − mean)² / n` over some axes: the biased variance, from deviations, never as `E x² − (E x)²`.
    ///
    /// Broken by an axis that does not exist ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn variance(self, axes: &[usize]) -> Tensor<'g> {
        let (middle, rest) = self.middle("variance", axes);
        let [_, deviation] = middle.centred(&[1]);
        (deviation * deviation).mean(&[1]).reshape(&rest)
    }

    /// The mean over some axes, which it keeps with extent 1, and `x − mean`. What the mean lost in rounding, which may be
    /// more than numbers far from zero differ by, is taken off too: the mean of the differences, zero but for that.
    pub(crate) fn centred(self, axes: &[usize]) -> [Tensor<'g>; 2] {
        let mean = self.mean(axes).unsqueeze(axes);
        let deviation = self - mean;
        [mean, deviation - deviation.mean(axes).unsqueeze(axes).stop_gradient()]
    }
}

/// Shapes and axes on which reductions are tried.
const REDUCED: &[(&[usize], &[usize])] = &[
    (&[1], &[0]),
    (&[257], &[0]),
    (&[3, 67], &[1]),
    (&[67, 3], &[0]),
    (&[5, 3, 33], &[1]),
    (&[3, 5, 7], &[0, 2]),
    (&[2, 9, 5, 65], &[0, 1, 2]),
    (&[2999, 5], &[0]),
    (&[10007], &[0]),
];

/// The test cases of a reduction.
pub(crate) fn reduced(name: &str, reduce: for<'g> fn(Tensor<'g>, &[usize]) -> Tensor<'g>) -> Vec<TestCase> {
    let case = |&(shape, axes): &(&[usize], &'static [usize])| {
        TestCase::one(format!("{name} {shape:?} {axes:?}"), vec![unit(shape)], move |x| reduce(x[0], axes))
    };
    REDUCED.iter().map(case).collect()
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let variance = |what: &str, shift: f64| {
        TestCase::one(what, vec![unit(&[3, 5, 67])], move |x| (x[0] + shift).variance(&[0, 2]))
    };
    let to = |from: Shape, to: Shape| {
        TestCase::one(format!("sum_to {from:?} {to:?}"), vec![unit(&from)], move |x| x[0].sum_to(&to))
    };
    let mut all = reduced("sum", |x, axes| x.sum(axes));
    all.push(variance("variance", 0.0));
    all.push(variance("variance far from zero", 1000.0).tolerance(1e-4).order(0));
    all.extend([to(vec![3, 5, 7], vec![5, 1]), to(vec![3, 5, 7], vec![3, 1, 7]), to(vec![3, 5], vec![])]);
    all
}

/// Shapes and axes on which reductions are timed: everything, rows, columns, the middle.
pub(crate) const TIMED: [(&[usize], &[usize]); 4] =
    [(&[1_048_583], &[0]), (&[2049, 515], &[1]), (&[16_387, 67], &[0]), (&[33, 253, 129], &[1])];

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let case = |(shape, axes): (&[usize], &'static [usize])| {
        let x = vec![range(shape, 0.0, 1.0)];
        TestCase::one(format!("{shape:?} over {axes:?}"), x, move |x| x[0].sum(axes)).tolerance(5e-6)
    };
    TIMED.map(case).into()
}

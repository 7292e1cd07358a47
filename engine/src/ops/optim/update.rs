//! Updates of parameters in place: the frame of the optimizers' ops, which move one array or many (multi-tensor).

use std::{fmt::Debug, sync::Arc};

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// How an array moves: by its gradient, by what is kept beside it from step to step, and at rates.
pub trait Rule: Debug + Clone + PartialEq + Send + Sync + 'static {
    /// The op's name.
    const NAME: &'static str;

    /// Floating-point operations for each element.
    const FLOPS: u64;

    /// How many rates there are.
    const RATES: usize;

    /// How many arrays are kept beside each, at most two.
    fn kept(&self) -> usize;

    /// The kernels that move one array, and seven at once.
    fn kernels(&self) -> [&'static str; 2];

    /// A launch of either, with the rule's constants: words behind the lengths, and overrides.
    fn constants(&self, launch: Launch) -> Launch;

    /// A step of as many elements of an array, of those that are kept and of the gradient. To be inlined, always.
    fn step<F: Real>(&self, rates: &[F], arrays: [&mut [F]; 3], grad: &[F]);

    /// The same as a graph: what the array and those that are kept become.
    fn plain<'g>(&self, arrays: &[Tensor<'g>], grad: Tensor<'g>, rates: Tensor<'g>) -> Vec<Tensor<'g>>;
}

/// The op of a [`Rule`]. Operands are, for each array in turn, itself, its gradient and what is kept beside it, and the
/// rates at the end; results are the arrays with what is kept, in place.
#[derive(Debug, Clone, PartialEq)]
pub struct Update<R> {
    rule: R,
    /// Whether a dispatch may bind seven arrays with what belongs to them.
    wide: bool,
}

/// Arrays of a wide dispatch.
const ARRAYS: usize = 7;

/// Lengths of arrays in cases: of one, and of nine, which are a wide dispatch and two others.
pub(crate) const LENS: [&[usize]; 3] = [&[1], &[257], &[255, 1, 4099, 256, 3, 257, 1031, 2, 258]];

/// Elements of a task on the CPU.
const CHUNK: usize = SERIAL / 2;

/// A rule at work on elements of one array.
struct Step<'a, R, F> {
    rule: &'a R,
    rates: &'a [F],
    arrays: [&'a mut [F]; 3],
    grad: &'a [F],
}

impl<R: Rule, F: Real> WithSimd for Step<'_, R, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.rule.step(self.rates, self.arrays, self.grad);
    }
}

impl<R: Rule> Update<R> {
    /// Of one array.
    pub(crate) fn new(rule: R) -> Self {
        Update { rule, wide: false }
    }

    /// Operands and results of each array.
    fn each(&self) -> [usize; 2] {
        let kept = self.rule.kept();
        [2 + kept, 1 + kept]
    }

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [operands, results] = self.each();
        let (x, rates) = x.split_at(x.len() - 1);
        let (rule, rates) = (&self.rule, rates[0].floats());
        let elements: usize = x.iter().step_by(operands).map(|p| p.ty.count()).sum();
        let mut steps = Vec::with_capacity(y.len() / results + elements / CHUNK);
        for (x, y) in x.chunks(operands).zip(y.chunks_mut(results)) {
            let mut parts: Vec<_> = y.iter_mut().map(|y| y.floats_mut().chunks_mut(CHUNK)).collect();
            for grad in x[1].floats().chunks(CHUNK) {
                let arrays = std::array::from_fn(|i| parts.get_mut(i).and_then(Iterator::next).unwrap_or_default());
                steps.push(Step { rule, rates, arrays, grad });
            }
        }
        match elements {
            ..SERIAL => steps.into_iter().for_each(|step| F::vectorize(step)),
            _ => steps.into_par_iter().for_each(|step| F::vectorize(step)),
        }
    }

    /// A dispatch for the arrays from `first` on, of these lengths.
    fn dispatch(&self, kernel: &'static str, first: usize, lens: &[usize], rates: usize) -> Launch {
        // Four elements to an invocation, 64 invocations to a workgroup.
        let groups = lens.iter().map(|len| len.div_ceil(256)).sum();
        let [operands, results] = self.each();
        let arrays = (first..first + lens.len()).flat_map(|i| {
            let kept = (1..results).map(move |k| Bind::Out(i * results + k));
            [Bind::Out(i * results), Bind::In(i * operands + 1)].into_iter().chain(kept)
        });
        let launch = Launch::new(kernel, groups).params(lens.iter().map(|&len| word(len)));
        self.rule.constants(launch).bind(arrays.chain([Bind::In(rates)]))
    }
}

impl<R: Rule> Op for Update<R> {
    cpu!();

    fn name(&self) -> &'static str {
        R::NAME
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let [operands, results] = self.each();
        expect_dtypes(R::NAME, x, &vec![DType::F32; x.len().saturating_sub(1).next_multiple_of(operands) + 1])?;
        let (arrays, rates) = x.split_at(x.len() - 1);
        let alike = arrays.chunks(operands).all(|x| x.iter().all(|t| t.shape == x[0].shape));
        if arrays.is_empty() || !alike || rates[0].shape != [R::RATES] {
            return Err(shape_error(R::NAME, format!("the last operand is [{}], the others are alike", R::RATES), x));
        }
        Ok(arrays.chunks(operands).flat_map(|x| vec![x[0].clone(); results]).collect())
    }

    fn launch(&self, _: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let rates = x.len() - 1;
        let lens: Vec<usize> = x[..rates].iter().step_by(self.each()[0]).map(|p| p.count()).collect();
        let [one, seven] = self.rule.kernels();
        let together = if self.wide { lens.len() / ARRAYS * ARRAYS } else { 0 };
        let (wide, single) = lens.split_at(together);
        let wide = wide.chunks(ARRAYS).enumerate().map(|(i, lens)| self.dispatch(seven, i * ARRAYS, lens, rates));
        let single = single.chunks(1).enumerate().map(|(i, len)| self.dispatch(one, together + i, len, rates));
        Launches { scratch: Vec::new(), list: wide.chain(single).collect() }
    }

    fn in_place(&self, operands: usize) -> Vec<usize> {
        let [each, _] = self.each();
        (0..operands - 1).filter(|i| i % each != 1).collect()
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        x[..x.len() - 1].iter().step_by(self.each()[0]).map(|p| R::FLOPS * p.count() as u64).sum()
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let (x, rates) = x.split_at(x.len() - 1);
        let of_one = |x: &[Tensor<'g>]| self.rule.plain(&[&x[..1], &x[2..]].concat(), x[1], rates[0]);
        Ok(Some(x.chunks(self.each()[0]).flat_map(of_one).collect()))
    }

    fn together(&self, buffers: usize) -> Option<Arc<dyn Op>> {
        // Beside what belongs to the arrays the rates, and the uniform: on Metal one limit is for buffers of all kinds.
        let wide = ARRAYS * (2 + self.rule.kept()) + 2 <= buffers;
        Some(Arc::new(Update { wide, ..self.clone() }))
    }
}

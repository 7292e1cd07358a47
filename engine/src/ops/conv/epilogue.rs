//! The epilogue of convolutions: a bias, a residual, and a ReLU mask or a ReLU.

use crate::ops::conv::frame::items;
use crate::{cpu::*, error::*, launch::*, tensor::*};

/// The epilogue's operands by number, and whether a ReLU comes last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EpilogueOperands {
    /// One number for each channel.
    pub bias: Option<usize>,
    /// Like the results.
    pub residual: Option<usize>,
    /// Like one item of the results, which are zero where it is zero or less.
    pub mask: Option<usize>,
    pub relu: bool,
}

impl EpilogueOperands {
    /// Of the operands after the first `factors` ones: a bias, a residual and a mask if there are such.
    pub(crate) fn new(factors: usize, [bias, residual, mask]: [bool; 3], relu: bool) -> Self {
        let mut next = factors..;
        let [bias, residual, mask] = [bias, residual, mask].map(|there| there.then(|| next.next()).flatten());
        EpilogueOperands { bias, residual, mask, relu }
    }

    /// Refuses operands beside factors and bias that are not a residual like the result and a mask like one item of it.
    pub(crate) fn expect(&self, op: &'static str, x: &[&Type], others: &[&Type], y: &Type) -> Result<()> {
        let one = Type::f32(item(&y.shape, 4));
        let wanted: Vec<&Type> = [self.residual.map(|_| y), self.mask.map(|_| &one)].into_iter().flatten().collect();
        let rule = "a residual is like the result, a mask like a single one, and items of a masked stack come in vec4s";
        match others == wanted && (items(y) == 1 || self.mask.is_none() || one.count().is_multiple_of(4)) {
            true => Ok(()),
            false => Err(shape_error(op, rule, x)),
        }
    }

    /// What the CPU does after the bias.
    pub(crate) fn on_cpu<'a, F: Real>(&self, x: &[Operand<'a, F>]) -> Epilogue<'a, F> {
        let residual = self.residual.map(|i| Stack::new(&x[i], 4));
        Epilogue { residual, mask: self.mask.map(|i| x[i].floats()), relu: self.relu }
    }

    /// The launches of a product and its bias, and the one that does the rest to its results, if there is anything to do.
    pub(crate) fn after(&self, mut launches: Launches, y: &Type) -> Launches {
        if let Some(any) = self.residual.or(self.mask).or(self.relu.then_some(0)) {
            let launch = Launch::new("epilogue", y.count().div_ceil(256))
                .constant("RESIDUAL", self.residual.is_some())
                .constant("MASK", self.mask.is_some())
                .constant("RELU", self.relu)
                .params([y.count(), y.count() / items(y)].map(word))
                .bind([self.residual, self.mask].map(|i| Bind::In(i.unwrap_or(any))))
                .bind([Bind::Out(0)]);
            launches.list.push(launch);
        }
        launches
    }
}

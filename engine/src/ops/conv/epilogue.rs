//! The epilogue of convolutions: a bias, a residual, and a ReLU mask or a ReLU.

use crate::ops::conv::frame::members;
use crate::{cpu::*, error::*, launch::*, tensor::*};

/// The epilogue's operands by number, and whether a ReLU comes last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EpilogueOperands {
    /// One number for each channel.
    pub bias: Option<usize>,
    /// Like the results.
    pub residual: Option<usize>,
    /// Like one member of the results, which are zero where it is not positive.
    pub gate: Option<usize>,
    pub relu: bool,
}

impl EpilogueOperands {
    /// Of the operands after the first `factors` ones: a bias, a residual and a mask if there are such.
    pub(crate) fn new(factors: usize, [bias, residual, gate]: [bool; 3], relu: bool) -> Self {
        let mut next = factors..;
        let [bias, residual, gate] = [bias, residual, gate].map(|there| there.then(|| next.next()).flatten());
        EpilogueOperands { bias, residual, gate, relu }
    }

    /// Refuses operands beside factors and bias that are not a residual like the result and a mask like one member of it.
    pub(crate) fn expect(&self, op: &'static str, x: &[&Type], others: &[&Type], y: &Type) -> Result<()> {
        let one = Type::f32(member(&y.shape, 4));
        let wanted: Vec<&Type> = [self.residual.map(|_| y), self.gate.map(|_| &one)].into_iter().flatten().collect();
        let rule =
            "a residual is like the result, a gate like a single one, and members of a gated stack come in fours";
        match others == wanted && (members(y) == 1 || self.gate.is_none() || one.count().is_multiple_of(4)) {
            true => Ok(()),
            false => Err(shape_error(op, rule, x)),
        }
    }

    /// What the CPU does after the bias.
    pub(crate) fn on_cpu<'a, F: Real>(&self, x: &[Operand<'a, F>]) -> Epilogue<'a, F> {
        let residual = self.residual.map(|i| Stack::new(&x[i], 4));
        Epilogue { residual, gate: self.gate.map(|i| x[i].floats()), relu: self.relu }
    }

    /// The launches of a product and its bias, and the one that does the rest to its results, if there is anything to do.
    pub(crate) fn after(&self, mut launches: Launches, y: &Type) -> Launches {
        if let Some(any) = self.residual.or(self.gate).or(self.relu.then_some(0)) {
            let launch = Launch::new("ends", y.count().div_ceil(256))
                .constant("RESIDUAL", self.residual.is_some())
                .constant("GATE", self.gate.is_some())
                .constant("RELU", self.relu)
                .params([y.count(), y.count() / members(y)].map(word))
                .bind([self.residual, self.gate].map(|i| Bind::In(i.unwrap_or(any))))
                .bind([Bind::Out(0)]);
            launches.list.push(launch);
        }
        launches
    }
}

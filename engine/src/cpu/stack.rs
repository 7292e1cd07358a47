//! Operands that `vmap` may stack: several values of one type along a leading axis, where others have one for all.

use std::ops::Range;

use crate::{
    cpu::{buffer::Operand, float::Real},
    tensor::item,
};

/// A value on the CPU, or a stack of values.
#[derive(Debug, Clone, Copy)]
pub struct Stack<'a, F> {
    data: &'a [F],
    /// Elements of an item.
    len: usize,
}

/// The factors of a product on the CPU.
pub type Term<'a, F> = [Stack<'a, F>; 2];

impl<'a, F: Real> Stack<'a, F> {
    /// An operand whose items have `rank` axes.
    pub(crate) fn new(x: &Operand<'a, F>, rank: usize) -> Self {
        Stack { data: x.floats(), len: item(x.shape(), rank).iter().product() }
    }

    /// One value for all.
    pub(crate) fn one(data: &'a [F]) -> Self {
        Stack { data, len: data.len() }
    }

    /// A stack of items of `len` elements.
    pub(crate) fn of(data: &'a [F], len: usize) -> Self {
        Stack { data, len }
    }

    /// The stack of some of its items.
    pub(crate) fn part(self, items: &Range<usize>) -> Self {
        Stack { data: &self.data[items.start * self.len..items.end * self.len], ..self }
    }

    /// Whether there is one value for all.
    pub fn is_one(&self) -> bool {
        self.data.len() == self.len
    }

    /// The item of this number, or the one for all.
    pub fn item(&self, i: usize) -> &'a [F] {
        &self.data[if self.is_one() { 0 } else { i * self.len }..][..self.len]
    }
}

/// The factors of each term of an op's operands, whose items have `rank` axes.
pub(crate) fn terms<'a, F: Real>(x: &[Operand<'a, F>], terms: usize, rank: usize) -> Vec<Term<'a, F>> {
    x.chunks_exact(2).take(terms).map(|t| [Stack::new(&t[0], rank), Stack::new(&t[1], rank)]).collect()
}

/// What each of several tasks makes of every item of `y`: the same stretch of at most `len` elements.
pub(crate) fn stretches<F>(y: &mut [F], items: usize, len: usize) -> Vec<Vec<&mut [F]>> {
    let each = y.len() / items;
    let mut tasks: Vec<Vec<&mut [F]>> = Vec::new();
    tasks.resize_with(each.div_ceil(len), || Vec::with_capacity(items));
    for item in y.chunks_mut(each) {
        tasks.iter_mut().zip(item.chunks_mut(len)).for_each(|(task, stretch)| task.push(stretch));
    }
    tasks
}

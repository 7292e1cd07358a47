//! The ops that only move elements: an output index maps to an input offset by strides.

use rayon::prelude::*;

use crate::{
    cpu::{
        buffer::{In, Operand, OutMut},
        float::{Real, SERIAL},
    },
    launch::launch::{Bind, Launch, Launches, loop_words, word},
    tensor::{dtype::Type, shape::Loops},
};

/// `y[i] = x[base + Σ iₐ strideₐ]`.
pub(crate) struct Strided {
    pub base: usize,
    pub strides: Vec<isize>,
}

impl Strided {
    pub(crate) fn launch(&self, y: &Type) -> Launches {
        const LANES: usize = 64;
        let loops = Loops::new(&y.shape, [&self.strides]);
        let words = [word(y.count()), word(self.base), word(loops.extents.len()), 0];
        Launch::new("strided", y.count().div_ceil(4 * LANES))
            .params(words.into_iter().chain(loop_words(&loops.extents, &loops.strides)))
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    pub(crate) fn eval<F: Real>(&self, shape: &[usize], x: &Operand<F>, y: &mut OutMut<F>) {
        match (x.data, y) {
            (In::Float(x), OutMut::Float(y)) => self.copy(shape, x, y),
            (In::Index(x), OutMut::Index(y)) => self.copy(shape, x, y),
            _ => unreachable!("the result has its operand's type"),
        }
    }

    fn copy<T: Copy + Send + Sync>(&self, shape: &[usize], x: &[T], y: &mut [T]) {
        let loops = Loops::new(shape, [&self.strides]);
        let run = loops.run();
        let stride = loops.strides[loops.strides.len() - 1][0];
        let per_task = (SERIAL / run).max(1);
        let task = |(task, y): (usize, &mut [T])| {
            let from = task * per_task;
            loops.each_run(from, from + y.len() / run, |r, [at]| {
                let at = self.base as isize + at;
                let y = &mut y[(r - from) * run..][..run];
                match stride {
                    1 => y.copy_from_slice(&x[at as usize..][..run]),
                    0 => y.fill(x[at as usize]),
                    _ => {
                        for (i, y) in y.iter_mut().enumerate() {
                            *y = x[(at + i as isize * stride) as usize];
                        }
                    }
                }
            });
        };
        y.par_chunks_mut(per_task * run).enumerate().for_each(task);
    }
}

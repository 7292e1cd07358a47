//! The frame of ops that only move elements, where strides map an output index to an input offset, and of views, which move
//! none.

use rayon::prelude::*;

use crate::{cpu::*, launch::*, tensor::*};

/// `y[i] = x[base + Σ iₐ strideₐ]`.
pub(crate) struct Strided {
    /// Extents of `y`.
    pub shape: Shape,
    pub base: usize,
    pub strides: Vec<isize>,
}

impl Strided {
    pub(crate) fn launch(&self) -> Launches {
        const LANES: usize = 64;
        let len = count(&self.shape);
        let loops = Loops::new(&self.shape, [&self.strides]);
        let words = [word(len), word(self.base), word(loops.extents.len()), 0];
        Launch::new("strided", len.div_ceil(4 * LANES))
            .params(words.into_iter().chain(loop_words(&loops.extents, &loops.strides)))
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    pub(crate) fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        match (x[0].data, &mut y[0]) {
            (In::Float(x), OutMut::Float(y)) => self.copy(x, y),
            (In::Index(x), OutMut::Index(y)) => self.copy(x, y),
            _ => unreachable!("the result has its operand's type"),
        }
    }

    fn copy<T: Copy + Send + Sync>(&self, x: &[T], y: &mut [T]) {
        let loops = Loops::new(&self.shape, [&self.strides]);
        let run = loops.segment();
        let stride = loops.strides[loops.strides.len() - 1][0];
        let per_task = (SERIAL / run).max(1);
        let task = |(task, y): (usize, &mut [T])| {
            let from = task * per_task;
            loops.each_segment(from, from + y.len() / run, |r, [at]| {
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

/// `launch`, `host` and `reference` of an op whose `view` of its operand's extents is a [`Strided`].
macro_rules! strided {
    () => {
        fn launch(&self, _: crate::launch::target::Class, x: &[&Type], _: &[&Type]) -> crate::launch::launch::Launches {
            self.view(&x[0].shape).launch()
        }

        fn host(&self, x: &[crate::cpu::buffer::Operand<f32>], y: &mut [crate::cpu::buffer::OutMut<f32>]) {
            self.view(x[0].shape()).eval(x, y)
        }

        fn reference(&self, x: &[crate::cpu::buffer::Operand<f64>], y: &mut [crate::cpu::buffer::OutMut<f64>]) {
            self.view(x[0].shape()).eval(x, y)
        }
    };
}
pub(crate) use strided;

/// `launch`, `host` and `reference` of an op whose result is its operand's bytes, which no device dispatches.
macro_rules! view {
    () => {
        fn launch(&self, _: crate::launch::target::Class, _: &[&Type], _: &[&Type]) -> crate::launch::launch::Launches {
            Default::default()
        }

        fn host(&self, x: &[crate::cpu::buffer::Operand<f32>], y: &mut [crate::cpu::buffer::OutMut<f32>]) {
            y[0].copy_from(x[0].data);
        }

        fn reference(&self, x: &[crate::cpu::buffer::Operand<f64>], y: &mut [crate::cpu::buffer::OutMut<f64>]) {
            y[0].copy_from(x[0].data);
        }

        fn is_view(&self) -> bool {
            true
        }

        fn flops(&self, _: &[&Type], _: &[&Type]) -> u64 {
            0
        }
    };
}
pub(crate) use view;

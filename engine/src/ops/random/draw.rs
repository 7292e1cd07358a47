//! The frame of random ops: draws from Philox by seed, stream and index, the same on every executor.

use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
    },
    error::Result,
    graph::graph::{Graph, Var},
    launch::launch::{Bind, Launch, Launches, word},
    tensor::{
        dtype::{DType, Type, expect_dtypes, shape_error},
        philox::philox,
        shape::Shape,
    },
    testing::cases::{Case, Sample},
};

/// Shape, stream and parameter of the random ops.
#[derive(Debug, Clone)]
pub(crate) struct Draw {
    pub shape: Shape,
    pub stream: u32,
    pub p: f32,
}

impl Draw {
    pub(crate) fn infer(&self, op: &'static str, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes(op, x, &[DType::U32])?;
        if x[0].shape != [3] {
            return Err(shape_error(op, "the seed is [3]: its low and high word and the step", x));
        }
        Ok(vec![Type::f32(self.shape.clone())])
    }

    pub(crate) fn launch(&self, kernel: &'static str, y: &[&Type]) -> Launches {
        let len = y[0].count();
        Launch::new(kernel, len.div_ceil(256))
            .params([word(len), self.stream, self.p.to_bits()])
            .bind([Bind::In(0), Bind::Out(0)])
            .into()
    }

    /// Fills `y` four numbers at a time from blocks of four words.
    pub(crate) fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>], f: impl Fn([u32; 4]) -> [F; 4]) {
        let seed = x[0].indices();
        for (i, y) in y[0].floats_mut().chunks_mut(4).enumerate() {
            let words = philox([i as u32, self.stream, seed[2], 0], [seed[0], seed[1]]);
            y.copy_from_slice(&f(words)[..y.len()]);
        }
    }
}

/// Uniform in `[0, 1)`, a multiple of 2⁻²⁴.
pub(crate) fn unit<F: Real>(word: u32) -> F {
    F::of(f64::from(word >> 8) / 16_777_216.0)
}

/// The cases of a random op.
pub(crate) fn cases(op: &str, draw: fn(&mut Graph, Var, u32, &[usize]) -> Result<Var>) -> Vec<Case> {
    [vec![1], vec![67, 5], vec![1027]]
        .into_iter()
        .map(|shape: Shape| {
            let seed = Sample::Words(vec![0x1234_5678, 0x9abc_def0, 3]);
            Case::new(format!("{op} {shape:?}"), vec![seed], move |g, x| Ok(vec![draw(g, x[0], 5, &shape)?])).order(0)
        })
        .collect()
}

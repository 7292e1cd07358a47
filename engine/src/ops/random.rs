//! Counter-based randomness: the same draw on every executor.

use crate::{DType, Launch, Launches, Operand, OutMut, Real, Result, Shape, Type, op::*, *};

/// Philox4x32-10: four random words from a counter and a key (Salmon et al. 2011).
pub fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    let wide = |a: u32, b: u32| {
        let p = u64::from(a) * u64::from(b);
        ((p >> 32) as u32, p as u32)
    };
    for _ in 0..10 {
        let ((p_high, p_low), (q_high, q_low)) = (wide(0xD251_1F53, c[0]), wide(0xCD9E_8D57, c[2]));
        c = [q_high ^ c[1] ^ k[0], q_low, p_high ^ c[3] ^ k[1], p_low];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

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

#[cfg(test)]
mod tests {
    use super::philox;

    /// Known answers of the Random123 library.
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }
}

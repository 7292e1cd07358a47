//! Scaled dot-product attention.

use crate::ops::{
    attention::{
        attention_grad::AttentionGrad,
        attention_tangent::AttentionTangent,
        blocks::{BLOCK, Blocks, powers, seen_row},
        heads::{Attention, Like, OPERANDS, Scores, Work, infer, on_stacks},
        trials::{on_sizes, timed_sizes},
    },
    norm::frame::{all_or_zeros, or_zeros},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

impl Attention {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let b = Blocks::new(*self, x);
        let [q, k, v] = [0, 1, 2].map(|i| x[i].floats());
        let (d, scale) = (x[0].shape()[3], F::of(self.scale));
        b.each_query_block(y, |n, h, rows| {
            let (mut most, mut sum) = (vec![F::min_value(); rows.len()], vec![F::zero(); rows.len()]);
            let (mut y, mut p) = (vec![F::zero(); rows.len() * d], vec![F::zero(); BLOCK * BLOCK]);
            for columns in b.key_blocks(n, rows) {
                b.products(&mut p, b.queries(q, n, h, rows), b.keys(k, n, h, &columns), false);
                for (r, i) in rows.clone().enumerate() {
                    let p = seen_row(&mut p, r, b.seen(n, i, &columns));
                    let kept = powers(p, scale, F::zero(), &mut most[r], &mut sum[r]);
                    y[r * d..][..d].iter_mut().for_each(|y| *y *= kept);
                }
                b.weigh(&mut y, rows.len(), &p, b.keys(v, n, h, &columns));
            }
            for ((i, y), (lse, sum)) in rows.clone().zip(y.chunks_mut(d)).zip(most.iter_mut().zip(sum)) {
                let (norm, log) = if b.sees(n, i) { (sum.recip(), *lse + sum.ln()) } else { (sum, sum) };
                y.iter_mut().for_each(|y| *y *= norm);
                *lse = log;
            }
            [y, most]
        });
    }
}

impl Op for Attention {
    cpu!();

    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        infer("attention", x, &OPERANDS, &[Like::Query, Like::Row])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let (operands, work) = ([0, 1, 2, 3].map(Bind::In), Work { over: Like::Query, planes: 2, steps: [2, 1, 1, 2] });
        let bind = [&operands[..], &[Bind::Out(0), Bind::Out(1), Bind::Scratch(0)]].concat();
        let list = self.launch_tiles(class, "attention", x, work, 0, &bind);
        // A single launch leaves nothing to the next.
        let rows = if list.len() > 1 { x[0].count() / x[0].shape[3] } else { 1 };
        Launches { scratch: vec![2 * rows], list }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        self.count_flops(x, 2)
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let scores = Scores::new(self, x)?;
        let lse = scores.logsumexp();
        Ok(Some(vec![scores.weigh(scores.weights(lse), x[2])?, lse]))
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        on_stacks(*self, x)
    }

    /// A cotangent of the logarithm is one of Σ ct y less: both move the scores' cotangents along the probabilities.
    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let ct_y = or_zeros(ct[0], at.y[0]);
        let delta = (ct_y * at.y[0]).sum(&[3]);
        let delta = ct[1].map_or(delta, |ct| delta - ct);
        let d = ct_y.graph().apply_all(AttentionGrad(*self), &[at.x, &[at.y[1], delta, ct_y]].concat())?;
        Ok(Some(d.into_iter().map(Some).chain([None]).collect()))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let x = [at.x, at.y, &all_or_zeros(&dx[..3], at.x)].concat();
        let dy = x[0].graph().apply_all(AttentionTangent(*self), &x)?;
        Ok(Some(dy.into_iter().map(Some).collect()))
    }
}

impl<'g> Tensor<'g> {
    /// Of queries q, `y[i] = Σⱼ softmaxⱼ(scale q[i]·k[j]) v[j]` for every head (Vaswani et al. 2017), and the logarithm of the
    /// sum of exponentials that the softmax divides by. Groups of query heads may share a head of keys and values (Ainslie
    /// et al. 2023).
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | q, y | `[n, t, heads, d]` | `d ≤ 256` |
    /// | k, v | `[n, s, kv_heads, d]` | `heads` a multiple of `kv_heads` |
    /// | lengths | `[n]`, u32 | keys at or behind it are masked; none without it |
    /// | logsumexp | `[n, t, heads]` | 0 for a query that sees no key, whose `y` and derivatives are 0 |
    ///
    /// One pass over tiles of keys computes the softmax (Milakov and Gimelshein 2018; Dao et al. 2022), so memory grows
    /// with `t + s`. Gradient, tangent and the gradient's tangent are fused in the same way; higher derivatives come from
    /// the plain graph, which holds `t·s` numbers for each head.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)), and by floats as lengths
    /// ([`Error::DType`](crate::Error::DType)).
    #[track_caller]
    pub fn attention(
        self, k: Tensor<'g>, v: Tensor<'g>, how: Attention, lengths: Option<Tensor<'g>>,
    ) -> [Tensor<'g>; 2] {
        let lengths = match lengths {
            Some(lengths) => lengths,
            None => {
                let n = self.shape().ok().and_then(|q| q.first()).map_or(1, |&n| n);
                self.graph().fill_u32(&[n], u32::MAX)
            }
        };
        self.graph().apply(how, &[self, k, v, lengths])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = on_sizes("attention", |how| how, &OPERANDS, 3e-6);
    let x = vec![unit(&[2, 9, 2, 256]), unit(&[2, 9, 2, 256]), unit(&[2, 9, 2, 256])];
    all.push(TestCase::new("attention without lengths", x, |x| {
        Ok(x[0].attention(x[1], x[2], Attention { causal: true, scale: 0.1 }, None).to_vec())
    }));
    // Scores up to ±200, far beyond the range of the exponential.
    let x = vec![unit(&[1, 40, 1, 8]), unit(&[1, 70, 1, 8]), unit(&[1, 70, 1, 8])];
    let large = TestCase::new("attention, large scores", x, |x| {
        Ok(x[0].attention(x[1], x[2], Attention { causal: false, scale: 50.0 }, None).to_vec())
    });
    all.push(large.tolerance(1e-4).order(0));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_sizes(|how| how, &OPERANDS, 3e-6)
}

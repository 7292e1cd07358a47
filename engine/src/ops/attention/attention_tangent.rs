//! The tangent of attention.

use crate::ops::attention::{
    blocks::{BLOCK, Blocks, seen_row},
    heads::{Attention, Like, Scores, Work, infer, on_stacks},
    trials::{on_sizes, timed_sizes},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The tangents of `y` and of the logarithm lse in [`Tensor::attention`]; operands q, k, v, lengths, `y`, lse, and the
/// tangents of q, k and v.
///
/// With `p[i, j] = e^(scale q[i]·k[j] − lse[i])` where `i` sees `j`, else 0, and `s' = scale (q'·k + q·k')`:
/// `lse' = Σⱼ p s'`, `y' = Σⱼ (p s' v + p v') − lse' y`. A function of these operands as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionTangent(pub Attention);

const OPERANDS: [Like; 9] =
    [Like::Query, Like::Key, Like::Key, Like::Lengths, Like::Query, Like::Row, Like::Query, Like::Key, Like::Key];

impl AttentionTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], out: &mut [OutMut<F>]) {
        let b = Blocks::new(self.0, x);
        let [q, k, v, y, lse, dq, dk, dv] = [0, 1, 2, 4, 5, 6, 7, 8].map(|i| x[i].floats());
        let (d, scale) = (x[0].shape()[3], F::of(self.0.scale));
        b.each_query_block(out, |n, h, rows| {
            let (mut dy, mut dlse) = (vec![F::zero(); rows.len() * d], vec![F::zero(); rows.len()]);
            let (mut p, mut ds) = (vec![F::zero(); BLOCK * BLOCK], vec![F::zero(); BLOCK * BLOCK]);
            let rests = b.rests((n, h, rows), q, k, lse, &mut p);
            for columns in b.key_blocks(n, rows) {
                let [q, dq] = [q, dq].map(|x| b.queries(x, n, h, rows));
                let [k, v, dk, dv] = [k, v, dk, dv].map(|x| b.keys(x, n, h, &columns));
                b.products(&mut p, q, k, false);
                b.products(&mut ds, dq, k, false);
                b.products(&mut ds, q, dk, true);
                for (r, i) in rows.clone().enumerate() {
                    let (at, seen) = (b.row(n, h, i), b.seen(n, i, &columns));
                    let [p, ds] = [&mut p, &mut ds].map(|tile| seen_row(tile, r, seen));
                    exponentials(p, scale, [lse[at], rests[r]]);
                    ds.iter_mut().zip(p).for_each(|(ds, &mut p)| *ds *= p * scale);
                    dlse[r] += ds.iter().copied().sum();
                }
                b.weigh(&mut dy, rows.len(), &ds, v);
                b.weigh(&mut dy, rows.len(), &p, dv);
            }
            for ((i, dy), &dlse) in rows.clone().zip(dy.chunks_mut(d)).zip(&dlse) {
                let y = &y[b.row(n, h, i) * d..][..d];
                dy.iter_mut().zip(y).for_each(|(dy, &y)| *dy -= dlse * y);
            }
            [dy, dlse]
        });
    }
}

impl Op for AttentionTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "attention_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        infer("attention_tangent", x, &OPERANDS, &[Like::Query, Like::Row])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let mut launches = Launches::default();
        let [q, k, v] = [[0, 6], [1, 7], [2, 8]].map(|pair| launches.pack(x, &pair));
        let (rows, rest) = self.0.pack_rows(class, x, &mut launches, 5, &[]);
        let bind = [q, k, v, Bind::In(3), Bind::In(4), rows, Bind::Out(0), Bind::Out(1)];
        let work = Work { over: Like::Query, planes: 2, steps: [4, 3, 2, 1] };
        launches.list.extend(self.0.launch_tiles(class, "attention_tangent", x, work, rest, &bind));
        launches
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        self.0.count_flops(x, 5)
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let scores = Scores::new(&self.0, x)?;
        let p = scores.weights(x[5]);
        let ds = p * scores.tangent(x[6], x[7])?;
        let dlse = ds.sum(&[3]).transpose(&[0, 2, 1]);
        let dy = scores.weigh(ds, x[2])? + scores.weigh(p, x[8])? - dlse.unsqueeze(&[3]) * x[4];
        Ok(Some(vec![dy, dlse]))
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        on_stacks(self.clone(), x)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    on_sizes("attention_tangent", AttentionTangent, &OPERANDS, 1e-5)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_sizes(AttentionTangent, &OPERANDS, 1e-5)
}

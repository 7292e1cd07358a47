//! The tangent of attention.

use crate::ops::attention::attention::{Attention, on_sizes};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
        math::exponentials,
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{Op, Stacked, cpu},
    },
    launch::{
        launch::{Bind, Launches},
        target::Class,
    },
    ops::attention::{
        blocks::{BLOCK, Blocks},
        heads::{Extents, Like, Scores},
    },
    tensor::dtype::Type,
    testing::cases::Case,
};

/// The tangents of `y` and of the logarithm lse in [`Graph::attention`]; operands q, k, v, lengths, `y`, lse, and the
/// tangents of q, k and v.
///
/// With `p[i, j] = e^(scale q[i]·k[j] − lse[i])` where `i` sees `j`, else 0, and `s' = scale (q'·k + q·k')`:
/// `lse' = Σⱼ p s'`, `y' = Σⱼ (p s' v + p v') − lse' y`. A function of these operands as they are.
#[derive(Debug, Clone)]
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
            for columns in b.key_blocks(n, rows) {
                let [q, dq] = [q, dq].map(|x| b.queries(x, n, h, rows));
                let [k, v, dk, dv] = [k, v, dk, dv].map(|x| b.keys(x, n, h, &columns));
                b.products(&mut p, q, k, false);
                b.products(&mut ds, dq, k, false);
                b.products(&mut ds, q, dk, true);
                for (r, i) in rows.clone().enumerate() {
                    let (at, seen) = (b.row(n, h, i), b.seen(n, i, &columns));
                    let [p, ds] = [&mut p, &mut ds].map(|tile| {
                        let (row, hidden) = tile[r * BLOCK..][..BLOCK].split_at_mut(seen);
                        hidden.fill(F::zero());
                        row
                    });
                    exponentials(p, scale, lse[at]);
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
        let e = Extents::check("attention_tangent", x, &OPERANDS)?;
        Ok(vec![e.ty(Like::Query), e.ty(Like::Row)])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let e = Extents::of(&x[0].shape, &x[1].shape);
        let mut launches = Launches::default();
        let [q, k, v] = [[0, 6], [1, 7], [2, 8]].map(|pair| launches.pack(x, &pair));
        let bind = [q, k, v, Bind::In(3), Bind::In(4), Bind::In(5), Bind::Out(0), Bind::Out(1)];
        launches.list.push(self.0.launch_tiles(class, "attention_tangent", &e, (e.t, e.heads), 2, &bind));
        launches
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        self.0.count_flops(x, 5)
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let scores = Scores::new(g, &self.0, x, x[3])?;
        let p = scores.weights(g, x[5])?;
        let ds = scores.tangent(g, x[6], x[7])?;
        let weights = g.mul(p, ds)?;
        let dlse = g.sum(weights, &[3])?;
        let dlse = g.transpose(dlse, &[0, 2, 1])?;
        let (moved, with) = (scores.weigh(g, weights, x[2])?, scores.weigh(g, p, x[8])?);
        let sum = g.add(moved, with)?;
        let along = g.unsqueeze(dlse, &[3])?;
        let along = g.mul(along, x[4])?;
        Ok(Some(vec![g.sub(sum, along)?, dlse]))
    }

    fn batched(&self, g: &mut Graph, x: Stacked) -> Result<Option<Vec<Var>>> {
        Attention::on_stacks(self.clone(), g, x)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    on_sizes("attention_tangent", AttentionTangent, &OPERANDS, 1e-5)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    super::attention::timed_sizes(AttentionTangent, &OPERANDS, 1e-5)
}

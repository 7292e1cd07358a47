//! The backward of attention.

use crate::ops::attention::{
    attention::{Attention, on_sizes},
    attention_grad_tangent::AttentionGradTangent,
};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, Stacked, cpu},
    },
    launch::{
        launch::{Bind, Launches},
        target::Class,
    },
    ops::{
        attention::{
            blocks::Blocks,
            heads::{Extents, Like, Scores},
        },
        norm::frame::or_zeros,
    },
    tensor::dtype::Type,
    testing::cases::Case,
};

/// The cotangents of q, k and v in [`Graph::attention`]; operands q, k, v, lengths, the logarithm lse, delta, and the
/// cotangent ct of `y`. `delta[i]` is `Σ ct[i] y[i]` less the cotangent of `lse[i]`.
///
/// With `p[i, j] = e^(scale q[i]·k[j] − lse[i])` where `i` sees `j`, else 0, and `ds = p (ct[i]·v[j] − delta[i])`:
/// `dq = scale Σⱼ ds k`, `dk = scale Σᵢ ds q`, `dv = Σᵢ p ct` (Dao et al. 2022). A function of these operands as they
/// are; derivatives go on through lse and delta.
#[derive(Debug, Clone)]
pub struct AttentionGrad(pub Attention);

/// What its operands are like.
pub(crate) const OPERANDS: [Like; 7] =
    [Like::Query, Like::Key, Like::Key, Like::Lengths, Like::Row, Like::Row, Like::Query];

impl AttentionGrad {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        Blocks::new(self.0, x).backward([0, 1, 2, 4, 5, 6].map(|i| x[i].floats()), None, y);
    }
}

impl Op for AttentionGrad {
    cpu!();

    fn name(&self) -> &'static str {
        "attention_grad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let e = Extents::check("attention_grad", x, &OPERANDS)?;
        Ok([Like::Query, Like::Key, Like::Key].map(|like| e.ty(like)).to_vec())
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let [q, k, v, lengths, ct] = [0, 1, 2, 3, 6].map(Bind::In);
        let mut launches = Launches::default();
        let rows = launches.pack(x, &[4, 5]);
        self.0.launch_backward(
            class,
            &Extents::of(&x[0].shape, &x[1].shape),
            launches,
            [q, k, v, lengths, rows, ct],
            false,
        )
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        self.0.count_flops(x, 5)
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let scores = Scores::new(g, &self.0, x, x[3])?;
        let p = scores.weights(g, x[4])?;
        scores.grads(g, p, x[2], x[5], x[6]).map(Some)
    }

    fn batched(&self, g: &mut Graph, x: Stacked) -> Result<Option<Vec<Var>>> {
        Attention::on_stacks(self.clone(), g, x)
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let mut x = at.x.to_vec();
        for i in [0, 1, 2, 4, 5, 6] {
            x.push(or_zeros(g, dx[i], at.x[i])?);
        }
        let dy = g.apply_all(AttentionGradTangent(self.0), &x)?;
        Ok(dy.into_iter().map(Some).collect())
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    on_sizes("attention_grad", AttentionGrad, &OPERANDS, 3e-6)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    super::attention::timed_sizes(AttentionGrad, &OPERANDS, 3e-6)
}

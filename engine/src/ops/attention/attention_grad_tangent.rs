//! The tangent of attention's backward: what makes its Hessian-vector products cheap in memory.

use crate::ops::attention::{
    attention::{Attention, on_sizes},
    attention_grad::{AttentionGrad, OPERANDS},
};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
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
        blocks::Blocks,
        heads::{Extents, Like},
    },
    tensor::dtype::Type,
    testing::cases::Case,
};

/// The tangents of the results of an [`AttentionGrad`]; operands its own, then the tangents of all but the lengths.
///
/// With `s' = scale (q'·k + q·k')`, `p' = p (s' − lse')` and `ds' = p' (ct·v − delta) + p (ct'·v + ct·v' − delta')`:
/// `dq' = scale Σⱼ (ds' k + ds k')`, `dk' = scale Σᵢ (ds' q + ds q')`, `dv' = Σᵢ (p' ct + p ct')`.
#[derive(Debug, Clone)]
pub struct AttentionGradTangent(pub Attention);

impl AttentionGradTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let values = [0, 1, 2, 4, 5, 6].map(|i| x[i].floats());
        let tangents = [7, 8, 9, 10, 11, 12].map(|i| x[i].floats());
        Blocks::new(self.0, x).backward(values, Some(tangents), y);
    }
}

impl Op for AttentionGradTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "attention_grad_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let e = Extents::check("attention_grad_tangent", x, &all_operands())?;
        Ok([Like::Query, Like::Key, Like::Key].map(|like| e.ty(like)).to_vec())
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let mut launches = Launches::default();
        let [q, k, v] = [[0, 7], [1, 8], [2, 9]].map(|pair| launches.pack(x, &pair));
        let rows = launches.pack(x, &[4, 5, 10, 11]);
        let ct = launches.pack(x, &[6, 12]);
        self.0.launch_backward(
            class,
            &Extents::of(&x[0].shape, &x[1].shape),
            launches,
            [q, k, v, Bind::In(3), rows, ct],
            true,
        )
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        self.0.count_flops(x, 12)
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let Some(y) = AttentionGrad(self.0).plain(g, &x[..7])? else { return Ok(None) };
        let floats = [0, 1, 2, 4, 5, 6].map(|i| x[i]);
        g.jvp(&y, &floats, &x[7..]).map(Some)
    }

    fn batched(&self, g: &mut Graph, x: Stacked) -> Result<Option<Vec<Var>>> {
        Attention::on_stacks(self.clone(), g, x)
    }
}

fn all_operands() -> Vec<Like> {
    OPERANDS.into_iter().chain(OPERANDS.into_iter().filter(|&like| like != Like::Lengths)).collect()
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    on_sizes("attention_grad_tangent", AttentionGradTangent, &all_operands(), 5e-6)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    super::attention::timed_sizes(AttentionGradTangent, &all_operands(), 5e-6)
}

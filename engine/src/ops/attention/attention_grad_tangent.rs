//! The tangent of attention's backward: what makes its Hessian-vector products cheap in memory.

use crate::ops::attention::{
    blocks::Blocks,
    heads::{Attention, GRAD_OPERANDS, Like, OPERANDS, Scores, infer, on_stacks},
    trials::{on_sizes, timed_sizes},
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The tangents of the results of an [`AttentionGrad`](crate::ops::AttentionGrad); operands its own, then the tangents of
/// all but the lengths.
///
/// With `s' = scale (q'·k + q·k')`, `p' = p (s' − lse')` and `ds' = p' (ct·v − delta) + p (ct'·v + ct·v' − delta')`:
/// `dq' = scale Σⱼ (ds' k + ds k')`, `dk' = scale Σᵢ (ds' q + ds q')`, `dv' = Σᵢ (p' ct + p ct')`.
#[derive(Debug, Clone, PartialEq)]
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
        infer("attention_grad_tangent", x, &all_operands(), &OPERANDS[..3])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let mut launches = Launches::default();
        let [q, k, v] = [[0, 7], [1, 8], [2, 9]].map(|pair| launches.pack(x, &pair));
        let (rows, _) = self.0.pack_rows(class, x, &mut launches, 4, &[5, 10, 11]);
        let ct = launches.pack(x, &[6, 12]);
        self.0.launch_backward(class, x, launches, [q, k, v, Bind::In(3), rows, ct], true)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        self.0.count_flops(x, 12)
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let floats = [0, 1, 2, 4, 5, 6].map(|i| x[i]);
        x[0].graph().jvp(&Scores::grads(&self.0, &x[..7])?, &floats, &x[7..]).map(Some)
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        on_stacks(self.clone(), x)
    }
}

fn all_operands() -> Vec<Like> {
    GRAD_OPERANDS.into_iter().chain(GRAD_OPERANDS.into_iter().filter(|&like| like != Like::Lengths)).collect()
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    on_sizes("attention_grad_tangent", AttentionGradTangent, &all_operands(), 5e-6)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_sizes(AttentionGradTangent, &all_operands(), 5e-6)
}

//! The backward of attention.

use crate::ops::{
    attention::{
        attention_grad_tangent::AttentionGradTangent,
        blocks::Blocks,
        heads::{Attention, GRAD_OPERANDS, OPERANDS, Scores, infer, on_stacks},
        trials::{on_sizes, timed_sizes},
    },
    norm::frame::or_zeros,
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The cotangents of q, k and v in [`Tensor::attention`]; operands q, k, v, lengths, the logarithm lse, delta, and the
/// cotangent ct of `y`. `delta[i]` is `Σ ct[i] y[i]` less the cotangent of `lse[i]`.
///
/// With `p[i, j] = e^(scale q[i]·k[j] − lse[i])` where `i` sees `j`, else 0, and `ds = p (ct[i]·v[j] − delta[i])`:
/// `dq = scale Σⱼ ds k`, `dk = scale Σᵢ ds q`, `dv = Σᵢ p ct` (Dao et al. 2022). A function of these operands as they
/// are; derivatives go on through lse and delta.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionGrad(pub Attention);

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
        infer("attention_grad", x, &GRAD_OPERANDS, &OPERANDS[..3])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let [q, k, v, lengths, ct] = [0, 1, 2, 3, 6].map(Bind::In);
        let mut launches = Launches::default();
        let (rows, _) = self.0.pack_rows(class, x, &mut launches, 4, &[5]);
        self.0.launch_backward(class, x, launches, [q, k, v, lengths, rows, ct], false)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        self.0.count_flops(x, 5)
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        Scores::grads(&self.0, x).map(Some)
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        on_stacks(self.clone(), x)
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let dx = [0, 1, 2, 4, 5, 6].map(|i| or_zeros(dx[i], at.x[i]));
        let dy = at.x[0].graph().apply_all(AttentionGradTangent(self.0), &[at.x, &dx].concat())?;
        Ok(Some(dy.into_iter().map(Some).collect()))
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    on_sizes("attention_grad", AttentionGrad, &GRAD_OPERANDS, 3e-6)
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_sizes(AttentionGrad, &GRAD_OPERANDS, 3e-6)
}

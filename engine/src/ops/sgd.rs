//! Stochastic gradient descent, in place.

use crate::{
    Bind, OutMut, Case, Class, DType, Graph, Launch, Launches, Op, Operand, Real, Result, Type, Var,
    case::{range, unit},
    op::{cpu, expect_dtypes, shape_error, word},
};

/// Gradient descent with momentum and weight decay, as `torch.optim.SGD` defines them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Share of the last step that is kept; 0 for none.
    pub momentum: f64,
    /// Whether the step looks ahead along the momentum (Nesterov 1983).
    pub nesterov: bool,
    /// Weight decay `λ`, added to the gradient as `λ p`.
    pub decay: f64,
}

impl Sgd {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [momentum, decay] = [self.momentum, self.decay].map(F::of);
        let (grad, rate) = (x[1].floats(), x[2].floats()[0]);
        let (p, velocity) = y.split_at_mut(1);
        let p = p[0].floats_mut();
        match velocity {
            [] => p.iter_mut().zip(grad).for_each(|(p, &g)| *p -= rate * (g + decay * *p)),
            [velocity, ..] => {
                for ((p, v), &g) in p.iter_mut().zip(velocity.floats_mut()).zip(grad) {
                    let g = g + decay * *p;
                    *v = momentum * *v + g;
                    *p -= rate * if self.nesterov { g + momentum * *v } else { *v };
                }
            }
        }
    }

    fn operands(&self) -> usize {
        if self.momentum == 0.0 { 3 } else { 4 }
    }
}

/// Checks that the operands are f32, alike, but for one of `[len]` at `special`.
pub(crate) fn check(op: &'static str, x: &[&Type], operands: usize, special: usize, len: usize) -> Result<()> {
    expect_dtypes(op, x, &vec![DType::F32; operands])?;
    if x.iter().enumerate().any(|(i, t)| if i == special { t.shape != [len] } else { t.shape != x[0].shape }) {
        return Err(shape_error(op, format!("operand {special} is [{len}], the others are alike"), x));
    }
    Ok(())
}

impl Op for Sgd {
    cpu!();

    fn name(&self) -> &'static str {
        "sgd"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        check("sgd", x, self.operands(), 2, 1)?;
        Ok(vec![x[0].clone(); self.operands() - 2])
    }

    fn launch(&self, _: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let len = x[0].count();
        let has_velocity = self.operands() == 4;
        let mut launch = Launch::new(if has_velocity { "sgd_momentum" } else { "sgd" }, len.div_ceil(256))
            .params([word(len), (self.decay as f32).to_bits()])
            .bind([Bind::Out(0), Bind::In(1), Bind::In(2)]);
        if has_velocity {
            launch = launch
                .params([(self.momentum as f32).to_bits()])
                .constant("NESTEROV", self.nesterov)
                .bind([Bind::Out(1)]);
        }
        launch.into()
    }

    fn in_place(&self) -> &'static [usize] {
        if self.operands() == 4 { &[0, 3] } else { &[0] }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        6 * x[0].count() as u64
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let decay = g.affine(x[0], self.decay, 0.0)?;
        let grad = g.add(x[1], decay)?;
        let mut step = grad;
        let mut velocity = None;
        if self.operands() == 4 {
            let kept = g.affine(x[3], self.momentum, 0.0)?;
            let v = g.add(kept, grad)?;
            velocity = Some(v);
            step = match self.nesterov {
                true => g.affine(v, self.momentum, 0.0).and_then(|ahead| g.add(grad, ahead))?,
                false => v,
            };
        }
        let step = g.mul(step, x[2])?;
        let p = g.sub(x[0], step)?;
        Ok(Some([p].into_iter().chain(velocity).collect()))
    }
}

impl Graph {
    /// The parameter after a step, and its velocity where there is momentum:
    /// `g = grad + λ p`, `v = μ velocity + g`, `p − rate·v` or, with Nesterov, `p − rate·(g + μ v)`.
    ///
    /// | | shape |
    /// |---|---|
    /// | p, grad, velocity | alike; a velocity, from zeros, exactly where `momentum` is not 0 |
    /// | rate | `[1]`, the learning rate |
    ///
    /// Where the results are [assigned](Graph::assign) to the states they come from, nothing is copied.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn sgd(&mut self, rule: Sgd, p: Var, grad: Var, rate: Var, velocity: Option<Var>) -> Result<Vec<Var>> {
        let x: Vec<Var> = [p, grad, rate].into_iter().chain(velocity).collect();
        self.apply_all(rule, &x)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (momentum, nesterov, decay) in [(0.0, false, 0.0), (0.0, false, 0.1), (0.9, false, 0.01), (0.9, true, 0.01)] {
        for len in [1, 257] {
            let rule = Sgd { momentum, nesterov, decay };
            let mut x = vec![unit(&[len]), unit(&[len]), range(&[1], 0.05, 0.1)];
            x.extend((momentum != 0.0).then(|| unit(&[len])));
            let build = move |g: &mut Graph, x: &[Var]| g.sgd(rule, x[0], x[1], x[2], x.get(3).copied());
            all.push(Case::new(format!("sgd {rule:?} {len}"), x, build).order(0));
        }
    }
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let rule = Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };
    let x = [&[1_048_577][..], &[1_048_577], &[1], &[1_048_577]].map(|shape| range(shape, 0.01, 0.1));
    vec![Case::new("[1048577] with momentum", x.to_vec(), move |g, x| g.sgd(rule, x[0], x[1], x[2], Some(x[3])))]
}

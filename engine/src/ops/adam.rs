//! Adam and AdamW, in place.

use super::sgd::check;
use crate::{
    Bind, OutMut, Case, Class, Graph, Launch, Launches, Op, Operand, Real, Result, Sample, Type, Var,
    case::{range, unit},
    op::{cpu, word},
};

/// Adam (Kingma and Ba 2015) as `torch.optim.Adam`, and AdamW (Loshchilov and Hutter 2019) as `torch.optim.AdamW`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay `λ`.
    pub decay: f64,
    /// Whether the decay acts on the parameter itself (AdamW), not through the gradient.
    pub decoupled: bool,
}

impl Adam {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [b1, b2, eps, decay] = [self.betas[0], self.betas[1], self.eps, self.decay].map(F::of);
        let [rest1, rest2] = self.betas.map(|beta| F::of(1.0 - beta));
        let (grad, rates) = (x[1].floats(), x[4].floats());
        let [p, m, v] = y else { unreachable!("adam has three results") };
        let moments = m.floats_mut().iter_mut().zip(v.floats_mut());
        for ((p, (m, v)), &g) in p.floats_mut().iter_mut().zip(moments).zip(grad) {
            let mut g = g;
            match self.decoupled {
                true => *p -= rates[0] * decay * *p,
                false => g += decay * *p,
            }
            *m = b1 * *m + rest1 * g;
            *v = b2 * *v + rest2 * g * g;
            *p -= rates[0] / rates[1] * *m / (v.sqrt() / rates[2].sqrt() + eps);
        }
    }

    /// `[rate, 1 − β₁ᵗ, 1 − β₂ᵗ]`: the input that changes from step to step; `t` counts from 1.
    pub fn rates(&self, rate: f32, t: u64) -> [f32; 3] {
        let corrected = |beta: f64| (1.0 - beta.powf(t as f64)) as f32;
        [rate, corrected(self.betas[0]), corrected(self.betas[1])]
    }
}

impl Op for Adam {
    cpu!();

    fn name(&self) -> &'static str {
        "adam"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        check("adam", x, 5, 4, 3)?;
        Ok(vec![x[0].clone(); 3])
    }

    fn launch(&self, _: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let len = x[0].count();
        let [b1, b2] = self.betas;
        // One less a decay rate loses its digits in f32: it is taken here.
        let reals = [b1, b2, 1.0 - b1, 1.0 - b2, self.eps, self.decay].map(|v| (v as f32).to_bits());
        Launch::new("adam", len.div_ceil(256))
            .params([word(len)])
            .params(reals)
            .constant("DECOUPLED", self.decoupled)
            .bind([Bind::Out(0), Bind::In(1), Bind::Out(1), Bind::Out(2), Bind::In(4)])
            .into()
    }

    fn in_place(&self) -> &'static [usize] {
        &[0, 2, 3]
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        14 * x[0].count() as u64
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let (rate, c1, c2) = (g.slice(x[4], 0, 0, 1)?, g.slice(x[4], 0, 1, 1)?, g.slice(x[4], 0, 2, 1)?);
        let decay = g.affine(x[0], self.decay, 0.0)?;
        let (p, grad) = match self.decoupled {
            true => {
                let shrink = g.mul(decay, rate)?;
                (g.sub(x[0], shrink)?, x[1])
            }
            false => (x[0], g.add(x[1], decay)?),
        };
        let mix = |g: &mut Graph, old: Var, new: Var, beta: f64| {
            let old = g.affine(old, beta, 0.0)?;
            let new = g.affine(new, 1.0 - beta, 0.0)?;
            g.add(old, new)
        };
        let square = g.mul(grad, grad)?;
        let m = mix(g, x[2], grad, self.betas[0])?;
        let v = mix(g, x[3], square, self.betas[1])?;
        let corrected = g.div(v, c2)?;
        let root = g.sqrt(corrected)?;
        let below = g.affine(root, 1.0, self.eps)?;
        let direction = g.div(m, below)?;
        let length = g.div(rate, c1)?;
        let step = g.mul(direction, length)?;
        Ok(Some(vec![g.sub(p, step)?, m, v]))
    }
}

impl Graph {
    /// The parameter and its two moments after a step:
    /// `m = β₁ m + (1 − β₁) g`, `v = β₂ v + (1 − β₂) g²`, `p − rate/(1 − β₁ᵗ) · m/(√v/√(1 − β₂ᵗ) + ε)`.
    ///
    /// | | shape |
    /// |---|---|
    /// | p, grad, moments | alike; the moments from zeros |
    /// | rates | `[3]`: [`Adam::rates`] |
    ///
    /// Where the results are [assigned](Graph::assign) to the states they come from, nothing is copied.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn adam(&mut self, rule: Adam, p: Var, grad: Var, moments: [Var; 2], rates: Var) -> Result<[Var; 3]> {
        let y = self.apply_all(rule, &[p, grad, moments[0], moments[1], rates])?;
        Ok([y[0], y[1], y[2]])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (decay, decoupled) in [(0.0, false), (0.01, false), (0.1, true)] {
        for len in [1, 257] {
            let rule = Adam { betas: [0.9, 0.999], eps: 1e-8, decay, decoupled };
            let rates = Sample::Exact(vec![3], rule.rates(0.01, 7).to_vec());
            let x = vec![unit(&[len]), unit(&[len]), unit(&[len]), range(&[len], 0.01, 1.0), rates];
            let build = move |g: &mut Graph, x: &[Var]| {
                Ok(g.adam(rule, x[0], x[1], [x[2], x[3]], x[4])?.to_vec())
            };
            all.push(Case::new(format!("adam {rule:?} {len}"), x, build).order(0));
        }
    }
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let rule = Adam { betas: [0.9, 0.999], eps: 1e-8, decay: 0.01, decoupled: true };
    let mut x = vec![range(&[1_048_577], 0.01, 1.0); 4];
    x.push(Sample::Exact(vec![3], rule.rates(0.01, 7).to_vec()));
    vec![Case::new("[1048577]", x, move |g, x| Ok(g.adam(rule, x[0], x[1], [x[2], x[3]], x[4])?.to_vec()))]
}

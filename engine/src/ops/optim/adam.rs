//! Adam and AdamW, in place.

use crate::ops::optim::update::{LENS, Rule, Update};
use crate::{cpu::*, graph::*, launch::*};

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
    /// `[rate, 1 − β₁ᵗ, 1 − β₂ᵗ]`: the input that changes from step to step; `t` counts from 1.
    pub fn rates(&self, rate: f32, t: u64) -> [f32; 3] {
        let corrected = |beta: f64| (1.0 - beta.powf(t as f64)) as f32;
        [rate, corrected(self.betas[0]), corrected(self.betas[1])]
    }
}

impl Rule for Adam {
    const NAME: &'static str = "adam";
    const FLOPS: u64 = 14;
    const RATES: usize = 3;

    fn kept(&self) -> usize {
        2
    }

    fn kernels(&self) -> [&'static str; 2] {
        ["adam", "adam_multi"]
    }

    fn constants(&self, launch: Launch) -> Launch {
        let [b1, b2] = self.betas;
        // One less a decay rate loses its digits in f32: it is taken here.
        let reals = [b1, b2, 1.0 - b1, 1.0 - b2, self.eps, self.decay].map(|v| (v as f32).to_bits());
        launch.params(reals).constant("DECOUPLED", self.decoupled)
    }

    #[inline(always)]
    fn step<F: Real>(&self, rates: &[F], [p, m, v]: [&mut [F]; 3], grad: &[F]) {
        let [b1, b2, eps, decay] = [self.betas[0], self.betas[1], self.eps, self.decay].map(F::of);
        let [rest1, rest2] = self.betas.map(|beta| F::of(1.0 - beta));
        let [rate, c1, c2] = [rates[0], rates[1], rates[2]];
        for ((p, (m, v)), &g) in p.iter_mut().zip(m.iter_mut().zip(v)).zip(grad) {
            let mut g = g;
            match self.decoupled {
                true => *p -= rate * decay * *p,
                false => g += decay * *p,
            }
            *m = b1 * *m + rest1 * g;
            *v = b2 * *v + rest2 * g * g;
            *p -= rate / c1 * *m / (v.sqrt() / c2.sqrt() + eps);
        }
    }

    fn plain<'g>(&self, arrays: &[Tensor<'g>], grad: Tensor<'g>, rates: Tensor<'g>) -> Vec<Tensor<'g>> {
        let ([p, m, v], [b1, b2]) = ([arrays[0], arrays[1], arrays[2]], self.betas);
        let [rate, c1, c2] = [0, 1, 2].map(|i| rates.slice(0, i, 1));
        let decay = p * self.decay;
        let (p, grad) = if self.decoupled { (p - decay * rate, grad) } else { (p, grad + decay) };
        let m = m * b1 + grad * (1.0 - b1);
        let v = v * b2 + grad * grad * (1.0 - b2);
        vec![p - m / ((v / c2).sqrt() + self.eps) * (rate / c1), m, v]
    }
}

impl<'g> Tensor<'g> {
    /// The parameter and its two moments after a step:
    /// `m = β₁ m + (1 − β₁) g`, `v = β₂ v + (1 − β₂) g²`, `p − rate/(1 − β₁ᵗ) · m/(√v/√(1 − β₂ᵗ) + ε)`.
    ///
    /// | | shape |
    /// |---|---|
    /// | p, grad, moments | alike; the moments from zeros |
    /// | rates | `[3]`: [`Adam::rates`] |
    ///
    /// Where the results are [assigned](crate::Graph::assign) to the states they come from, nothing is copied.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn adam(self, rule: Adam, grad: Tensor<'g>, [m, v]: [Tensor<'g>; 2], rates: Tensor<'g>) -> [Tensor<'g>; 3] {
        self.graph().apply(Update::new(rule), &[self, grad, m, v, rates])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = Vec::new();
    for (decay, decoupled) in [(0.0, false), (0.01, false), (0.1, true)] {
        let rule = Adam { betas: [0.9, 0.999], eps: 1e-8, decay, decoupled };
        for lens in LENS {
            let array = |&len: &usize| [unit(&[len]), unit(&[len]), unit(&[len]), range(&[len], 0.01, 1.0)];
            let mut x: Vec<_> = lens.iter().flat_map(array).collect();
            x.push(Generator::Exact(vec![3], rule.rates(0.01, 7).to_vec()));
            let case = TestCase::new(format!("adam {rule:?} {lens:?}"), x, move |x| {
                let (arrays, rates) = x.split_at(x.len() - 1);
                Ok(arrays.chunks(4).flat_map(|x| x[0].adam(rule, x[1], [x[2], x[3]], rates[0])).collect())
            });
            all.push(case.order(0));
        }
    }
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let rule = Adam { betas: [0.9, 0.999], eps: 1e-8, decay: 0.01, decoupled: true };
    let mut x = vec![range(&[1_048_577], 0.01, 1.0); 4];
    x.push(Generator::Exact(vec![3], rule.rates(0.01, 7).to_vec()));
    vec![TestCase::new("[1048577]", x, move |x| Ok(x[0].adam(rule, x[1], [x[2], x[3]], x[4]).into()))]
}

//! Stochastic gradient descent, in place.

use crate::ops::optim::update::{LENS, Rule, Update};
use crate::{cpu::*, error::*, graph::*, launch::*};

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

impl Rule for Sgd {
    const NAME: &'static str = "sgd";
    const FLOPS: u64 = 6;
    const RATES: usize = 1;

    fn kept(&self) -> usize {
        usize::from(self.momentum != 0.0)
    }

    fn kernels(&self) -> [&'static str; 2] {
        if self.kept() == 0 { ["sgd", "sgd_multi"] } else { ["sgd_momentum", "sgd_momentum_multi"] }
    }

    fn constants(&self, launch: Launch) -> Launch {
        let launch = launch.params([(self.decay as f32).to_bits()]);
        match self.kept() {
            0 => launch,
            _ => launch.params([(self.momentum as f32).to_bits()]).constant("NESTEROV", self.nesterov),
        }
    }

    #[inline(always)]
    fn step<F: Real>(&self, rates: &[F], [p, velocity, _]: [&mut [F]; 3], grad: &[F]) {
        let ([momentum, decay], rate) = ([self.momentum, self.decay].map(F::of), rates[0]);
        if self.kept() == 0 {
            return p.iter_mut().zip(grad).for_each(|(p, &g)| *p -= rate * (g + decay * *p));
        }
        for ((p, v), &g) in p.iter_mut().zip(velocity).zip(grad) {
            let g = g + decay * *p;
            *v = momentum * *v + g;
            *p -= rate * if self.nesterov { g + momentum * *v } else { *v };
        }
    }

    fn plain<'g>(&self, arrays: &[Tensor<'g>], grad: Tensor<'g>, rate: Tensor<'g>) -> Vec<Tensor<'g>> {
        let p = arrays[0];
        let grad = grad + p * self.decay;
        let Some(&velocity) = arrays.get(1) else { return vec![p - grad * rate] };
        let velocity = velocity * self.momentum + grad;
        let step = if self.nesterov { grad + velocity * self.momentum } else { velocity };
        vec![p - step * rate, velocity]
    }
}

impl<'g> Tensor<'g> {
    /// The parameter after a step, and its velocity where there is momentum:
    /// `g = grad + λ p`, `v = μ velocity + g`, `p − rate·v` or, with Nesterov, `p − rate·(g + μ v)`.
    ///
    /// | | shape |
    /// |---|---|
    /// | p, grad, velocity | alike; a velocity, from zeros, exactly where `momentum` is not 0 |
    /// | rate | `[1]`, the learning rate |
    ///
    /// Where the results are [assigned](crate::Graph::assign) to the states they come from, nothing is copied.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match, and what was broken before.
    pub fn sgd(
        self, rule: Sgd, grad: Tensor<'g>, rate: Tensor<'g>, velocity: Option<Tensor<'g>>,
    ) -> Result<Vec<Tensor<'g>>> {
        let x: Vec<Tensor> = [self, grad].into_iter().chain(velocity).chain([rate]).collect();
        self.graph().apply_all(Update::new(rule), &x)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = Vec::new();
    for (momentum, nesterov, decay) in [(0.0, false, 0.0), (0.0, false, 0.1), (0.9, false, 0.01), (0.9, true, 0.01)] {
        let rule = Sgd { momentum, nesterov, decay };
        let each = 2 + rule.kept();
        for lens in LENS {
            let mut x: Vec<_> = lens.iter().flat_map(|&len| vec![unit(&[len]); each]).collect();
            x.push(range(&[1], 0.05, 0.1));
            let case = TestCase::new(format!("sgd {rule:?} {lens:?}"), x, move |x| {
                let (arrays, rate) = x.split_at(x.len() - 1);
                let new = arrays.chunks(each).map(|x| x[0].sgd(rule, x[1], rate[0], x.get(2).copied()));
                Ok(new.collect::<Result<Vec<_>>>()?.concat())
            });
            all.push(case.order(0));
        }
    }
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let rule = Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };
    let x = [&[1_048_577][..], &[1_048_577], &[1], &[1_048_577]].map(|shape| range(shape, 0.01, 0.1));
    vec![TestCase::new("[1048577] with momentum", x.to_vec(), move |x| x[0].sgd(rule, x[1], x[2], Some(x[3])))]
}

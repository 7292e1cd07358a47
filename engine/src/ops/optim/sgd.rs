//! Stochastic gradient descent, in place.

use crate::{
    cpu::float::Real,
    error::Result,
    graph::graph::{Graph, Var},
    launch::launch::Launch,
    ops::optim::update::{LENS, Rule, Update},
    testing::cases::{Case, range, unit},
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

impl Rule for Sgd {
    const NAME: &'static str = "sgd";
    const FLOPS: u64 = 6;
    const RATES: usize = 1;

    fn kept(&self) -> usize {
        usize::from(self.momentum != 0.0)
    }

    fn kernels(&self) -> [&'static str; 2] {
        if self.kept() == 0 { ["sgd", "sgd_seven"] } else { ["sgd_momentum", "sgd_momentum_seven"] }
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

    fn plain(&self, g: &mut Graph, arrays: &[Var], grad: Var, rate: Var) -> Result<Vec<Var>> {
        let decay = g.affine(arrays[0], self.decay, 0.0)?;
        let grad = g.add(grad, decay)?;
        let mut step = grad;
        let mut velocity = None;
        if let Some(&kept) = arrays.get(1) {
            let kept = g.affine(kept, self.momentum, 0.0)?;
            let v = g.add(kept, grad)?;
            velocity = Some(v);
            step = match self.nesterov {
                true => g.affine(v, self.momentum, 0.0).and_then(|ahead| g.add(grad, ahead))?,
                false => v,
            };
        }
        let step = g.mul(step, rate)?;
        let p = g.sub(arrays[0], step)?;
        Ok([p].into_iter().chain(velocity).collect())
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
        let x: Vec<Var> = [p, grad].into_iter().chain(velocity).chain([rate]).collect();
        self.apply_all(Update::new(rule), &x)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (momentum, nesterov, decay) in [(0.0, false, 0.0), (0.0, false, 0.1), (0.9, false, 0.01), (0.9, true, 0.01)] {
        let rule = Sgd { momentum, nesterov, decay };
        let each = 2 + rule.kept();
        for lens in LENS {
            let mut x: Vec<_> = lens.iter().flat_map(|&len| vec![unit(&[len]); each]).collect();
            x.push(range(&[1], 0.05, 0.1));
            let build = move |g: &mut Graph, x: &[Var]| {
                let (arrays, rate) = x.split_at(x.len() - 1);
                let new = arrays.chunks(each).map(|x| g.sgd(rule, x[0], x[1], rate[0], x.get(2).copied()));
                Ok(new.collect::<Result<Vec<_>>>()?.concat())
            };
            all.push(Case::new(format!("sgd {rule:?} {lens:?}"), x, build).order(0));
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

//! Optimizers as parts of a graph: every trained parameter is updated in place.

use hillshade_engine::{Adam as AdamRule, Graph, Sgd as SgdRule, Tensor};
use serde::{Deserialize, Serialize};

use crate::{error::*, nn::*};

/// An update rule with its constants; the learning rate is an input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Optimizer {
    /// Gradient descent as `torch.optim.SGD`.
    Sgd {
        /// Share of the last step that is kept.
        momentum: f64,
        /// Whether the step looks ahead along the momentum.
        nesterov: bool,
        /// Weight decay.
        decay: f64,
    },
    /// Adam as `torch.optim.Adam`, weight decay through the gradient.
    Adam {
        /// Weight decay.
        decay: f64,
    },
    /// Adam as `torch.optim.AdamW`, weight decay on the parameter.
    AdamW {
        /// Weight decay.
        decay: f64,
    },
}

/// Name of the input that holds the rates.
pub(crate) const RATES: &str = "rates";

impl Optimizer {
    /// Adds the update of every trained parameter, by its gradient. Returns the optimizer's own states, which begin
    /// as zeros; the rates are an input, for which [`Optimizer::rates`] gives the data.
    pub fn build(&self, g: &Graph, params: &[&Param], gradients: &[Tensor]) -> Result<Vec<Param>> {
        self.update(params, gradients, g.input(RATES, &[self.rates(0.0, 1).len()]))
    }

    /// [`Optimizer::build`] with rates of one's own.
    fn update(&self, params: &[&Param], gradients: &[Tensor], rates: Tensor) -> Result<Vec<Param>> {
        let (g, mut states) = (rates.graph(), Vec::new());
        for (p, &gradient) in params.iter().zip(gradients) {
            let mut state = |kind: &str| {
                states.push(Param::state(g, format!("{kind}/{}", p.name), &p.shape, Init::Zeros));
                states[states.len() - 1].value(g)
            };
            let (value, decay) = (p.value(g), |decay: f64| if p.decayed { decay } else { 0.0 });
            let (moved, new) = match *self {
                Optimizer::Sgd { momentum, nesterov, decay: all } => {
                    let velocity = (momentum != 0.0).then(|| state("velocity"));
                    let rule = SgdRule { momentum, nesterov, decay: decay(all) };
                    let moved = [value].into_iter().chain(velocity).collect();
                    (moved, value.sgd(rule, gradient, rates, velocity)?)
                }
                Optimizer::Adam { .. } | Optimizer::AdamW { .. } => {
                    let rule = AdamRule { decay: decay(self.adam().decay), ..self.adam() };
                    let moments = [state("moment1"), state("moment2")];
                    (vec![value, moments[0], moments[1]], value.adam(rule, gradient, moments, rates).to_vec())
                }
            };
            moved.into_iter().zip(new).for_each(|(state, new)| g.assign(state, new));
        }
        Ok(states)
    }

    fn adam(&self) -> AdamRule {
        let (decay, decoupled) = match *self {
            Optimizer::AdamW { decay } => (decay, true),
            Optimizer::Adam { decay } | Optimizer::Sgd { decay, .. } => (decay, false),
        };
        AdamRule { betas: [0.9, 0.999], eps: 1e-8, decay, decoupled }
    }

    /// What the input `rates` holds in step `t`, counted from 1.
    pub fn rates(&self, rate: f64, t: u64) -> Vec<f32> {
        match self {
            Optimizer::Sgd { .. } => vec![rate as f32],
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => self.adam().rates(rate as f32, t).to_vec(),
        }
    }

    /// The greatest curvature at which steps at `rate` are stable on a quadratic: along an eigenvector of the Hessian the
    /// iterates shrink where its eigenvalue is below this and grow without bound where it is above.
    ///
    /// | rule | threshold |
    /// |---|---|
    /// | gradient descent | `2/η` |
    /// | with momentum β (Polyak 1964) | `(2 + 2β)/η` |
    /// | with Nesterov's step (Nesterov 1983) | `(2 + 2β)/((1 + 2β) η)` |
    /// | Adam, AdamW | none |
    ///
    /// Weight decay does not move the threshold: with it, what is to be compared is the Hessian of what is descended, the
    /// loss plus `½ λ ‖w‖²` over the decayed parameters, whose eigenvalues decay raises by up to `λ`. Adam's step is
    /// preconditioned by its second moments, so no eigenvalue of the Hessian decides; with full batches and β₁ = 0.9 the
    /// threshold of the *preconditioned* Hessian is `38/η` (Cohen et al. 2022). The others are those of Cohen et al. 2021.
    /// A [`Perturbation`](crate::Perturbation) has other thresholds.
    pub fn stability_threshold(&self, rate: f64) -> Option<f64> {
        match *self {
            Optimizer::Sgd { momentum, nesterov, .. } => {
                let ahead = if nesterov { 1.0 + 2.0 * momentum } else { 1.0 };
                Some((2.0 + 2.0 * momentum) / (ahead * rate))
            }
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => None,
        }
    }
}

/// An update rule at one learning rate: what [`Builder::minimize`] takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Descent {
    /// The rule.
    pub rule: Optimizer,
    /// The learning rate.
    pub rate: f64,
}

/// Gradient descent: [`Optimizer::Sgd`] at a learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    rate: f64,
    momentum: f64,
    nesterov: bool,
    decay: f64,
}

impl Sgd {
    /// At this learning rate, without momentum and weight decay.
    pub fn new(rate: f64) -> Self {
        Sgd { rate, momentum: 0.0, nesterov: false, decay: 0.0 }
    }

    /// With this share of the last step kept.
    #[must_use]
    pub fn momentum(self, momentum: f64) -> Self {
        Sgd { momentum, ..self }
    }

    /// With steps that look ahead along the momentum.
    #[must_use]
    pub fn nesterov(self) -> Self {
        Sgd { nesterov: true, ..self }
    }

    /// With weight decay.
    #[must_use]
    pub fn decay(self, decay: f64) -> Self {
        Sgd { decay, ..self }
    }
}

impl From<Sgd> for Descent {
    fn from(Sgd { rate, momentum, nesterov, decay }: Sgd) -> Self {
        Descent { rule: Optimizer::Sgd { momentum, nesterov, decay }, rate }
    }
}

/// Declares a rule of a learning rate and weight decay.
macro_rules! adaptive {
    ($($(#[$doc:meta])* $name:ident;)+) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name {
            rate: f64,
            decay: f64,
        }

        impl $name {
            /// At this learning rate, without weight decay.
            pub fn new(rate: f64) -> Self {
                $name { rate, decay: 0.0 }
            }

            /// With weight decay.
            #[must_use]
            pub fn decay(self, decay: f64) -> Self {
                $name { decay, ..self }
            }
        }

        impl From<$name> for Descent {
            fn from($name { rate, decay }: $name) -> Self {
                Descent { rule: Optimizer::$name { decay }, rate }
            }
        })+
    };
}

adaptive! {
    /// [`Optimizer::Adam`] at a learning rate.
    Adam;
    /// [`Optimizer::AdamW`] at a learning rate.
    AdamW;
}

impl<'g> Builder<'g> {
    /// Makes a step of gradient descent on `loss` of every run: adds its gradient in the trained parameters and their
    /// updates. What the rule keeps from step to step is among [`Builder::states`].
    ///
    /// # Errors
    ///
    /// The engine's: what was broken before, an op without a derivative, or a loss that is no scalar.
    pub fn minimize(&mut self, loss: Tensor<'g>, how: impl Into<Descent>) -> Result<()> {
        let (Descent { rule, rate }, g) = (how.into(), self.g);
        let gradients = loss.grad(&self.trained_values())?;
        let mut rates = g.literal(&[1], &[rate as f32]);
        if !matches!(rule, Optimizer::Sgd { .. }) {
            let count = Param::state(g, "optimizer/step".into(), &[1], Init::Zeros);
            let t = count.value(g) + 1.0;
            g.assign(count.value(g), t);
            self.states.push(count);
            // 1 − βᵗ by the hyperbolic tangent, which keeps the digits where βᵗ is near 1.
            let [c1, c2] = rule.adam().betas.map(|beta| {
                let half = (t * (-0.5 * beta.ln())).tanh();
                half * 2.0 / (half + 1.0)
            });
            rates = g.concat(&[rates, c1, c2], 0);
        }
        let states = rule.update(&self.trained().collect::<Vec<_>>(), &gradients, rates)?;
        self.states.extend(states);
        Ok(g.check()?)
    }
}

#[cfg(test)]
mod tests {
    use hillshade_engine::{Data, Session, block_on};

    use super::*;

    /// `w` after two steps on its mean cube, by rates that are given or by those that the graph computes.
    fn descended(how: Descent, given: bool) -> Vec<f32> {
        let g = Graph::new();
        let mut b = Builder::new(&g, Mode::Train);
        let w = b.param("w", &[2, 2], Init::Ones);
        let loss = (w * w * w).mean_all();
        if given {
            let (params, gradient) = (b.trained().collect::<Vec<_>>(), loss.grad(&[w]).expect("rules"));
            b.states = how.rule.build(&g, &params, &gradient).expect("fitting");
        } else {
            b.minimize(loss, how).expect("fitting");
        }
        let mut session = Session::reference();
        b.initialize(&mut session, 0).expect("there is room");
        let mut step = session.compile(&g, &[]).expect("fitting");
        for t in 1..=2 {
            let rates = how.rule.rates(how.rate, t);
            step.run(&mut session, [(RATES, Data::F32(&rates))]).expect("its own rates");
        }
        block_on(session.get("w")).expect("a parameter")
    }

    #[test]
    fn minimize_takes_the_steps_of_the_rule() {
        let sgd = Sgd::new(0.1).momentum(0.9).nesterov().decay(0.01);
        for how in [sgd.into(), Sgd::new(0.1).into(), Adam::new(0.01).into(), AdamW::new(0.01).decay(0.1).into()] {
            let (own, given) = (descended(how, false), descended(how, true));
            let is_near = own.iter().zip(&given).all(|(a, b)| (a - b).abs() < 1e-6 && *a < 1.0);
            assert!(is_near, "{how:?}: {own:?}, {given:?}");
        }
    }
}

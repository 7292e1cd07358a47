//! Optimizers as parts of a graph: every trained parameter is updated in place.

use hillshade_engine::{Adam, Graph, Sgd, Var};
use serde::{Deserialize, Serialize};

use crate::{Init, Param, Result};

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
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn build(&self, g: &mut Graph, params: &[&Param], gradients: &[Var]) -> Result<Vec<Param>> {
        let rates = g.input(RATES, &[self.rates(0.0, 1).len()])?;
        let mut states = Vec::new();
        for (p, &gradient) in params.iter().zip(gradients) {
            let mut state = |g: &mut Graph, kind: &str| -> Result<Var> {
                let name = format!("{kind}/{}", p.name);
                let var = g.state(&name, &p.shape)?;
                states.push(Param { name, init: Init::Zeros, trained: false, decayed: false, var, ..(*p).clone() });
                Ok(var)
            };
            let weighed = |decay: f64| if p.decayed { decay } else { 0.0 };
            match *self {
                Optimizer::Sgd { momentum, nesterov, decay } => {
                    let rule = Sgd { momentum, nesterov, decay: weighed(decay) };
                    let velocity = (momentum != 0.0).then(|| state(g, "velocity")).transpose()?;
                    let new = g.sgd(rule, p.var, gradient, rates, velocity)?;
                    g.assign(p.var, new[0])?;
                    if let Some(velocity) = velocity {
                        g.assign(velocity, new[1])?;
                    }
                }
                Optimizer::Adam { .. } | Optimizer::AdamW { .. } => {
                    let mut rule = self.adam();
                    rule.decay = weighed(rule.decay);
                    let moments = [state(g, "moment1")?, state(g, "moment2")?];
                    let new = g.adam(rule, p.var, gradient, moments, rates)?;
                    g.assign(p.var, new[0])?;
                    g.assign(moments[0], new[1])?;
                    g.assign(moments[1], new[2])?;
                }
            }
        }
        Ok(states)
    }

    fn adam(&self) -> Adam {
        let (decay, decoupled) = match *self {
            Optimizer::AdamW { decay } => (decay, true),
            Optimizer::Adam { decay } | Optimizer::Sgd { decay, .. } => (decay, false),
        };
        Adam { betas: [0.9, 0.999], eps: 1e-8, decay, decoupled }
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
            Optimizer::Sgd { momentum, nesterov: false, .. } => Some((2.0 + 2.0 * momentum) / rate),
            Optimizer::Sgd { momentum, nesterov: true, .. } => {
                Some((2.0 + 2.0 * momentum) / ((1.0 + 2.0 * momentum) * rate))
            }
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => None,
        }
    }
}

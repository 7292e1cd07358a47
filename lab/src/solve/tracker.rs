//! Sharpness during training: the largest eigenvalues of the Hessian as the parameters move.

use hillshade_engine::Session;
use serde::{Deserialize, Serialize};

use crate::solve::{eigen::*, lobpcg::*};
use crate::{error::*, operator::*, problem::*};

/// The largest eigenvalues of a loss's Hessian as its parameters move: every search begins with the vectors of the last one.
#[derive(Debug)]
pub struct Tracker {
    curvature: Curvature,
    lobpcg: Lobpcg,
    search: Search,
}

/// A measurement at a training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracked {
    /// Steps done.
    pub step: u64,
    /// The loss over the tracker's samples.
    pub loss: f64,
    /// Norm of its gradient.
    pub gradient_norm: f64,
    /// The largest eigenvalues, descending.
    pub sharpness: Vec<Value>,
    /// Products with one direction.
    pub products: u64,
    /// The sharpness above which the optimizer's steps would diverge on a quadratic, where that is known.
    pub threshold: Option<f64>,
    /// What was measured.
    pub setting: Setting,
}

impl Tracker {
    /// For `search.count` eigenvalues of a problem whose parameters are states of the session.
    pub fn new(session: &mut Session, problem: &Problem, options: &Options, search: Search) -> Result<Self> {
        let options = Options { width: options.width.or(Some(search.count)), ..options.clone() };
        let curvature = Curvature::new(session, problem, Matrix::Hessian, &options)?;
        let lobpcg = Lobpcg::new(curvature.dimension(), search.count, search.seed)?;
        Ok(Tracker { curvature, lobpcg, search })
    }

    /// Measures at the session's parameters.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] when the loss is not finite there.
    pub fn measure(&mut self, session: &mut Session, step: u64, threshold: Option<f64>) -> Result<Tracked> {
        let Point { loss, gradient_norm } = self.curvature.linearize(session)?;
        let found = self.lobpcg.run(session, &mut self.curvature, self.search)?;
        let Eigen { top: sharpness, products, setting, .. } = found;
        Ok(Tracked { step, loss, gradient_norm, sharpness, products, threshold, setting })
    }
}

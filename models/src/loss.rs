//! Losses of a classifier, one number for each label.

use hillshade_engine::{Error as EngineError, Graph, Var, shape};
use serde::{Deserialize, Serialize};

use crate::Result;

/// What training makes small: the mean of this over the labels of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// `log Σⱼ e^z[j] − z[y]`, in nats.
    #[default]
    CrossEntropy,
    /// `½ Σⱼ (z[j] − [j = y])²`: half the squared distance to the label's unit vector (Cohen et al. 2021).
    Squared,
}

impl Loss {
    /// Adds the losses of labels, whose mean is the loss of a step.
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | logits | `[…, classes]` | any finite |
    /// | labels | `[…]`, u32 | below `classes`; a row with any other label has loss 0 and gradient 0 |
    /// | losses | `[…]` | |
    ///
    /// # Errors
    ///
    /// The engine's, when the shapes do not match.
    pub fn build(self, g: &mut Graph, logits: Var, labels: Var) -> Result<Var> {
        self.smoothed(g, logits, labels, 0.0)
    }

    /// [`Loss::build`] against smoothed labels: the share `α` of each goes to all classes alike, so that the target is
    /// `(1 − α) [j = y] + α/classes` (Szegedy et al. 2016, section 7). `α` is from 0 to below 1.
    ///
    /// # Errors
    ///
    /// The engine's, when the shapes do not match.
    pub fn smoothed(self, g: &mut Graph, logits: Var, labels: Var, share: f64) -> Result<Var> {
        let lead = g.shape(labels).to_vec();
        let (rows, classes) = match g.shape(logits).split_last() {
            Some((&classes, rows)) if rows == lead => (shape::count(rows), classes),
            _ => return Err(mismatch(g, logits, labels)),
        };
        let (logits, labels) = (g.reshape(logits, &[rows, classes])?, g.reshape(labels, &[rows])?);
        let losses = match self {
            Loss::CrossEntropy if share == 0.0 => g.cross_entropy(logits, labels)?[0],
            Loss::CrossEntropy => {
                let own = g.cross_entropy(logits, labels)?[0];
                let lse = g.logsumexp(logits, &[1])?;
                let mean = g.mean(logits, &[1])?;
                let even = g.sub(lse, mean)?;
                let counted = counted(g, labels, classes)?;
                let even = g.mul(even, counted)?;
                let (own, even) = (g.affine(own, 1.0 - share, 0.0)?, g.affine(even, share, 0.0)?);
                g.add(own, even)?
            }
            Loss::Squared => {
                let hot = g.one_hot(labels, classes)?;
                let target = g.affine(hot, 1.0 - share, share / classes as f64)?;
                let off = g.sub(logits, if share == 0.0 { hot } else { target })?;
                let squares = g.mul(off, off)?;
                let sums = g.sum(squares, &[1])?;
                let halves = g.affine(sums, 0.5, 0.0)?;
                let counted = counted(g, labels, classes)?;
                g.mul(halves, counted)?
            }
        };
        Ok(g.reshape(losses, &lead)?)
    }

    /// As options and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Loss::CrossEntropy => "cross-entropy",
            Loss::Squared => "squared",
        }
    }

    /// What its numbers are, with their unit.
    pub fn label(self) -> &'static str {
        match self {
            Loss::CrossEntropy => "cross-entropy (nats)",
            Loss::Squared => "half squared error",
        }
    }
}

/// 1 for a label that is a class, else 0.
pub(crate) fn counted(g: &mut Graph, labels: Var, classes: usize) -> Result<Var> {
    let hot = g.one_hot(labels, classes)?;
    Ok(g.sum(hot, &[1])?)
}

fn mismatch(g: &Graph, logits: Var, labels: Var) -> crate::Error {
    let rule = "logits […, classes], labels […]".into();
    let got = format!("{:?} {:?}", g.shape(logits), g.shape(labels));
    EngineError::Shape { op: "loss", rule, got }.into()
}

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
        let lead = g.shape(labels).to_vec();
        let (rows, classes) = match g.shape(logits).split_last() {
            Some((&classes, rows)) if rows == lead => (shape::count(rows), classes),
            _ => return Err(mismatch(g, logits, labels)),
        };
        let (logits, labels) = (g.reshape(logits, &[rows, classes])?, g.reshape(labels, &[rows])?);
        let losses = match self {
            Loss::CrossEntropy => g.cross_entropy(logits, labels)?[0],
            Loss::Squared => {
                let hot = g.one_hot(labels, classes)?;
                let off = g.sub(logits, hot)?;
                let squares = g.mul(off, off)?;
                let sums = g.sum(squares, &[1])?;
                let halves = g.affine(sums, 0.5, 0.0)?;
                // 1 for a label that is a class, else 0.
                let counted = g.sum(hot, &[1])?;
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

fn mismatch(g: &Graph, logits: Var, labels: Var) -> crate::Error {
    let rule = "logits […, classes], labels […]".into();
    let got = format!("{:?} {:?}", g.shape(logits), g.shape(labels));
    EngineError::Shape { op: "loss", rule, got }.into()
}

//! Losses of a classifier, one number for each label.

use hillshade_engine::{Error, Result, Tensor, shape};
use serde::{Deserialize, Serialize};

/// The loss of a label; that of a step is the mean over its labels.
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
    /// Broken when the shapes do not match.
    #[track_caller]
    pub fn build<'g>(self, logits: Tensor<'g>, labels: Tensor<'g>) -> Tensor<'g> {
        self.smoothed(logits, labels, 0.0)
    }

    /// [`Loss::build`] against smoothed labels: the share `α` of each goes to all classes alike, so that the target is
    /// `(1 − α) [j = y] + α/classes` (Szegedy et al. 2016, section 7). `α` is from 0 to below 1.
    #[track_caller]
    pub fn smoothed<'g>(self, logits: Tensor<'g>, labels: Tensor<'g>, share: f64) -> Tensor<'g> {
        logits.graph().wait(self.of(logits, labels, share))
    }

    fn of<'g>(self, logits: Tensor<'g>, labels: Tensor<'g>, share: f64) -> Result<Tensor<'g>> {
        let (shape, lead) = (logits.shape()?, labels.shape()?);
        let Some((&classes, _)) = shape.split_last().filter(|(_, rows)| *rows == lead) else {
            let rule = "logits […, classes], labels […]".into();
            return Err(Error::Shape { op: "loss", rule, got: format!("{shape:?} {lead:?}") });
        };
        let rows = shape::count(lead);
        let (logits, labels) = (logits.reshape(&[rows, classes]), labels.reshape(&[rows]));
        let losses = match self {
            Loss::CrossEntropy => {
                let [own, _] = logits.cross_entropy(labels);
                let even = || (logits.logsumexp(&[1]) - logits.mean(&[1])) * counted(labels, classes);
                if share == 0.0 { own } else { own * (1.0 - share) + even() * share }
            }
            Loss::Squared => {
                let hot = labels.one_hot(classes);
                let target = if share == 0.0 { hot } else { hot * (1.0 - share) + share / classes as f64 };
                half_square(logits - target) * counted(labels, classes)
            }
        };
        Ok(losses.reshape(lead))
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

/// Half the squared length of each row.
pub(crate) fn half_square(x: Tensor) -> Tensor {
    (x * x).sum(&[1]) * 0.5
}

/// 1 for a label that is a class, else 0.
pub(crate) fn counted(labels: Tensor, classes: usize) -> Tensor {
    labels.one_hot(classes).sum(&[1])
}

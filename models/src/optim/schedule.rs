//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// How the rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Not at all.
    Constant,
    /// Tenfold after half and after three quarters of the run (He et al. 2015).
    Step,
    /// Along a half cosine to zero (Loshchilov and Hutter 2017).
    Cosine,
}

/// A rate for each step: a linear warm-up, then a shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The highest rate.
    pub rate: f64,
    /// What follows the warm-up.
    pub shape: Shape,
    /// Steps over which the rate rises linearly from near zero.
    pub warmup: u64,
}

impl Schedule {
    /// The rate of step `step`, counted from 0, in a run of `total`.
    pub fn rate(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup {
            return self.rate * (step + 1) as f64 / self.warmup as f64;
        }
        let rest = total.saturating_sub(self.warmup).max(1) as f64;
        let at = ((step - self.warmup) as f64 / rest).min(1.0);
        match self.shape {
            Shape::Constant => self.rate,
            Shape::Step if at < 0.5 => self.rate,
            Shape::Step if at < 0.75 => self.rate * 0.1,
            Shape::Step => self.rate * 0.01,
            Shape::Cosine => self.rate * 0.5 * (1.0 + (std::f64::consts::PI * at).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall() {
        let s = |shape| Schedule { rate: 1.0, shape, warmup: 10 };
        assert_eq!([0, 9, 109].map(|step| s(Shape::Constant).rate(step, 110)), [0.1, 1.0, 1.0]);
        assert_eq!([59, 60, 85].map(|step| s(Shape::Step).rate(step, 110)), [1.0, 0.1, 0.01]);
        assert_eq!(s(Shape::Cosine).rate(10, 110), 1.0);
        assert!((s(Shape::Cosine).rate(60, 110) - 0.5).abs() < 1e-12);
        assert!(s(Shape::Cosine).rate(110, 110) < 1e-12);
    }
}

//! Label smoothing: targets that leave a share to all classes.

use hillshade_engine::Tensor;

use crate::{error::*, train::intervention::*, train::task::Task};

/// The share of each label that goes to all classes alike: [`Loss::smoothed`](crate::Loss::smoothed).
#[derive(Debug)]
pub struct Smoothing(pub f64);

impl Intervention for Smoothing {
    fn check(&self, _: &Task, _: usize) -> Result<()> {
        expect_share("smoothing", self.0)
    }

    fn loss<'g>(&self, _: Tensor<'g>, step: &mut Step<'_, 'g>) -> Result<Tensor<'g>> {
        step.network.losses(step.rule, self.0, step.ends, step.labels, step.task.classes())
    }
}

//! Gradient accumulation: the mean over several passes of a step.

use hillshade_engine::Tensor;

use crate::{error::*, nn::*, train::intervention::*, train::task::Task};

/// The mean of the gradients of so many passes, each of which has an equal part of the step's samples. A pass adds its share
/// to states, which the last one takes and empties; what comes after acts in the last one alone.
#[derive(Debug)]
pub struct Accumulate(pub u32);

impl Intervention for Accumulate {
    fn check(&self, task: &Task, batch: usize) -> Result<()> {
        let passes = self.0 as usize;
        let expected = format!("equal parts of 2 or more of {batch} {}", task.samples());
        expect(batch.is_multiple_of(passes) && batch / passes >= 2, "accumulate", expected, passes)
    }

    fn gradient<'g>(
        &self, _: Tensor<'g>, gradients: Vec<Tensor<'g>>, step: &mut Step<'_, 'g>,
    ) -> Result<Vec<Tensor<'g>>> {
        let (share, trained) = (1.0 / f64::from(self.0), step.builder.trained().cloned().collect::<Vec<_>>());
        step.ended = !step.is_last;
        let add = |(p, gradient): (&Param, Tensor<'g>)| {
            let held = step.state(&format!("gradient/{}", p.name), &p.shape, Init::Zeros);
            let sum = held + gradient * share;
            step.graph().assign(held, if step.is_last { held.fill_like(0.0) } else { sum });
            sum
        };
        Ok(trained.iter().zip(gradients).map(add).collect())
    }
}

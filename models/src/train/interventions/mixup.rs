//! Mixup: images mixed in pairs, and their losses.

use hillshade_engine::Tensor;

use crate::{data::Mixup, error::*, networks::Goal, train::intervention::*, train::task::*};

/// The parameter of the distribution with which images are mixed, by a [`Mixup`] of each pass.
#[derive(Debug)]
pub struct Mixing(pub f64);

impl Intervention for Mixing {
    fn check(&self, task: &Task, _: usize) -> Result<()> {
        expect((0.0..=4.0).contains(&self.0), "mixup", "a number from 0 to 4", format!("{:?}", self.0))?;
        expect(task.images().is_some(), "mixup", "images to mix", task.samples())
    }

    fn loss<'g>(&self, losses: Tensor<'g>, step: &mut Step<'_, 'g>) -> Result<Tensor<'g>> {
        if step.network.goal() != Goal::Labels {
            return Ok(losses);
        }
        let (others, kept) = (step.input_u32("others", step.labels.shape()?), step.input("kept", &[1]));
        Ok(losses * kept + step.against(others)? * (1.0 - kept))
    }

    fn inputs(&self, pass: &mut Pass) -> Vec<(&str, Values)> {
        let Some(Fed { x: Values::F32(images), labels }) = &mut pass.samples else { return Vec::new() };
        let mixup = Mixup::draw(self.0, pass.seed, pass.place, labels.len());
        let others = mixup.mix(images, labels);
        vec![("others", Values::U32(others)), ("kept", Values::F32(vec![mixup.kept]))]
    }

    fn changes_samples(&self) -> bool {
        true
    }
}

//! Exponential moving averages of parameters and statistics.

use hillshade_engine::Tensor;

use crate::{error::*, train::intervention::*, train::task::*};

/// What comes before the name of a parameter's running average.
pub(crate) const AVERAGE: &str = "average/";

/// How much of the averages stays in a step: `min(d, (1 + t)/(10 + t))` in step `t`. Tests are of the averages.
#[derive(Debug)]
pub struct Average(pub f64);

impl Intervention for Average {
    fn check(&self, _: &Task, _: usize) -> Result<()> {
        expect_share("average", self.0)
    }

    fn update<'g>(&self, _: &[Tensor<'g>], step: &mut Step<'_, 'g>) -> Result<()> {
        let (g, share) = (step.graph(), step.input("share", &[1]));
        for p in step.builder.params.clone() {
            let (value, average) = (p.value(g), step.copy(AVERAGE, &p));
            g.assign(average, average.lerp(g.assigned(value).unwrap_or(value), share));
        }
        step.tested = AVERAGE;
        Ok(())
    }

    fn inputs(&self, pass: &mut Pass) -> Vec<(&str, Values)> {
        let t = (pass.step + 1) as f64;
        vec![("share", Values::F32(vec![(1.0 - self.0.min((1.0 + t) / (10.0 + t))) as f32]))]
    }
}

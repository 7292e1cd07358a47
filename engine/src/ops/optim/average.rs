//! Running averages, in place.

use crate::{
    cpu::float::Real,
    error::Result,
    graph::graph::{Graph, Var},
    launch::launch::Launch,
    ops::optim::update::{LENS, Rule, Update},
    testing::cases::{Case, range, unit},
};

/// The rule of [`Graph::average`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Average;

impl Rule for Average {
    const NAME: &'static str = "average";
    const FLOPS: u64 = 3;
    const RATES: usize = 1;

    fn kept(&self) -> usize {
        0
    }

    fn kernels(&self) -> [&'static str; 2] {
        ["average", "average_seven"]
    }

    fn constants(&self, launch: Launch) -> Launch {
        launch
    }

    #[inline(always)]
    fn step<F: Real>(&self, share: &[F], [y, ..]: [&mut [F]; 3], x: &[F]) {
        let share = share[0];
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += (x - *y) * share);
    }

    fn plain(&self, g: &mut Graph, y: &[Var], x: Var, share: Var) -> Result<Vec<Var>> {
        let off = g.sub(x, y[0])?;
        let moved = g.mul(off, share)?;
        Ok(vec![g.add(y[0], moved)?])
    }
}

impl Graph {
    /// `y + share (x − y)`: the running average `y` after another `x`, exponential where the share is always the same.
    ///
    /// | | shape |
    /// |---|---|
    /// | y, x | alike |
    /// | share | `[1]`, from 0 to 1 |
    ///
    /// Where the result is [assigned](Graph::assign) to the state that `y` is, nothing is copied.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn average(&mut self, y: Var, x: Var, share: Var) -> Result<Var> {
        self.apply(Update::new(Average), &[y, x, share])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let case = |lens: &[usize]| {
        let mut x: Vec<_> = lens.iter().flat_map(|&len| vec![unit(&[len]); 2]).collect();
        x.push(range(&[1], 0.1, 0.2));
        let build = |g: &mut Graph, x: &[Var]| {
            let (arrays, share) = x.split_at(x.len() - 1);
            arrays.chunks(2).map(|x| g.average(x[0], x[1], share[0])).collect()
        };
        Case::new(format!("average {lens:?}"), x, build).order(0)
    };
    LENS.into_iter().map(case).collect()
}

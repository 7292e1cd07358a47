//! The loss at the points of a grid.

use hillshade_engine::Session;
use serde::{Deserialize, Deserializer, Serialize};

use crate::landscape::{directions::*, landscape::*};
use crate::{error::*, solve::Watch};

/// The loss over one or two directions, and what it is the loss of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Places along the first direction.
    pub x: Vec<f64>,
    /// Places along the second; none where there is one direction.
    pub y: Vec<f64>,
    /// The mean loss, by `y` and within it by `x`, as far as it is measured: null in JSON where it is not finite.
    #[serde(deserialize_with = "maybe")]
    pub values: Vec<f64>,
    /// The loss at the parameters themselves.
    #[serde(deserialize_with = "maybe_one")]
    pub center: f64,
    /// The directions.
    pub directions: Vec<Direction>,
    /// Cosine between two directions before the second was made orthogonal to the first.
    pub cosine: Option<f64>,
    /// Statistics of batch normalization.
    pub statistics: Statistics,
    /// Batch normalizations in the network; where there are none, the statistics do not matter.
    pub batch_norms: usize,
    /// Number of parameters that a direction has.
    pub parameters: usize,
    /// Samples whose mean loss it is.
    pub samples: usize,
    /// What computed.
    pub adapter: String,
}

/// Places from `−range` to `range`, evenly: 0 is among them where their number is odd.
///
/// # Errors
///
/// [`Error::Argument`] for less than three, or a range that is not positive.
pub fn places(points: usize, range: f64) -> Result<Vec<f64>> {
    refuse!(points < 3, "points", "3 or more", points);
    refuse!(!positive(range), "range", "a positive number", range);
    let last = (points - 1) as f64;
    // By numerators, so that places are exactly symmetric.
    Ok((0..points).map(|i| range * ((2 * i) as f64 - last) / last).collect())
}

/// Points along one direction between two times that they are stored.
const STRETCH: usize = 8;

impl Grid {
    /// The number of its points.
    fn points(&self) -> usize {
        self.x.len() * self.y.len().max(1)
    }

    /// Whether all points are measured.
    pub fn is_whole(&self) -> bool {
        self.values.len() == self.points()
    }

    /// Whether another grid is the same measurement, as far as that goes.
    fn continues(&self, stored: &Grid) -> bool {
        let bare = |g: &Grid| Grid { values: Vec::new(), center: 0.0, ..g.clone() };
        stored.values.len() <= self.points()
            && stored.center.to_bits() == self.center.to_bits()
            && bare(stored) == bare(self)
    }

    /// Measures the loss at all points. `stored` is what an earlier call kept, taken up if it is the same measurement; `keep`
    /// takes what there is after each row, or along one direction after some points; `watch` hears of points done and of all.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for another number of axes than of directions or for places that are not finite, what `keep`
    /// returns. A loss that is not finite is a value, not an error.
    pub fn measure(
        session: &mut Session, landscape: &mut Landscape, directions: &Directions, axes: &[Vec<f64>],
        stored: Option<Grid>, watch: &mut Watch, mut keep: impl FnMut(&Grid) -> Result<()>,
    ) -> Result<Grid> {
        let count = directions.list().len();
        let ([x] | [x, _], true) = (axes, axes.len() == count && axes.iter().flatten().all(|v| v.is_finite())) else {
            let found = format!("{} axes and {count} directions", axes.len());
            return Err(argument("grid", "one or two directions, each with an axis of finite places", found));
        };
        let y = axes.get(1).cloned().unwrap_or_default();
        let bare = |d: &Direction| Direction { vector: Vec::new(), ..d.clone() };
        let mut grid = Grid {
            x: x.clone(),
            y,
            values: Vec::new(),
            center: landscape.loss(session, &vec![0.0; count])?,
            directions: directions.list().iter().map(bare).collect(),
            cosine: directions.cosine(),
            statistics: landscape.statistics(),
            batch_norms: landscape.batch_norms(),
            parameters: landscape.dimension(),
            samples: landscape.samples(),
            adapter: session.executor(),
        };
        if let Some(stored) = stored.filter(|s| grid.continues(s)) {
            grid.values = stored.values;
        }
        let all = grid.points();
        let stretch = if grid.y.is_empty() { STRETCH } else { grid.x.len() };
        while grid.values.len() < all {
            let (i, j) = (grid.values.len() % grid.x.len(), grid.values.len() / grid.x.len());
            let at: Vec<f64> = std::iter::once(grid.x[i]).chain(grid.y.get(j).copied()).collect();
            grid.values.push(landscape.loss(session, &at)?);
            watch(grid.values.len() as u64, all as u64);
            if grid.values.len().is_multiple_of(stretch) {
                keep(&grid)?;
            }
        }
        Ok(grid)
    }
}

/// Numbers that are null in JSON where they are not finite.
fn maybe<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<Option<f64>>::deserialize(d)?;
    Ok(values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect())
}

/// One such number.
fn maybe_one<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(d)?.unwrap_or(f64::NAN))
}

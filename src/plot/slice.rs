//! Slices of the loss along one direction.

use super::{
    axis::{Axis, Scale},
    color::{FAINT, LINES, SOFT},
    figure::Figure,
    page::{Marker, page},
    panel::{Panel, Pen},
};

/// A line of a [`Slice`].
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// What it is called in the key.
    pub name: &'a str,
    /// Heights over the places of the slice; where they are not finite, the line is broken.
    pub values: &'a [f64],
    /// OperandData in grey dashes, as fits a model of the loss beside the loss, and not considered for the range of the axis.
    pub model: bool,
}

/// The loss along one direction, or several.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    /// What stands above.
    pub title: &'a str,
    /// Places along the direction, with 0 for the parameters themselves.
    pub x: &'a [f64],
    /// Heights over the places.
    pub lines: &'a [Line<'a>],
    /// The name of the direction.
    pub x_label: &'a str,
    /// The name of the heights.
    pub y_label: &'a str,
    /// Heights on a logarithmic axis, for which they must be positive.
    pub log: bool,
    /// What stands below.
    pub notes: &'a [String],
}

impl Slice<'_> {
    /// Draws the slice.
    pub fn figure(&self) -> Figure {
        let mut colors = LINES.iter().cycle();
        let pens: Vec<Pen> = self
            .lines
            .iter()
            .map(|line| match line.model {
                true => Pen::new(SOFT, 1.4).dashed(),
                false => Pen::new(*colors.next().unwrap_or(&SOFT), 1.9),
            })
            .collect();
        let key: Vec<_> = self.lines.iter().zip(&pens).map(|(l, p)| (Marker::Line(*p), l.name.to_owned())).collect();
        let (mut figure, room) = page((900, 420), self.title, &key, self.notes);
        let scale = if self.log { Scale::Log } else { Scale::Linear };
        let x = Axis::of(Scale::Linear, self.x.iter().copied(), 0.0, self.x_label);
        let heights = |models: bool| self.lines.iter().filter(move |l| models || !l.model).flat_map(|l| l.values);
        let all_models = self.lines.iter().all(|l| l.model);
        let y = Axis::of(scale, heights(all_models).copied(), 0.05, self.y_label);
        let panel = Panel::within(room, x, y, 0.0, true);
        panel.grid(&mut figure);
        if panel.x.holds(0.0) {
            let ends = [panel.y.lo, panel.y.hi].map(|y| (0.0, y));
            panel.line(&mut figure, ends, Pen::new(FAINT, 1.0).dashed());
        }
        // Models first, so that the loss lies over them.
        for models in [true, false] {
            for (line, pen) in self.lines.iter().zip(&pens).filter(|(l, _)| l.model == models) {
                let points = self.x.iter().copied().zip(line.values.iter().copied());
                panel.line(&mut figure, points, *pen);
            }
        }
        panel.frame(&mut figure, true);
        figure
    }
}

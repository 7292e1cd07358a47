//! Sharpness during training.

use super::{
    axis::{Axis, Scale},
    color::{INK, LINES, SOFT},
    figure::{Figure, Rect},
    page::{Marker, page},
    panel::{Panel, Pen},
};

/// What was measured at a step.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackPoint {
    /// Steps done.
    pub step: u64,
    /// The loss.
    pub loss: f64,
    /// The largest eigenvalues of the Hessian, the largest first.
    pub sharpness: Vec<f64>,
    /// The sharpness beyond which steps of this size diverge on a quadratic: 2/η for gradient descent, other values for
    /// other optimizers. Not drawn where it is not finite.
    pub threshold: f64,
}

/// The loss, and below it the largest eigenvalues of its Hessian with the edge of stability, by step.
#[derive(Debug, Clone, Copy)]
pub struct Track<'a> {
    /// What stands above.
    pub title: &'a str,
    /// What was measured, in the order of steps.
    pub points: &'a [TrackPoint],
    /// What the threshold is called, as in `2/η`.
    pub threshold_label: &'a str,
    /// What stands below.
    pub notes: &'a [String],
}

impl Track<'_> {
    /// Draws the track.
    pub fn figure(&self) -> Figure {
        let count = self.points.iter().map(|p| p.sharpness.len()).max().unwrap_or(0);
        let edge = Pen::new(INK, 1.3).dashed();
        let sharpness = self.sharpness_axis();
        let mut key: Vec<_> =
            (0..count.min(9)).map(|k| (Marker::Line(pen(k)), format!("λ{}", lowered(k + 1)))).collect();
        let thresholds = || self.points.iter().map(|p| p.threshold).filter(|t| t.is_finite());
        if thresholds().next().is_some() {
            let far = if thresholds().any(|t| sharpness.holds(t)) { "" } else { ", off the scale" };
            key.push((Marker::Line(edge), format!("{}{far}", self.threshold_label)));
        }
        let (mut figure, room) = page((900, 560), self.title, &key, self.notes);

        let steps = || self.points.iter().map(|p| p.step as f64);
        let x = Axis::of(Scale::Linear, steps(), 0.0, "step").whole();
        let bare = Axis { name: String::new(), ..x.clone() };
        let positive = self.points.iter().any(|p| p.loss > 0.0);
        let scale = if positive { Scale::Log } else { Scale::Linear };
        let loss = Axis::of(scale, self.points.iter().map(|p| p.loss), 0.06, "loss");
        let middle = room.top + 0.4 * room.height();
        let above = Rect { bottom: middle - 16.0, ..room };
        let below = Rect { top: middle, ..room };
        let margin = f64::max(
            Panel::within(above, bare.clone(), loss.clone(), 0.0, false).margin(),
            Panel::within(below, x.clone(), sharpness.clone(), 0.0, true).margin(),
        );
        let above = Panel::within(above, bare, loss, margin, false);
        let below = Panel::within(below, x, sharpness, margin, true);

        above.grid(&mut figure);
        above.line(&mut figure, steps().zip(self.points.iter().map(|p| p.loss)), Pen::new(SOFT, 1.5));
        above.frame(&mut figure, false);
        below.grid(&mut figure);
        for k in (0..count).rev() {
            let values = self.points.iter().map(|p| p.sharpness.get(k).copied().unwrap_or(f64::NAN));
            below.line(&mut figure, steps().zip(values), pen(k));
        }
        below.line(&mut figure, steps().zip(self.points.iter().map(|p| p.threshold)), edge);
        below.frame(&mut figure, true);
        figure
    }

    /// From 0, or the least eigenvalue, to the greatest, and on to the threshold where it is not much higher.
    fn sharpness_axis(&self) -> Axis {
        let all = || self.points.iter().flat_map(|p| &p.sharpness).copied().filter(|s| s.is_finite());
        let (least, most) = all().fold((0.0, f64::NEG_INFINITY), |(lo, hi): (f64, f64), s| (lo.min(s), hi.max(s)));
        let near = |t: f64| t.is_finite() && (t <= 2.5 * most || most <= 0.0);
        let edge = self.points.iter().map(|p| p.threshold).filter(|&t| near(t)).fold(0.0, f64::max);
        let room = 0.08 * (most.max(edge) - least);
        let lo = if least < 0.0 { least - room } else { 0.0 };
        Axis::new(Scale::Linear, lo, most.max(edge) + room, "sharpness")
    }
}

/// The greatest eigenvalue in the strongest line.
fn pen(k: usize) -> Pen {
    Pen::new(LINES[k % LINES.len()], if k == 0 { 1.9 } else { 1.3 })
}

fn lowered(k: usize) -> char {
    char::from_u32('₀' as u32 + k as u32 % 10).unwrap_or('₀')
}

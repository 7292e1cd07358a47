//! Training curves of a run.

use hillshade_models::Score;

use super::{
    axis::{Axis, Scale},
    color::{RED, SOFT},
    figure::{Figure, Rect},
    page::{Marker, page},
    panel::{Panel, Pen},
};

/// Scores of an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Epochs done, from 1.
    pub epoch: u32,
    /// Over the epoch's steps.
    pub train: Score,
    /// On the test images.
    pub test: Score,
}

/// Loss and error by epoch, in training and on the test images.
#[derive(Debug, Clone, Copy)]
pub struct Curves<'a> {
    /// The scores in order.
    pub epochs: &'a [Epoch],
    /// What the loss is, with its unit.
    pub loss: &'a str,
}

impl Curves<'_> {
    /// Draws the curves.
    pub fn figure(&self) -> Figure {
        let (train, test) = (Pen::new(SOFT, 1.9), Pen::new(RED, 1.9));
        let key = [(Marker::Line(train), "training".into()), (Marker::Line(test), "test".into())];
        let (mut figure, room) = page((900, 340), "", &key, &[]);
        let half = 0.5 * (room.width() - 24.0);
        let left = Rect { right: room.left + half, ..room };
        let right = Rect { left: room.right - half, ..room };
        let loss = |s: &Score| s.loss;
        let error = |s: &Score| 1.0 - s.accuracy;
        let name = "error rate (0 drawn at 0.0001)";
        self.panel(&mut figure, left, self.loss, loss, [train, test]);
        self.panel(&mut figure, right, name, error, [train, test]);
        figure
    }

    /// One quantity in training and test, on a logarithmic axis.
    fn panel(&self, figure: &mut Figure, outer: Rect, name: &str, of: fn(&Score) -> f64, pens: [Pen; 2]) {
        const LEAST: f64 = 1e-4;
        let of = |score: &Score| match of(score) {
            v if v.is_finite() => v.max(LEAST),
            v => v,
        };
        let end = self.epochs.iter().map(|e| e.epoch).max().unwrap_or(1).max(1);
        let x = Axis::new(Scale::Linear, 0.5, f64::from(end) + 0.5, "epoch").whole();
        let y = Axis::of(Scale::Log, self.epochs.iter().flat_map(|e| [of(&e.train), of(&e.test)]), 0.06, name);
        let panel = Panel::within(outer, x, y, 0.0, true);
        panel.grid(figure);
        for (pen, pick) in pens.into_iter().zip([(|e| &e.train) as fn(&Epoch) -> &Score, |e| &e.test]) {
            let points: Vec<_> = self.epochs.iter().map(|e| (f64::from(e.epoch), of(pick(e)))).collect();
            panel.line(figure, points.iter().copied(), pen);
            for (x, y) in points.into_iter().filter(|p| p.1.is_finite()) {
                figure.dot((panel.px(x), panel.py(y)), 2.4, pen.color);
            }
        }
        panel.frame(figure, true);
    }
}

//! A panel: two axes, their frame, and lines and areas within it.

use plotters::style::RGBAColor;

use super::{
    axis::{Axis, Tick},
    color::{GRID, INK, SOFT},
    figure::{Anchor, Figure, Point, Rect, Text},
    font,
};

pub const TICK: f64 = 11.0;
pub const NAME: f64 = 12.0;
/// Room between a tick's label and the axis.
const GAP: f64 = 7.0;

/// A line's look.
#[derive(Debug, Clone, Copy)]
pub struct Pen {
    pub color: RGBAColor,
    pub width: f64,
    pub dashed: bool,
}

impl Pen {
    pub fn new(color: RGBAColor, width: f64) -> Self {
        Pen { color, width, dashed: false }
    }

    pub fn dashed(self) -> Self {
        Pen { dashed: true, ..self }
    }
}

#[derive(Debug, Clone)]
pub struct Panel {
    pub x: Axis,
    pub y: Axis,
    /// What the axes enclose.
    pub rect: Rect,
}

impl Panel {
    /// A panel within `outer`, which holds the labels of the vertical axis, at least `margin` wide, and, where `below`
    /// says so, those of the horizontal one.
    pub fn within(outer: Rect, x: Axis, y: Axis, margin: f64, below: bool) -> Self {
        let bottom = if below { outer.bottom - Self::below(&x) } else { outer.bottom };
        let mut panel = Panel { x, y, rect: Rect { bottom: bottom.round(), ..outer } };
        panel.rect.left = (outer.left + panel.margin().max(margin)).round();
        panel.rect.top = panel.rect.top.round();
        panel.rect.right = panel.rect.right.round();
        panel
    }

    fn below(x: &Axis) -> f64 {
        GAP + 1.3 * TICK + if x.name.is_empty() { 0.0 } else { 1.5 * NAME }
    }

    /// The width of the labels of the vertical axis and of its name.
    pub fn margin(&self) -> f64 {
        let labels = self.y_ticks().iter().map(|t| font::width(&t.label, TICK)).fold(0.0, f64::max);
        GAP + 1.08 * labels + if self.y.name.is_empty() { 0.0 } else { 1.9 * NAME }
    }

    fn x_ticks(&self) -> Vec<Tick> {
        let wide = |t: &Tick| 0.5 * font::width(&t.label, TICK);
        let fits = |a: &Tick, b: &Tick| self.px(b.at) - self.px(a.at) > 1.1 * (wide(a) + wide(b)) + 10.0;
        self.x.ticks((self.rect.width() / 70.0) as usize + 5, fits)
    }

    fn y_ticks(&self) -> Vec<Tick> {
        let most = (self.rect.height() / 34.0) as usize;
        self.y.ticks(most, |a, b| self.py(a.at) - self.py(b.at) > 1.6 * TICK)
    }

    pub fn px(&self, x: f64) -> f64 {
        self.rect.left + self.x.share(x) * self.rect.width()
    }

    pub fn py(&self, y: f64) -> f64 {
        self.rect.bottom - self.y.share(y) * self.rect.height()
    }

    /// Lines across the panel at the ticks.
    pub fn grid(&self, figure: &mut Figure) {
        let Rect { left, top, right, bottom } = self.rect;
        for tick in self.x_ticks() {
            let x = crisp(self.px(tick.at));
            figure.line(vec![(x, top), (x, bottom)], GRID, 1.0);
        }
        for tick in self.y_ticks() {
            let y = crisp(self.py(tick.at));
            figure.line(vec![(left, y), (right, y)], GRID, 1.0);
        }
    }

    /// The axes with ticks, labels and names; those of the horizontal axis only where `below` says so.
    pub fn frame(&self, figure: &mut Figure, below: bool) {
        let Rect { left, top, right, bottom } = self.rect;
        let (left, bottom) = (crisp(left), crisp(bottom));
        figure.line(vec![(left, top), (left, bottom), (right, bottom)], SOFT, 1.0);
        let mut mark = |from: Point, dx: f64, dy: f64| figure.line(vec![from, (from.0 + dx, from.1 + dy)], SOFT, 1.0);
        for v in self.x.minor() {
            mark((crisp(self.px(v)), bottom), 0.0, 2.5);
        }
        for v in self.y.minor() {
            mark((left, crisp(self.py(v))), -2.5, 0.0);
        }
        for tick in self.x_ticks() {
            mark((crisp(self.px(tick.at)), bottom), 0.0, 4.5);
        }
        for tick in self.y_ticks() {
            mark((left, crisp(self.py(tick.at))), -4.5, 0.0);
        }
        for tick in self.y_ticks() {
            let at = (left - GAP, self.py(tick.at) + 0.36 * TICK);
            figure.text(words(at, Anchor::End, TICK, SOFT, &tick.label));
        }
        let middle = 0.5 * (self.rect.top + self.rect.bottom);
        let name = words((left - self.margin() + 0.85 * NAME, middle), Anchor::Middle, NAME, INK, &self.y.name);
        figure.text(Text { turned: true, ..name });
        if below {
            for tick in self.x_ticks() {
                let at = (self.px(tick.at), bottom + GAP + 0.8 * TICK);
                figure.text(words(at, Anchor::Middle, TICK, SOFT, &tick.label));
            }
            let at = (0.5 * (left + right), bottom + Self::below(&self.x) - 0.25 * NAME);
            figure.text(words(at, Anchor::Middle, NAME, INK, &self.x.name));
        }
    }

    /// A line through points of the axes, broken where a coordinate is no number and cut off at the frame.
    pub fn line(&self, figure: &mut Figure, points: impl IntoIterator<Item = Point>, pen: Pen) {
        let mut runs: Vec<Vec<Point>> = vec![Vec::new()];
        let places = points.into_iter().map(|(x, y)| {
            let finite = x.is_finite() && y.is_finite();
            finite.then(|| (far(self.px(x), self.rect.width()), far(self.py(y), self.rect.height())))
        });
        for place in places {
            match (place, runs.last_mut()) {
                (Some(p), Some(run)) => run.push(p),
                _ => runs.push(Vec::new()),
            }
        }
        for run in runs {
            if let [alone] = run[..] {
                if self.covers(alone) {
                    figure.dot(alone, 1.2 * pen.width, pen.color);
                }
                continue;
            }
            for piece in clip(&self.rect, &thin(run)) {
                let dashes = if pen.dashed { dashes(&piece, 6.0, 4.0) } else { vec![piece] };
                for dash in dashes {
                    figure.line(dash, pen.color, pen.width);
                }
            }
        }
    }

    /// The area between two lines over the same places.
    pub fn band(&self, figure: &mut Figure, points: &[(f64, f64, f64)], color: RGBAColor) {
        let Rect { left, top, right, bottom } = self.rect;
        let place = |x: f64, y: f64| (self.px(x).clamp(left, right), self.py(y).clamp(top, bottom));
        for run in points.split(|(x, a, b)| !(x.is_finite() && a.is_finite() && b.is_finite())) {
            let there = thin(run.iter().map(|&(x, a, _)| place(x, a)).collect());
            let back = thin(run.iter().rev().map(|&(x, _, b)| place(x, b)).collect());
            figure.area(there.into_iter().chain(back).collect(), color);
        }
    }

    pub fn covers(&self, (x, y): Point) -> bool {
        let Rect { left, top, right, bottom } = self.rect;
        (left - 0.5..=right + 0.5).contains(&x) && (top - 0.5..=bottom + 0.5).contains(&y)
    }
}

/// A line of upright text.
pub fn words(at: Point, anchor: Anchor, size: f64, color: RGBAColor, words: &str) -> Text {
    Text { at, anchor, size, color, turned: false, words: words.into() }
}

/// The middle of a pixel, where a line one pixel wide is sharp.
pub fn crisp(x: f64) -> f64 {
    x.floor() + 0.5
}

/// A coordinate that can be cut off without loss of digits.
fn far(x: f64, length: f64) -> f64 {
    x.clamp(-1e4 * length.max(1.0), 1e4 * length.max(1.0))
}

/// A line without the points that cannot be seen: of those within half a pixel across, the first, the least, the
/// greatest and the last.
fn thin(points: Vec<Point>) -> Vec<Point> {
    let column = |p: &Point| (2.0 * p.0).floor();
    let mut kept = Vec::new();
    for group in points.chunk_by(|a, b| column(a) == column(b)) {
        if group.len() <= 4 {
            kept.extend(group);
            continue;
        }
        let index = |pick: fn(Point, Point) -> bool| {
            (0..group.len()).fold(0, |best, i| if pick(group[i], group[best]) { i } else { best })
        };
        let mut picks = [0, index(|a, b| a.1 < b.1), index(|a, b| a.1 > b.1), group.len() - 1];
        picks.sort_unstable();
        kept.extend(picks.map(|i| group[i]));
    }
    kept.dedup();
    kept
}

/// The pieces of a line within a rectangle.
pub fn clip(rect: &Rect, points: &[Point]) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    for ab in points.windows(2) {
        let Some((a, b)) = cut(rect, ab[0], ab[1]) else { continue };
        match pieces.last_mut() {
            Some(piece) if piece.last() == Some(&a) => piece.push(b),
            _ => pieces.push(vec![a, b]),
        }
    }
    pieces
}

/// The part of a segment within a rectangle. (Liang and Barsky, 1984)
fn cut(rect: &Rect, a: Point, b: Point) -> Option<(Point, Point)> {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let (mut enter, mut leave) = (0.0f64, 1.0f64);
    let sides = [(-dx, a.0 - rect.left), (dx, rect.right - a.0), (-dy, a.1 - rect.top), (dy, rect.bottom - a.1)];
    for (speed, room) in sides {
        match speed {
            0.0 if room < 0.0 => return None,
            0.0 => {}
            _ if speed < 0.0 => enter = enter.max(room / speed),
            _ => leave = leave.min(room / speed),
        }
    }
    let at = |t: f64| match t {
        0.0 => a,
        1.0 => b,
        _ => (a.0 + t * dx, a.1 + t * dy),
    };
    (enter <= leave).then(|| (at(enter), at(leave)))
}

/// The pieces of a dashed line.
fn dashes(points: &[Point], on: f64, off: f64) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let (mut drawing, mut left, mut piece) = (true, on, points.first().map(|&p| vec![p]).unwrap_or_default());
    for ab in points.windows(2) {
        let (mut a, b) = (ab[0], ab[1]);
        loop {
            let length = f64::hypot(b.0 - a.0, b.1 - a.1);
            if length < left {
                left -= length;
                piece.push(b);
                break;
            }
            let t = left / length;
            a = (a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1));
            piece.push(a);
            if drawing {
                pieces.push(std::mem::take(&mut piece));
            }
            (drawing, piece) = (!drawing, vec![a]);
            left = if drawing { on } else { off };
        }
    }
    if drawing {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: Rect = Rect { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };

    #[test]
    fn lines_are_cut_off_at_the_frame() {
        let zigzag = [(-5.0, 5.0), (5.0, 5.0), (5.0, 15.0), (8.0, 15.0), (8.0, 5.0)];
        let pieces = clip(&SQUARE, &zigzag);
        assert_eq!(pieces, [vec![(0.0, 5.0), (5.0, 5.0), (5.0, 10.0)], vec![(8.0, 10.0), (8.0, 5.0)]]);
        assert!(clip(&SQUARE, &[(-1.0, -1.0), (20.0, -1.0)]).is_empty());
        assert!(clip(&SQUARE, &[(-4.0, 3.0), (3.0, -4.0)]).is_empty());
    }

    #[test]
    fn dashes_cover_their_share_of_a_line() {
        let pieces = dashes(&[(0.0, 0.0), (30.0, 0.0), (30.0, 70.0)], 6.0, 4.0);
        let length =
            |p: &Vec<Point>| p.windows(2).map(|ab| f64::hypot(ab[1].0 - ab[0].0, ab[1].1 - ab[0].1)).sum::<f64>();
        assert_eq!(pieces.len(), 11 - usize::from(pieces.len() == 10));
        assert!((pieces.iter().map(length).sum::<f64>() - 60.0).abs() < 1e-9);
    }

    #[test]
    fn thin_lines_keep_their_extremes() {
        let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) % 1000);
        let points: Vec<Point> = (0..20_000).map(|i| (f64::from(i) * 0.001, noise(i))).collect();
        let kept = thin(points.clone());
        assert!(kept.len() <= 4 * 41);
        let most = |p: &[Point]| p.iter().map(|p| p.1).fold(0.0, f64::max);
        assert_eq!((most(&kept), kept[0], kept.last()), (most(&points), points[0], points.last()));
    }
}

//! Slices of the loss along two directions.

use plotters::style::RGBAColor;

use super::{
    axis::{Axis, Scale, Tick, labelled, number, step},
    color::{self, INK, RED, SOFT, WHITE, between, lightness, sheer},
    contour::contours,
    figure::{Anchor, Figure, Point, Rect, Text},
    font,
    page::{Marker, page},
    panel::{NAME, Panel, Pen, TICK, crisp, words},
    relief::Relief,
};

/// The loss over the plane of two directions, seen from above: colours and lines of equal height, lit from the
/// north-west.
#[derive(Debug, Clone, Copy)]
pub struct Surface<'a> {
    /// What stands above.
    pub title: &'a str,
    /// Places along the first direction, ascending, with 0 for the parameters themselves.
    pub x: &'a [f64],
    /// Places along the second direction, ascending.
    pub y: &'a [f64],
    /// The heights, by `y` and within it by `x`. Where they are not finite, the figure is grey.
    pub z: &'a [f64],
    /// The name of the first direction.
    pub x_label: &'a str,
    /// The name of the second direction.
    pub y_label: &'a str,
    /// The name of the heights.
    pub z_label: &'a str,
    /// Colours and lines by the logarithm of the height. Heights that are not positive count as the least positive one;
    /// if there is none, the logarithm is not taken.
    pub log: bool,
    /// A path over the plane, as of parameters in training, drawn if it has points.
    pub path: &'a [(f64, f64)],
    /// What stands below.
    pub notes: &'a [String],
}

/// Points of the grid on which lines of equal height are sought, for each point of the surface.
const FINER: usize = 4;

impl Surface<'_> {
    /// Draws the surface.
    pub fn figure(&self) -> Figure {
        let mut key = Vec::new();
        if !self.path.is_empty() {
            key.push((Marker::Line(Pen::new(RED, 2.0)), "path".to_owned()));
            key.push((Marker::Dot(WHITE), "its start".to_owned()));
            key.push((Marker::Dot(RED), "its end".to_owned()));
        }
        let (mut figure, room) = page((820, 720), self.title, &key, self.notes);
        let scale =
            if self.log && self.z.iter().any(|z| *z > 0.0 && z.is_finite()) { Scale::Log } else { Scale::Linear };
        let heights = Axis::of(scale, self.z.iter().copied(), 0.0, self.z_label);
        let (x, y) = (places(self.x), places(self.y));
        let axis = |v: &[f64], name| Axis::of(Scale::Linear, v.iter().copied(), 0.0, name);
        let plain = Rect { right: room.right - 96.0, ..room };
        let panel = Panel::within(plain, axis(&x, self.x_label), axis(&y, self.y_label), 0.0, true);
        let levels = levels(&heights);
        if !x.is_empty() && !y.is_empty() {
            let share = |z: f64| if z.is_finite() { heights.share(z.max(heights.lo)) } else { f64::NAN };
            let grid = (0..x.len() * y.len()).map(|at| share(self.z.get(at).copied().unwrap_or(f64::NAN)));
            let relief = Relief::new(x.len(), y.len(), grid.collect());
            let (column, row) = (|t: f64| index(&x, panel.x.at(t)), |t: f64| index(&y, panel.y.at(1.0 - t)));
            relief.draw(&mut figure, panel.rect, column, row);
            let mut lines = Lines::new(&panel, &x, &y, &relief);
            for (i, level) in levels.iter().enumerate() {
                let label = if levels.len() < 10 || i % 2 == 0 { level.label.as_str() } else { "" };
                lines.draw(&mut figure, heights.share(level.at), label);
            }
        }
        self.path(&mut figure, &panel);
        self.center(&mut figure, &panel);
        let Rect { left, top, right, bottom } = panel.rect;
        let (right, top) = (crisp(right), crisp(top));
        figure.line(vec![(left, top), (right, top), (right, crisp(bottom))], SOFT, 1.0);
        panel.frame(&mut figure, true);
        bar(
            &mut figure,
            Rect { left: panel.rect.right + 18.0, right: panel.rect.right + 34.0, ..panel.rect },
            &heights,
            &levels,
        );
        figure
    }

    /// A cross at the parameters themselves.
    fn center(&self, figure: &mut Figure, panel: &Panel) {
        if !(panel.x.holds(0.0) && panel.y.holds(0.0)) {
            return;
        }
        let (x, y) = (panel.px(0.0), panel.py(0.0));
        for (color, arm, width) in [(INK, 6.5, 3.6), (WHITE, 5.8, 1.8)] {
            figure.line(vec![(x - arm, y), (x + arm, y)], color, width);
            figure.line(vec![(x, y - arm), (x, y + arm)], color, width);
        }
    }

    fn path(&self, figure: &mut Figure, panel: &Panel) {
        let points = || self.path.iter().copied();
        panel.line(figure, points(), Pen::new(sheer(WHITE, 0.9), 4.0));
        panel.line(figure, points(), Pen::new(RED, 2.0));
        let place = |(x, y): Point| (panel.px(x), panel.py(y));
        let drawn = |p: &Point| p.0.is_finite() && p.1.is_finite() && panel.covers(*p);
        if self.path.len() <= 80 {
            for at in points().map(place).filter(drawn) {
                figure.dot(at, 2.6, RED);
            }
        }
        let ends = [(self.path.first(), WHITE), (self.path.last(), RED)];
        for (at, color) in ends.into_iter().filter_map(|(p, c)| Some((place(*p?), c))).filter(|(p, _)| drawn(p)) {
            figure.dot(at, 5.6, INK);
            figure.dot(at, 4.4, color);
        }
    }
}

/// The places themselves where they ascend, or else their numbers.
fn places(v: &[f64]) -> Vec<f64> {
    let ascend = v.iter().all(|x| x.is_finite()) && v.windows(2).all(|ab| ab[0] < ab[1]);
    if ascend { v.to_vec() } else { (0..v.len()).map(|i| i as f64).collect() }
}

/// Where among ascending places a number lies, in places from the first.
fn index(places: &[f64], x: f64) -> f64 {
    let i = places.partition_point(|p| *p <= x).clamp(1, places.len().max(2) - 1) - 1;
    match (places.get(i), places.get(i + 1)) {
        (Some(a), Some(b)) => (i as f64 + (x - a) / (b - a)).clamp(0.0, (places.len() - 1) as f64),
        _ => 0.0,
    }
}

/// The number at a place between places.
fn value(places: &[f64], at: f64) -> f64 {
    let i = at as usize;
    match (places.get(i), places.get(i + 1)) {
        (Some(a), Some(b)) => a + at.fract() * (b - a),
        _ => places.last().copied().unwrap_or(0.0),
    }
}

/// Round heights for lines, about a dozen.
fn levels(heights: &Axis) -> Vec<Tick> {
    let (lo, hi) = (heights.lo, heights.hi);
    let decades = (hi / lo).log10();
    let inside = |z: &f64| (lo..hi).contains(z);
    if heights.scale == Scale::Log && decades >= 1.0 {
        let stride = (decades / 14.0).ceil().max(1.0) as i32;
        let mantissas: &[f64] = match decades {
            d if d < 1.7 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            d if d < 4.5 => &[1.0, 2.0, 5.0],
            d if d < 7.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let powers = (lo.log10().floor() as i32..=hi.log10().ceil() as i32).filter(|k| k % stride == 0);
        let all = powers.flat_map(|k| mantissas.iter().map(move |m| m * 10f64.powi(k)));
        return labelled(all.filter(inside).collect());
    }
    let step = step((hi - lo) / 14.0);
    let (from, to) = ((lo / step).ceil() as i64, (hi / step).floor() as i64);
    let all = (from..=to).map(|i| i as f64 * step).filter(inside);
    all.map(|at| Tick { at, label: number(at) }).collect()
}

/// Dark on light heights, light on dark ones.
fn contrast(height: f64) -> RGBAColor {
    if lightness(color::height(height)) > 0.45 { between(INK, color::height(height), 0.15) } else { WHITE }
}

/// Lines of equal height on a panel.
struct Lines<'a> {
    panel: &'a Panel,
    x: &'a [f64],
    y: &'a [f64],
    /// Heights on a finer grid, not a number where they are not known.
    heights: Vec<f64>,
    columns: usize,
    rows: usize,
    /// Where labels are.
    taken: Vec<Rect>,
}

impl<'a> Lines<'a> {
    fn new(panel: &'a Panel, x: &'a [f64], y: &'a [f64], relief: &Relief) -> Self {
        let (columns, rows) = ((x.len() - 1) * FINER + 1, (y.len() - 1) * FINER + 1);
        let height = |at: usize| {
            let (i, j) = ((at % columns) as f64 / FINER as f64, (at / columns) as f64 / FINER as f64);
            if relief.is_known(i, j) { relief.at(i, j) } else { f64::NAN }
        };
        let heights = (0..columns * rows).map(height).collect();
        Lines { panel, x, y, heights, columns, rows, taken: Vec::new() }
    }

    /// The lines of one height, those that are long enough with a label.
    fn draw(&mut self, figure: &mut Figure, share: f64, label: &str) {
        let coarse = |i: f64| i / FINER as f64;
        let (x, y) = (|i: f64| value(self.x, coarse(i)), |j: f64| value(self.y, coarse(j)));
        let place = |(i, j): Point| (self.panel.px(x(i)), self.panel.py(y(j)));
        let height = |i: usize, j: usize| self.heights[j * self.columns + i];
        let color = contrast(share);
        for line in contours(self.columns, self.rows, height, share) {
            let line: Vec<Point> = line.into_iter().map(place).collect();
            let Some(label) = self.label(&line, label, color) else {
                figure.line(line, sheer(color, 0.55), 1.0);
                continue;
            };
            let gap = label.bounds().grown(2.0);
            for piece in line.split(|p| gap.contains(*p)) {
                figure.line(piece.to_vec(), sheer(color, 0.55), 1.0);
            }
            figure.text(label);
            self.taken.push(gap.grown(8.0));
        }
    }

    /// A label where a line is flattest and nothing else is.
    fn label(&self, line: &[Point], text: &str, color: RGBAColor) -> Option<Text> {
        const SIZE: f64 = 10.0;
        let length: f64 = line.windows(2).map(|ab| f64::hypot(ab[1].0 - ab[0].0, ab[1].1 - ab[0].1)).sum();
        if text.is_empty() || length < 110.0 {
            return None;
        }
        let reach = 5.min(line.len() / 3).max(1);
        let tilt = |at: usize| {
            let (a, b) = (line[at - reach], line[at + reach]);
            ((b.1 - a.1) / f64::hypot(b.0 - a.0, b.1 - a.1).max(1e-9)).abs()
        };
        let mut order: Vec<usize> = (reach..line.len().saturating_sub(reach)).collect();
        order.sort_by(|a, b| tilt(*a).total_cmp(&tilt(*b)));
        let label = |at: usize| words((line[at].0, line[at].1 + 0.36 * SIZE), Anchor::Middle, SIZE, color, text);
        order.into_iter().map(label).find(|label| {
            let room = label.bounds().grown(6.0);
            let inside = self.panel.covers((room.left, room.top)) && self.panel.covers((room.right, room.bottom));
            inside && !self.taken.iter().any(|other| other.overlaps(&room))
        })
    }
}

/// The colours of heights, with numbers at lines of equal height.
fn bar(figure: &mut Figure, rect: Rect, heights: &Axis, levels: &[Tick]) {
    let Rect { left, top, right, bottom } = rect;
    let size = (Figure::DENSITY * rect.width() as u32, Figure::DENSITY * rect.height() as u32);
    let row = |j: u32| {
        let c = color::height(1.0 - (f64::from(j) + 0.5) / f64::from(size.1));
        [c.0, c.1, c.2].repeat(size.0 as usize)
    };
    figure.raster((left, top), size, (0..size.1).flat_map(row).collect());
    let (mut last, mut widest) = (f64::INFINITY, 0.0f64);
    for level in levels {
        let share = heights.share(level.at);
        let y = bottom - share * rect.height();
        let at = crisp(y);
        figure.line(vec![(left, at), (right, at)], sheer(contrast(share), 0.55), 1.0);
        if last - y > 1.6 * TICK {
            figure.line(vec![(right, at), (right + 4.5, at)], SOFT, 1.0);
            let place = (right + 8.0, y + 0.36 * TICK);
            figure.text(words(place, Anchor::Start, TICK, SOFT, &level.label));
            (last, widest) = (y, widest.max(font::width(&level.label, TICK)));
        }
    }
    let (x, y) = ([left, right].map(crisp), [top, bottom].map(crisp));
    let corners = vec![(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])];
    figure.line(corners, SOFT, 1.0);
    let log = if heights.scale == Scale::Log { ", logarithmic" } else { "" };
    let middle = (right + 8.0 + 1.08 * widest + 1.6 * NAME, 0.5 * (top + bottom));
    let name = words(middle, Anchor::Middle, NAME, INK, &format!("{}{log}", heights.name));
    figure.text(Text { turned: true, ..name });
}

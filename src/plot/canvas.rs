//! The raster canvas: pixels to draw on.

use std::{
    convert::Infallible,
    f64::consts::{FRAC_PI_2, PI, TAU},
};

use ab_glyph_rasterizer::{Point as Dot, Rasterizer};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, text_anchor::HPos,
};

use super::font;

type OperandData = Result<(), DrawingErrorKind<Infallible>>;
type Point = (f64, f64);

/// An RGB picture that takes coordinates in fractions of its pixels and inks every pixel by the exact share that a shape
/// covers, where plotters' own bitmap rounds to pixels.
pub struct Canvas {
    width: u32,
    height: u32,
    /// Coordinates to a pixel.
    units: f64,
    rgb: Vec<u8>,
}

impl Canvas {
    /// A white canvas.
    pub fn new((width, height): (u32, u32), units: f64) -> Self {
        Canvas { width, height, units, rgb: vec![255; 3 * width as usize * height as usize] }
    }

    /// The bytes, three to a pixel, row by row.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    fn ink(&mut self, x: i32, y: i32, color: BackendColor, share: f64) {
        let (w, h) = (self.width as i32, self.height as i32);
        if share <= 0.0 || !(0..w).contains(&x) || !(0..h).contains(&y) {
            return;
        }
        let alpha = share.min(1.0) * color.alpha;
        let at = 3 * (y as usize * self.width as usize + x as usize);
        let (r, g, b) = color.rgb;
        for (old, new) in self.rgb[at..at + 3].iter_mut().zip([r, g, b]) {
            *old = (f64::from(*old) + alpha * (f64::from(new) - f64::from(*old))).round() as u8;
        }
    }

    fn pixel(&self, (x, y): BackendCoord) -> Point {
        (f64::from(x) / self.units, f64::from(y) / self.units)
    }

    /// Fills what closed outlines of one orientation cover, be it once or more often.
    fn fill(&mut self, outlines: &[Vec<Point>], color: BackendColor) {
        // What lies off the canvas is moved to its margin.
        let margin = 64.0;
        let (right, bottom) = (f64::from(self.width) + margin, f64::from(self.height) + margin);
        let near = |(x, y): Point| (x.clamp(-margin, right), y.clamp(-margin, bottom));
        let (mut least, mut most) = ((right, bottom), (-margin, -margin));
        for (x, y) in outlines.iter().flatten().copied().map(near) {
            least = (x.min(least.0), y.min(least.1));
            most = (x.max(most.0), y.max(most.1));
        }
        let corner = (least.0.floor(), least.1.floor());
        let (w, h) = (most.0 - corner.0 + 2.0, most.1 - corner.1 + 1.0);
        if w < 2.0 || h < 1.0 {
            return;
        }
        let mut raster = Rasterizer::new(w.ceil() as usize, h.ceil() as usize);
        let dot = |p: Point| {
            let (x, y) = near(p);
            Dot { x: (x - corner.0) as f32, y: (y - corner.1) as f32 }
        };
        for outline in outlines {
            for (i, &a) in outline.iter().enumerate() {
                raster.draw_line(dot(a), dot(outline[(i + 1) % outline.len()]));
            }
        }
        let (left, top) = (corner.0 as i32, corner.1 as i32);
        raster.for_each_pixel_2d(|x, y, share| {
            if share > 1e-3 {
                self.ink(left + x as i32, top + y as i32, color, f64::from(share));
            }
        });
    }
}

/// The outline of a disc.
fn disc(center: Point, radius: f64) -> Vec<Point> {
    let mut outline = sector(center, radius, 0.0, TAU);
    // Without the center, which comes last.
    outline.pop();
    outline
}

/// The outline of a sector of a disc, which goes around it as that of a [`bar`] does.
fn sector((x, y): Point, radius: f64, from: f64, turn: f64) -> Vec<Point> {
    let n = (1.0 + (2.0 + radius) * turn.abs()).min(96.0).ceil();
    let corner = |i: u32| {
        let angle = from + turn * f64::from(i) / n;
        (x + radius * angle.cos(), y + radius * angle.sin())
    };
    let mut outline = vec![(x, y)];
    outline.extend((0..=n as u32).map(corner));
    if turn > 0.0 {
        outline.reverse();
    }
    outline
}

/// The outline of a piece of a line.
fn bar(a: Point, b: Point, width: f64) -> Vec<Point> {
    let across = direction(a, b) + FRAC_PI_2;
    let (dx, dy) = (0.5 * width * across.cos(), 0.5 * width * across.sin());
    vec![(a.0 + dx, a.1 + dy), (b.0 + dx, b.1 + dy), (b.0 - dx, b.1 - dy), (a.0 - dx, a.1 - dy)]
}

fn direction(a: Point, b: Point) -> f64 {
    (b.1 - a.1).atan2(b.0 - a.0)
}

/// What a line covers, with round joints and ends: bars and, beside them, sectors.
fn stroke(points: &[Point], width: f64) -> Vec<Vec<Point>> {
    let radius = 0.5 * width;
    let (Some(&first), Some(&last)) = (points.first(), points.last()) else { return Vec::new() };
    if points.len() == 1 {
        return vec![disc(first, radius)];
    }
    let mut outlines: Vec<_> = points.windows(2).map(|ab| bar(ab[0], ab[1], width)).collect();
    for abc in points.windows(3) {
        let (before, after) = (direction(abc[0], abc[1]), direction(abc[1], abc[2]));
        let turn = (after - before + PI).rem_euclid(TAU) - PI;
        // On the outer side of the bend.
        outlines.push(sector(abc[1], radius, before - FRAC_PI_2.copysign(turn), turn));
    }
    if first != last {
        outlines.push(sector(first, radius, direction(points[0], points[1]) + FRAC_PI_2, PI));
        outlines.push(sector(last, radius, direction(points[points.len() - 2], last) - FRAC_PI_2, PI));
    }
    outlines
}

impl DrawingBackend for Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        let units = |n: u32| (f64::from(n) * self.units) as u32;
        (units(self.width), units(self.height))
    }

    fn ensure_prepared(&mut self) -> OperandData {
        Ok(())
    }

    fn present(&mut self) -> OperandData {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> OperandData {
        let (x, y) = self.pixel(at);
        self.ink(x.floor() as i32, y.floor() as i32, color, 1.0);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> OperandData {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, a: BackendCoord, b: BackendCoord, style: &S, fill: bool) -> OperandData {
        let corners = [a, (b.0, a.1), b, (a.0, b.1)];
        if fill { self.fill_polygon(corners, style) } else { self.draw_path(corners.into_iter().chain([a]), style) }
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> OperandData {
        let mut points: Vec<Point> = path.into_iter().map(|p| self.pixel(p)).collect();
        points.dedup();
        let width = f64::from(style.stroke_width()) / self.units;
        self.fill(&stroke(&points, width), style.color());
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self, center: BackendCoord, radius: u32, style: &S, fill: bool,
    ) -> OperandData {
        let mut outline = disc(self.pixel(center), f64::from(radius) / self.units);
        if fill {
            self.fill(&[outline], style.color());
            return Ok(());
        }
        outline.extend(outline.first().copied());
        let units = self.units;
        self.draw_path(outline.iter().map(|p| ((p.0 * units) as i32, (p.1 * units) as i32)), style)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self, path: I, style: &S,
    ) -> OperandData {
        let outline: Vec<Point> = path.into_iter().map(|p| self.pixel(p)).collect();
        self.fill(&[outline], style.color());
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> OperandData {
        // `size` is the height of a line, 1.24 em, and `at` is 0.76 em over the baseline, as plotters' SVG has them.
        let size = style.size() / 1.24 / self.units;
        let (x, y) = self.pixel(at);
        let (mut glyphs, width) = font::set(text, size);
        let start = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -0.5 * width,
            HPos::Right => -width,
        };
        let turn = style.transform();
        let (left, top) = match turn.transform(0, 1) {
            (0, 1) => (x, y),
            // Of a text that is turned the pixels are turned, so it stands at a whole pixel.
            _ => (0.0, 0.0),
        };
        let shift = ((left + start) as f32, (top + 0.76 * size) as f32);
        for glyph in &mut glyphs {
            glyph.position.x += shift.0;
            glyph.position.y += shift.1;
        }
        let (dx, dy) = ((x - left).round() as i32, (y - top).round() as i32);
        for glyph in glyphs {
            font::draw(glyph, |x, y, share| {
                let (x, y) = turn.transform(x, y);
                self.ink(x + dx, y + dy, style.color(), share);
            });
        }
        Ok(())
    }

    fn blit_bitmap(&mut self, at: BackendCoord, (w, h): (u32, u32), rgb: &[u8]) -> OperandData {
        let (x, y) = self.pixel(at);
        let (left, top) = (x.round() as i32, y.round() as i32);
        let places = (0..h as i32).flat_map(|y| (0..w as i32).map(move |x| (x, y)));
        for ((x, y), color) in places.zip(rgb.chunks_exact(3)) {
            self.ink(left + x, top + y, BackendColor { alpha: 1.0, rgb: (color[0], color[1], color[2]) }, 1.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INK: BackendColor = BackendColor { alpha: 1.0, rgb: (0, 0, 0) };

    struct Wide;

    impl BackendStyle for Wide {
        fn color(&self) -> BackendColor {
            INK
        }

        fn stroke_width(&self) -> u32 {
            20
        }
    }

    /// Ink in pixels.
    fn area(canvas: Canvas) -> f64 {
        canvas.into_rgb().chunks(3).map(|c| 1.0 - f64::from(c[0]) / 255.0).sum()
    }

    #[test]
    fn shapes_ink_their_area() {
        let mut canvas = Canvas::new((20, 20), 10.0);
        canvas.fill_polygon([(25, 25), (75, 25), (75, 65), (25, 65)], &INK).expect("drawn");
        assert!((area(canvas) - 20.0).abs() < 0.1);
        let mut canvas = Canvas::new((40, 40), 10.0);
        canvas.draw_circle((203, 197), 100, &INK, true).expect("drawn");
        assert!((area(canvas) - 314.16).abs() < 2.0);
    }

    #[test]
    fn a_line_is_as_wide_as_said_in_every_direction() {
        for to in [(300, 50), (300, 180), (50, 300), (170, 290)] {
            let mut canvas = Canvas::new((40, 40), 10.0);
            canvas.draw_path([(100, 100), to], &Wide).expect("drawn");
            let length = f64::hypot(f64::from(to.0 - 100), f64::from(to.1 - 100)) / 10.0;
            // Two pixels wide, with round ends.
            let ink = area(canvas);
            assert!((ink - 2.0 * length - PI).abs() < 1.5, "{to:?}: {ink}");
        }
    }

    #[test]
    fn joints_leave_no_trace_in_a_line() {
        let drawn = |points: &[BackendCoord]| {
            let mut canvas = Canvas::new((40, 40), 10.0);
            canvas.draw_path(points.iter().copied(), &Wide).expect("drawn");
            canvas.into_rgb()
        };
        let whole = drawn(&[(50, 63), (330, 203)]);
        let pieces = drawn(&[(50, 63), (90, 83), (150, 113), (152, 114), (330, 203)]);
        assert!(whole.iter().zip(&pieces).all(|(a, b)| a.abs_diff(*b) <= 3));
        // Around a square, either way, the same.
        let square = [(100, 100), (300, 100), (300, 300), (100, 300), (100, 100)];
        let back: Vec<BackendCoord> = square.iter().rev().copied().collect();
        assert!(drawn(&square).iter().zip(&drawn(&back)).all(|(a, b)| a.abs_diff(*b) <= 1));
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let mut canvas = Canvas::new((10, 10), 1.0);
        canvas.draw_path([(-100_000, 5), (100_000, 5)], &INK).expect("drawn");
        canvas.draw_circle((i32::MAX, i32::MIN), 3, &INK, true).expect("drawn");
        canvas.fill_polygon([], &INK).expect("drawn");
        assert!((area(canvas) - 10.0).abs() < 0.1);
    }
}

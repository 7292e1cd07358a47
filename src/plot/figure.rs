//! A figure: marks on paper, as SVG or PNG.

use std::fmt::Write as _;

use image::{ExtendedColorType, ImageEncoder, codecs::png};
use plotters::{
    backend::SVGBackend,
    style::{
        FontTransform, IntoFont, RGBAColor, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};
use plotters_backend::{DrawingBackend, DrawingErrorKind};

use super::{canvas::Canvas, font};

/// A place in pixels from the upper left corner.
pub type Point = (f64, f64);

/// A part of the paper, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    pub fn grown(&self, by: f64) -> Rect {
        Rect { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }

    pub fn contains(&self, (x, y): Point) -> bool {
        self.left < x && x < self.right && self.top < y && y < self.bottom
    }

    pub fn overlaps(&self, other: &Rect) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }
}

/// Which part of a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A line of text.
#[derive(Debug, Clone)]
pub struct Text {
    /// A point of the baseline.
    pub at: Point,
    pub anchor: Anchor,
    pub size: f64,
    pub color: RGBAColor,
    /// Read from below.
    pub turned: bool,
    pub words: String,
}

impl Text {
    /// What the text takes up, with some room for fonts that are wider than the embedded one.
    pub fn bounds(&self) -> Rect {
        let width = font::width(&self.words, self.size);
        let (from, to) = match self.anchor {
            Anchor::Start => (0.0, 1.06 * width),
            Anchor::Middle => (-0.53 * width, 0.53 * width),
            Anchor::End => (-1.06 * width, 0.0),
        };
        let (up, down) = (0.78 * self.size, 0.22 * self.size);
        let (x, y) = self.at;
        match self.turned {
            false => Rect { left: x + from, top: y - up, right: x + to, bottom: y + down },
            true => Rect { left: x - up, top: y - to, right: x + down, bottom: y - from },
        }
    }
}

#[derive(Debug, Clone)]
enum Mark {
    Line { points: Vec<Point>, color: RGBAColor, width: f64 },
    Area { points: Vec<Point>, color: RGBAColor },
    Dot { at: Point, radius: f64, color: RGBAColor },
    Text(Text),
    Raster { at: Point, size: (u32, u32), rgb: Vec<u8> },
}

/// A finished figure, which can be had as SVG and as PNG.
#[derive(Debug, Clone)]
pub struct Figure {
    width: u32,
    height: u32,
    marks: Vec<Mark>,
}

impl Figure {
    /// Pixels of a PNG to a pixel of the figure.
    pub(super) const DENSITY: u32 = 2;
    /// Coordinates of the backends, which are whole numbers, to a pixel of the figure.
    const UNITS: f64 = 10.0;

    /// The figure as the text of an SVG file.
    pub fn svg(&self) -> String {
        let units = |n: u32| f64::from(n) * Self::UNITS;
        let mut svg = format!(
            "<svg width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" xmlns=\"http://www.w3.org/2000/svg\" \
             stroke-linecap=\"round\" stroke-linejoin=\"round\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n",
            self.width,
            self.height,
            units(self.width),
            units(self.height)
        );
        for run in self.marks.chunk_by(|a, b| ![a, b].iter().any(|m| matches!(m, Mark::Raster { .. }))) {
            if let [Mark::Raster { at, size, rgb }] = run {
                // It is smooth, so a pixel to a pixel will do.
                let (size, rgb) = halved(*size, rgb);
                let side = |n: u32| f64::from(n) * Self::UNITS;
                let _ = writeln!(
                    svg,
                    "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
                     href=\"data:image/png;base64,{}\"/>",
                    unit(at.0),
                    unit(at.1),
                    side(size.0),
                    side(size.1),
                    base64(&png(size, &rgb))
                );
                continue;
            }
            let mut part = String::new();
            let mut backend = SVGBackend::with_string(&mut part, (self.width, self.height));
            paint(run, &mut backend).expect("text can be appended to a string");
            drop(backend);
            // Without the first line and the last, which open and close a picture of its own.
            let lines: Vec<&str> = part.lines().collect();
            for line in &lines[1..lines.len() - 1] {
                svg.push_str(line);
                svg.push('\n');
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The figure as a PNG file, two pixels to each of the SVG's.
    pub fn png(&self) -> Vec<u8> {
        let size = (self.width * Self::DENSITY, self.height * Self::DENSITY);
        let mut canvas = Canvas::new(size, Self::UNITS / f64::from(Self::DENSITY));
        paint(&self.marks, &mut canvas).expect("a canvas takes every mark");
        png(size, &canvas.into_rgb())
    }

    pub(super) fn new(width: u32, height: u32) -> Self {
        Figure { width, height, marks: Vec::new() }
    }

    pub(super) fn line(&mut self, points: Vec<Point>, color: RGBAColor, width: f64) {
        if points.len() > 1 {
            self.marks.push(Mark::Line { points, color, width });
        }
    }

    pub(super) fn area(&mut self, points: Vec<Point>, color: RGBAColor) {
        if points.len() > 2 {
            self.marks.push(Mark::Area { points, color });
        }
    }

    pub(super) fn dot(&mut self, at: Point, radius: f64, color: RGBAColor) {
        self.marks.push(Mark::Dot { at, radius, color });
    }

    pub(super) fn text(&mut self, mut text: Text) {
        // XML has no place for control characters.
        text.words = text.words.trim().replace(char::is_control, " ");
        if !text.words.is_empty() {
            self.marks.push(Mark::Text(text));
        }
    }

    /// Puts a picture, [`Figure::DENSITY`] pixels to each of the figure's, with its upper left corner at a whole pixel.
    pub(super) fn raster(&mut self, at: Point, size: (u32, u32), rgb: Vec<u8>) {
        self.marks.push(Mark::Raster { at, size, rgb });
    }

    #[cfg(test)]
    pub(super) fn texts(&self) -> impl Iterator<Item = &Text> {
        self.marks.iter().filter_map(|m| if let Mark::Text(text) = m { Some(text) } else { None })
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }
}

/// A length in the backends' whole numbers.
fn unit(x: f64) -> i32 {
    (x * Figure::UNITS).round() as i32
}

fn place(p: Point) -> (i32, i32) {
    (unit(p.0), unit(p.1))
}

/// What plotters, which divides by 1.24, makes a font size of.
fn line_height(size: f64) -> f64 {
    let height = 1.24 * size;
    let nearby = [height, height.next_up(), height.next_down()];
    nearby.into_iter().find(|h| h / 1.24 == size).unwrap_or(height)
}

fn paint<B: DrawingBackend>(marks: &[Mark], to: &mut B) -> Result<(), DrawingErrorKind<B::ErrorType>> {
    for mark in marks {
        match mark {
            Mark::Line { points, color, width } => {
                let style = ShapeStyle { color: *color, filled: false, stroke_width: unit(*width).unsigned_abs() };
                to.draw_path(points.iter().copied().map(place), &style)?;
            }
            Mark::Area { points, color } => to.fill_polygon(points.iter().copied().map(place), color)?,
            Mark::Dot { at, radius, color } => to.draw_circle(place(*at), unit(*radius).unsigned_abs(), color, true)?,
            Mark::Text(text) => {
                let h_pos = match text.anchor {
                    Anchor::Start => HPos::Left,
                    Anchor::Middle => HPos::Center,
                    Anchor::End => HPos::Right,
                };
                // plotters sets SVG text 0.76 em below its place and takes 1.24 em for the size.
                let (x, y, up) = (text.at.0, text.at.1, 0.76 * text.size);
                let (turn, at) = match text.turned {
                    false => (FontTransform::None, (x, y - up)),
                    true => (FontTransform::Rotate270, (x - up, y)),
                };
                let font = (font::FAMILY, line_height(text.size * Figure::UNITS)).into_font().transform(turn);
                let style = TextStyle::from(font).color(&text.color).pos(Pos::new(h_pos, VPos::Top));
                to.draw_text(&text.words, &style, place(at))?;
            }
            Mark::Raster { at, size, rgb } => to.blit_bitmap(place(*at), *size, rgb)?,
        }
    }
    Ok(())
}

/// A picture with a quarter of the pixels.
fn halved((width, height): (u32, u32), rgb: &[u8]) -> ((u32, u32), Vec<u8>) {
    let (w, h) = (width as usize / 2, height as usize / 2);
    let mean = |at: usize| {
        let (x, y, c) = (at / 3 % w, at / 3 / w, at % 3);
        let pixel = |dx, dy| u32::from(rgb[3 * ((2 * y + dy) * width as usize + 2 * x + dx) + c]);
        ((pixel(0, 0) + pixel(1, 0) + pixel(0, 1) + pixel(1, 1) + 2) / 4) as u8
    };
    ((width / 2, height / 2), (0..3 * w * h).map(mean).collect())
}

fn png((width, height): (u32, u32), rgb: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    png::PngEncoder::new_with_quality(&mut file, png::CompressionType::Default, png::FilterType::Adaptive)
        .write_image(rgb, width, height, ExtendedColorType::Rgb8)
        .expect("a picture of this size can be appended to a vector");
    file
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_the_standard() {
        // RFC 4648, section 10.
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}

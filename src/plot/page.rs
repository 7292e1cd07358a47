//! The page of a figure: title, legend and notes around the panels.

use plotters::style::RGBAColor;

use super::{
    color::{INK, SOFT, sheer},
    figure::{Anchor, Figure, Point, Rect},
    font,
    panel::{Pen, words},
};

const TITLE: f64 = 15.0;
const ENTRY: f64 = 11.5;
const NOTE: f64 = 10.5;
const MARGIN: f64 = 16.0;
/// The width of an entry's sample.
const SAMPLE: f64 = 22.0;

/// What a key shows beside a name.
#[derive(Debug, Clone, Copy)]
pub enum Marker {
    Line(Pen),
    Band(RGBAColor),
    /// A short upright line.
    Tick(RGBAColor),
    Dot(RGBAColor),
}

/// An empty page with title, key and notes, and the room that is left.
pub fn page(size: (u32, u32), title: &str, key: &[(Marker, String)], notes: &[String]) -> (Figure, Rect) {
    let mut figure = Figure::new(size.0, size.1);
    let (width, height) = (f64::from(size.0), f64::from(size.1));
    let mut room = Rect { left: MARGIN, top: MARGIN, right: width - MARGIN, bottom: height - MARGIN };
    for line in wrap(title, TITLE, room.width()).iter().take(2) {
        figure.text(words((room.left, room.top + 0.8 * TITLE), Anchor::Start, TITLE, INK, line));
        room.top += 1.35 * TITLE;
    }
    let mut x = room.left;
    for (i, (sample, name)) in key.iter().enumerate() {
        let wide = SAMPLE + 6.0 + 1.08 * font::width(name, ENTRY);
        if i > 0 && x + wide > room.right {
            (x, room.top) = (room.left, room.top + 1.5 * ENTRY);
        }
        entry(&mut figure, (x, room.top + 0.75 * ENTRY), *sample, name);
        x += wide + 18.0;
    }
    room.top += if key.is_empty() { 4.0 } else { 1.5 * ENTRY + 6.0 };
    let notes = wrap(&notes.join("  ·  "), NOTE, room.width());
    let lines = &notes[..notes.len().min(5)];
    room.bottom -= 1.4 * NOTE * lines.len() as f64;
    for (i, line) in lines.iter().enumerate() {
        let y = room.bottom + 1.4 * NOTE * (i as f64 + 1.0);
        figure.text(words((room.left, y), Anchor::Start, NOTE, SOFT, line));
    }
    if !lines.is_empty() {
        room.bottom -= 4.0;
    }
    (figure, room)
}

fn entry(figure: &mut Figure, (x, y): Point, sample: Marker, name: &str) {
    let middle = y - 0.3 * ENTRY;
    match sample {
        Marker::Line(pen) => {
            let ends = if pen.dashed { vec![(0.0, 6.0), (10.0, 16.0), (20.0, SAMPLE)] } else { vec![(0.0, SAMPLE)] };
            for (from, to) in ends {
                figure.line(vec![(x + from, middle), (x + to, middle)], pen.color, pen.width);
            }
        }
        Marker::Band(color) => {
            let (top, bottom) = (middle - 4.5, middle + 4.5);
            figure.area(vec![(x, top), (x + SAMPLE, top), (x + SAMPLE, bottom), (x, bottom)], color);
        }
        Marker::Tick(color) => {
            figure.line(vec![(x + 0.5 * SAMPLE, middle - 4.5), (x + 0.5 * SAMPLE, middle + 4.5)], color, 1.4);
        }
        Marker::Dot(color) => {
            figure.dot((x + 0.5 * SAMPLE, middle), 4.2, sheer(INK, 0.8));
            figure.dot((x + 0.5 * SAMPLE, middle), 3.2, color);
        }
    }
    figure.text(words((x + SAMPLE + 6.0, y), Anchor::Start, ENTRY, INK, name));
}

/// Lines no wider than `room`, broken at spaces; a word that is too wide is cut.
fn wrap(text: &str, size: f64, room: f64) -> Vec<String> {
    let fits = |line: &str| 1.08 * font::width(line, size) <= room;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        if !fits(&word) {
            while !word.is_empty() && !fits(&format!("{word}…")) {
                word.pop();
            }
            word.push('…');
        }
        match lines.last_mut() {
            Some(line) if fits(&format!("{line} {word}")) => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_to_fit() {
        let text = "the quick brown fox jumps over the lazy dog and a".to_owned() + &"b".repeat(400);
        let lines = wrap(&text, 10.0, 120.0);
        assert!(lines.len() > 2 && lines.iter().all(|l| font::width(l, 10.0) <= 120.0), "{lines:?}");
        assert!(lines.last().is_some_and(|l| l.ends_with('…')));
        assert!(wrap("", 10.0, 100.0).is_empty());
    }
}

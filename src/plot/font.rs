//! The font in which text is measured, and drawn where the picture has pixels: Noto Sans, under the SIL Open Font
//! License 1.1.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, GlyphId, PxScale, point};

/// What text of an SVG is set in: the embedded font where there is one, or what is about as wide.
pub const FAMILY: &str = "Noto Sans, Helvetica, Arial, sans-serif";

static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(notosans::REGULAR_TTF).expect("the embedded file is a font"));

/// Raised and lowered characters are the plain ones, smaller: the font lacks some, and they match this way.
fn plain(c: char) -> (char, f64, f64) {
    const SMALL: f64 = 0.66;
    let raised = |c| (c, SMALL, -0.34);
    let lowered = |c| (c, SMALL, 0.12);
    match c {
        '⁰' => raised('0'),
        '¹' => raised('1'),
        '²' => raised('2'),
        '³' => raised('3'),
        '⁴'..='⁹' => raised(digit(c, '⁴', '4')),
        '⁻' => raised('−'),
        '₀'..='₉' => lowered(digit(c, '₀', '0')),
        'ₖ' => lowered('k'),
        'ₙ' => lowered('n'),
        _ => (c, 1.0, 0.0),
    }
}

fn digit(c: char, first: char, digit: char) -> char {
    char::from_u32(u32::from(digit) + u32::from(c) - u32::from(first)).unwrap_or(c)
}

/// A font size in pixels per em, as the scale of the font's own box.
fn scale(size: f64) -> PxScale {
    let em = f64::from(FONT.units_per_em().unwrap_or(1000.0));
    PxScale::from((size * f64::from(FONT.height_unscaled()) / em) as f32)
}

fn advance(id: GlyphId, size: f64) -> f64 {
    let em = f64::from(FONT.units_per_em().unwrap_or(1000.0));
    size * f64::from(FONT.h_advance_unscaled(id)) / em
}

/// The glyphs of a text with their places along the baseline from 0, and its width.
pub fn set(text: &str, size: f64) -> (Vec<Glyph>, f64) {
    let mut x = 0.0;
    let glyphs = text
        .chars()
        .map(|c| {
            let (c, share, drop) = plain(c);
            let id = FONT.glyph_id(c);
            let place = point(x as f32, (drop * size) as f32);
            x += advance(id, share * size);
            id.with_scale_and_position(scale(share * size), place)
        })
        .collect();
    (glyphs, x)
}

/// The width of a text in pixels.
pub fn width(text: &str, size: f64) -> f64 {
    text.chars()
        .map(|c| {
            let (c, share, _) = plain(c);
            advance(FONT.glyph_id(c), share * size)
        })
        .sum()
}

/// Calls `ink(x, y, coverage)` for the pixels of a glyph.
pub fn draw(glyph: Glyph, mut ink: impl FnMut(i32, i32, f64)) {
    if let Some(outline) = FONT.outline_glyph(glyph) {
        let corner = outline.px_bounds().min;
        outline.draw(|x, y, c| ink(corner.x as i32 + x as i32, corner.y as i32 + y as i32, f64::from(c)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_that_figures_use_is_there() {
        for c in "0123456789−×·±≤≥≈λσηθ/²³⁻⁰₁₂₃ₖₙ…–%°é".chars() {
            let (c, ..) = plain(c);
            assert_ne!(FONT.glyph_id(c).0, 0, "{c:?}");
        }
    }

    #[test]
    fn widths_are_sums_and_scale() {
        let one = width("10", 10.0);
        assert!((width("1010", 20.0) - 4.0 * one).abs() < 1e-9);
        assert!((set("10", 10.0).1 - one).abs() < 1e-9);
        assert!(width("10⁻³", 10.0) < width("10-3", 10.0) && width("10⁻³", 10.0) > one);
    }
}

//! A palette that is told apart with every kind of colour vision.

use plotters::style::RGBAColor;

const fn opaque(r: u8, g: u8, b: u8) -> RGBAColor {
    RGBAColor(r, g, b, 1.0)
}

pub const INK: RGBAColor = opaque(34, 34, 34);
pub const SOFT: RGBAColor = opaque(96, 96, 96);
pub const FAINT: RGBAColor = opaque(150, 150, 150);
pub const GRID: RGBAColor = opaque(230, 230, 230);
/// Of what is not a number.
pub const BLANK: RGBAColor = opaque(168, 168, 168);
pub const WHITE: RGBAColor = opaque(255, 255, 255);

/// The colours of lines, after Okabe and Ito, 2008.
pub const LINES: [RGBAColor; 6] = [BLUE, RED, GREEN, ORANGE, opaque(204, 121, 167), opaque(86, 180, 233)];
pub const BLUE: RGBAColor = opaque(0, 114, 178);
pub const RED: RGBAColor = opaque(213, 94, 0);
pub const GREEN: RGBAColor = opaque(0, 158, 115);
pub const ORANGE: RGBAColor = opaque(230, 159, 0);

/// A colour that lets `1 - alpha` of the paper through.
pub fn sheer(color: RGBAColor, alpha: f64) -> RGBAColor {
    RGBAColor(color.0, color.1, color.2, alpha)
}

/// A colour of the line from `a` at 0 to `b` at 1.
pub fn between(a: RGBAColor, b: RGBAColor, t: f64) -> RGBAColor {
    let mix = |a: u8, b: u8| (f64::from(a) + t * (f64::from(b) - f64::from(a))).round() as u8;
    RGBAColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2), 1.0)
}

/// The colour of a height from 0 to 1: viridis, whose lightness is even and says the same without colour.
pub fn height(t: f64) -> RGBAColor {
    const STOPS: [u32; 11] =
        [0x440154, 0x482576, 0x414487, 0x35608d, 0x2a788e, 0x21908c, 0x22a884, 0x43bf71, 0x7ad151, 0xbbdf27, 0xfde725];
    let stop = |i: usize| {
        let [_, r, g, b] = STOPS[i.min(STOPS.len() - 1)].to_be_bytes();
        opaque(r, g, b)
    };
    let place = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64 };
    between(stop(place as usize), stop(place as usize + 1), place.fract())
}

/// How light a colour is, from 0 to 1.
pub fn lightness(c: RGBAColor) -> f64 {
    (0.299 * f64::from(c.0) + 0.587 * f64::from(c.1) + 0.114 * f64::from(c.2)) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_grow_lighter() {
        let steps: Vec<f64> = (0..=100).map(|i| lightness(height(f64::from(i) / 100.0))).collect();
        assert!(steps.windows(2).all(|ab| ab[1] > ab[0] - 0.005));
        assert!(steps[100] - steps[0] > 0.7);
        assert_eq!([height(-1.0), height(f64::NAN)], [height(0.0); 2]);
        assert_eq!(height(7.0), opaque(0xfd, 0xe7, 0x25));
    }
}

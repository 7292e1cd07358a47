//! Shaded relief: a surface over a grid, smooth in between, lit from the north-west.

use super::{
    color::{BLANK, height},
    figure::{Figure, Rect},
};

/// Heights from 0 to 1 over columns and rows.
pub struct Relief {
    columns: usize,
    rows: usize,
    /// What is not finite is filled from around, so that the surface is smooth up to it.
    filled: Vec<f64>,
    known: Vec<bool>,
}

impl Relief {
    /// A surface of `columns × rows` heights.
    pub fn new(columns: usize, rows: usize, heights: Vec<f64>) -> Self {
        let known = heights.iter().map(|z| z.is_finite()).collect();
        let mut relief = Relief { columns, rows, filled: heights, known };
        relief.fill();
        relief
    }

    /// Gives unknown heights the mean of known neighbours, from the border of the unknown inward.
    fn fill(&mut self) {
        let mut known = self.known.clone();
        while known.iter().any(|k| *k) && known.iter().any(|k| !k) {
            let before = known.clone();
            for at in (0..before.len()).filter(|&i| !before[i]) {
                let (i, j) = (at % self.columns, at / self.columns);
                let around = [-1, 0, 1].into_iter().flat_map(|dj| [-1, 0, 1].map(|di| (di, dj)));
                let near: Vec<f64> = around
                    .filter_map(|(di, dj)| Some((i.checked_add_signed(di)?, j.checked_add_signed(dj)?)))
                    .filter(|&(i, j)| i < self.columns && j < self.rows && before[j * self.columns + i])
                    .map(|(i, j)| self.filled[j * self.columns + i])
                    .collect();
                if !near.is_empty() {
                    self.filled[at] = near.iter().sum::<f64>() / near.len() as f64;
                    known[at] = true;
                }
            }
        }
        if !known.iter().any(|k| *k) {
            self.filled.fill(0.0);
        }
    }

    /// Whether the height at the nearest point of the grid is known.
    pub fn is_known(&self, column: f64, row: f64) -> bool {
        let (i, j) = (column.round().max(0.0) as usize, row.round().max(0.0) as usize);
        i < self.columns && j < self.rows && self.known[j * self.columns + i]
    }

    /// The height between points of the grid, by cubic convolution. (Keys, 1981)
    pub fn at(&self, column: f64, row: f64) -> f64 {
        along(self.rows, row, |j| along(self.columns, column, |i| self.filled[j * self.columns + i]))
    }

    /// The surface as seen from above with light from the upper left, drawn into a rectangle. `columns` and `rows` say
    /// which place of the grid lies at a share of its width and height.
    pub fn draw(&self, figure: &mut Figure, rect: Rect, column: impl Fn(f64) -> f64, row: impl Fn(f64) -> f64) {
        let density = f64::from(Figure::DENSITY);
        let (w, h) = ((rect.width() * density) as usize, (rect.height() * density) as usize);
        if w < 2 || h < 2 {
            return;
        }
        let middle = |i: usize, n: usize| (i as f64 + 0.5) / n as f64;
        let columns: Vec<f64> = (0..w).map(|i| column(middle(i, w))).collect();
        let rows: Vec<f64> = (0..h).map(|j| row(middle(j, h))).collect();
        // As `at`, first along the rows of the grid.
        let line = |j: usize| &self.filled[j * self.columns..][..self.columns];
        let across = |j: usize| columns.iter().map(move |&column| along(self.columns, column, |i| line(j)[i]));
        let across: Vec<f64> = (0..self.rows).flat_map(across).collect();
        let down = |row: f64| {
            let across = &across;
            (0..w).map(move |i| along(self.rows, row, |j| across[j * w + i]))
        };
        let z: Vec<f64> = rows.iter().flat_map(|&row| down(row)).collect();
        // Slopes to the right and down, over the side of the rectangle.
        let slope = |i: usize, j: usize| {
            let (left, right) = (i.saturating_sub(1), (i + 1).min(w - 1));
            let (up, down) = (j.saturating_sub(1), (j + 1).min(h - 1));
            let dx = (z[j * w + right] - z[j * w + left]) / (right - left) as f64;
            let dy = (z[down * w + i] - z[up * w + i]) / (down - up) as f64;
            (dx * w as f64, dy * h as f64)
        };
        let places = || (0..h).step_by(3).flat_map(|j| (0..w).step_by(3).map(move |i| slope(i, j)));
        let square = places().map(|(dx, dy)| dx * dx + dy * dy).sum::<f64>() / places().count() as f64;
        // Gentle slopes are drawn steeper than they are beside the others.
        let steepness =
            |m: f64| if square > 1e-18 { 0.4 * (2.5 * m / square.sqrt()).asinh() / m.max(1e-18) } else { 0.0 };
        let mut rgb = Vec::with_capacity(3 * w * h);
        for (j, &row) in rows.iter().enumerate() {
            for (i, &column) in columns.iter().enumerate() {
                let color = height(z[j * w + i]);
                let light = if self.is_known(column, row) { Some(shade(slope(i, j), &steepness)) } else { None };
                rgb.extend(match light {
                    Some(light) => [color.0, color.1, color.2].map(|c| lit(c, light)),
                    None => [BLANK.0, BLANK.1, BLANK.2],
                });
            }
        }
        figure.raster((rect.left, rect.top), (w as u32, h as u32), rgb);
    }
}

/// How much lighter than a level place a slope is, with the light 45° high in the north-west.
fn shade((dx, dy): (f64, f64), steepness: &impl Fn(f64) -> f64) -> f64 {
    let steepness = steepness(dx.hypot(dy));
    let (dx, dy) = (steepness * dx, steepness * dy);
    // The normal is (-dx, -dy, 1), the light comes from (-1, -1, √2) / 2.
    let level = 0.5f64.sqrt();
    0.5 * (dx + dy + 2.0 * level) / (1.0 + dx * dx + dy * dy).sqrt() - level
}

/// A part of a colour in more light, or in less.
fn lit(c: u8, light: f64) -> u8 {
    let c = f64::from(c);
    let lit = if light < 0.0 { c * (1.0 + 0.9 * light) } else { c * (1.0 + 0.5 * light) + 80.0 * light };
    lit.round().clamp(0.0, 255.0) as u8
}

/// What lies at a place between `n` numbers, which go on straight beyond their ends.
fn along(n: usize, place: f64, number: impl Fn(usize) -> f64) -> f64 {
    let from = place.floor();
    let (t, last) = (place - from, n as isize - 1);
    let (t2, t3) = (t * t, t * t * t);
    let weights =
        [2.0 * t2 - t3 - t, 3.0 * t3 - 5.0 * t2 + 2.0, 4.0 * t2 - 3.0 * t3 + t, t3 - t2].map(|weight| 0.5 * weight);
    let mut sum = 0.0;
    for (i, weight) in (from as isize - 1..).zip(weights) {
        let inside = i.clamp(0, last);
        let mirrored = (2 * inside - i).clamp(0, last);
        let inside = number(inside as usize);
        sum += weight * if mirrored == i { inside } else { 2.0 * inside - number(mirrored as usize) };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surfaces_go_through_their_points_and_planes_are_kept() {
        let plane = |x: f64, y: f64| 0.1 + 0.05 * x + 0.02 * y;
        let heights = (0..48).map(|at| plane(f64::from(at % 8), f64::from(at / 8))).collect();
        let relief = Relief::new(8, 6, heights);
        for (x, y) in [(2.0, 3.0), (2.25, 3.5), (1.9, 1.1), (5.0, 4.0), (0.3, 0.1), (6.8, 4.9)] {
            assert!((relief.at(x, y) - plane(x, y)).abs() < 1e-12, "{x} {y}");
        }
    }

    #[test]
    fn unknown_heights_are_filled_but_remain_unknown() {
        let relief = Relief::new(3, 3, vec![0.2, 0.2, 0.2, 0.2, f64::NAN, 0.2, 0.2, 0.2, f64::INFINITY]);
        assert!(!relief.is_known(1.2, 0.9) && relief.is_known(0.4, 1.0) && !relief.is_known(2.0, 1.6));
        assert!((relief.at(1.0, 1.0) - 0.2).abs() < 1e-12);
        assert_eq!(Relief::new(1, 2, vec![f64::NAN; 2]).at(0.0, 0.5), 0.0);
    }

    #[test]
    fn light_comes_from_the_upper_left() {
        let plain = |_: f64| 1.0;
        // What rises to the right and down faces the light.
        assert!(shade((1.0, 1.0), &plain) > 0.1 && shade((-1.0, -1.0), &plain) < -0.1);
        assert!(shade((1.0, -1.0), &plain).abs() < 0.4 && shade((0.0, 0.0), &plain).abs() < 1e-12);
    }
}

//! Contour lines.

use std::collections::BTreeMap;

use super::figure::Point;

/// An edge of the grid: its lower end and whether it goes on to the next column or row.
type Edge = (usize, usize, bool);

/// The lines where a function of a grid has a height, in columns and rows of the grid. Cells with a corner that is not
/// finite have none. Lines are closed or end at the border or at such cells.
///
/// Marching squares: heights are linear along the edges of cells; a saddle is told by the mean of its corners.
pub fn contours(columns: usize, rows: usize, height: impl Fn(usize, usize) -> f64, level: f64) -> Vec<Vec<Point>> {
    let mut ends: BTreeMap<Edge, Vec<Edge>> = BTreeMap::new();
    for row in 0..rows.saturating_sub(1) {
        for column in 0..columns.saturating_sub(1) {
            let corners = [(0, 0), (1, 0), (1, 1), (0, 1)].map(|(i, j)| height(column + i, row + j));
            if corners.iter().any(|z| !z.is_finite()) {
                continue;
            }
            // Around the cell: the edge after each corner.
            let edges = [(column, row, false), (column + 1, row, true), (column, row + 1, false), (column, row, true)];
            let above = corners.map(|z| z > level);
            let crossed: Vec<usize> = (0..4).filter(|&i| above[i] != above[(i + 1) % 4]).collect();
            let pairs: &[(usize, usize)] = match crossed[..] {
                [a, b] => &[(a, b)],
                [_, _, _, _] => {
                    let middle = corners.iter().sum::<f64>() / 4.0 > level;
                    // The line cuts off the corners that are not as the middle is.
                    if middle == above[0] { &[(0, 1), (2, 3)] } else { &[(3, 0), (1, 2)] }
                }
                _ => &[],
            };
            for &(a, b) in pairs {
                ends.entry(edges[a]).or_default().push(edges[b]);
                ends.entry(edges[b]).or_default().push(edges[a]);
            }
        }
    }
    let place = |(column, row, down): Edge| {
        let next = if down { (column, row + 1) } else { (column + 1, row) };
        let (a, b) = (height(column, row), height(next.0, next.1));
        let t = ((level - a) / (b - a)).clamp(0.0, 1.0);
        let (x, y) = (column as f64, row as f64);
        if down { (x, y + t) } else { (x + t, y) }
    };
    let mut lines = Vec::new();
    // Open lines from their ends first; what is left is closed.
    let starts: Vec<Edge> = ends.iter().filter(|(_, next)| next.len() == 1).map(|(edge, _)| *edge).collect();
    let all: Vec<Edge> = ends.keys().copied().collect();
    for start in starts.into_iter().chain(all) {
        let mut line = vec![place(start)];
        let mut at = start;
        while let Some(next) = ends.get_mut(&at).and_then(Vec::pop) {
            if let Some(back) = ends.get_mut(&next)
                && let Some(i) = back.iter().position(|e| *e == at)
            {
                back.swap_remove(i);
            }
            line.push(place(next));
            at = next;
        }
        if line.len() > 1 {
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(line: &[Point]) -> f64 {
        line.windows(2).map(|ab| f64::hypot(ab[1].0 - ab[0].0, ab[1].1 - ab[0].1)).sum()
    }

    #[test]
    fn a_cone_has_circles() {
        let cone = |i: usize, j: usize| f64::hypot(i as f64 - 20.0, j as f64 - 20.0);
        for radius in [3.3, 10.0, 17.7] {
            let lines = contours(41, 41, cone, radius);
            let [line] = &lines[..] else { panic!("{} lines", lines.len()) };
            assert_eq!(line.first(), line.last());
            assert!((length(line) / (std::f64::consts::TAU * radius) - 1.0).abs() < 0.02);
            assert!(line.iter().all(|p| (f64::hypot(p.0 - 20.0, p.1 - 20.0) - radius).abs() < 0.05));
        }
        assert_eq!(contours(41, 41, cone, 24.0).len(), 4);
        assert!(contours(41, 41, cone, 100.0).is_empty());
    }

    #[test]
    fn a_plane_has_straight_lines_across() {
        let lines = contours(5, 9, |i, j| i as f64 + 2.0 * j as f64, 7.0);
        let [line] = &lines[..] else { panic!("{} lines", lines.len()) };
        assert!(line.iter().all(|p| (p.0 + 2.0 * p.1 - 7.0).abs() < 1e-12));
        assert!((length(line) - 20f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_saddle_is_split_by_its_middle() {
        let saddle = |i: usize, j: usize| if i == j { 1.0 } else { 0.0 };
        for (level, cut_off) in [(0.4, [(1.0, 0.0), (0.0, 1.0)]), (0.6, [(0.0, 0.0), (1.0, 1.0)])] {
            let lines = contours(2, 2, saddle, level);
            assert_eq!(lines.len(), 2);
            // Below the mean the low corners are cut off, above it the high ones, each by a line of its own.
            for (x, y) in cut_off {
                let around = |line: &&Vec<Point>| line.iter().all(|p| (p.0 - x).abs() + (p.1 - y).abs() < 0.4 + 1e-9);
                assert_eq!(lines.iter().filter(around).count(), 1, "{lines:?}");
            }
        }
    }

    #[test]
    fn cells_without_numbers_have_no_lines() {
        let plane = |i: usize, j: usize| if (i, j) == (2, 2) { f64::NAN } else { i as f64 };
        let lines = contours(5, 5, plane, 1.5);
        assert_eq!(lines.len(), 2);
        assert!(contours(0, 0, |_, _| 1.0, 0.0).is_empty() && contours(1, 9, |_, _| 1.0, 0.0).is_empty());
        // Cells whose corners are at the level itself.
        for level in [0.0, 1.0] {
            contours(3, 3, |i, j| (i * j % 2) as f64, level);
        }
    }
}

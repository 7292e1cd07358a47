//! The density of eigenvalues.

use super::{
    axis::{Axis, Scale, number},
    color::{BLUE, FAINT, INK, RED, sheer},
    figure::{Anchor, Figure, Rect},
    font,
    page::{Marker, page},
    panel::{Panel, Pen, TICK, crisp, words},
    quadrature::{Node, Quadrature, Spread},
};

/// The eigenvalue density of a symmetric matrix by stochastic Lanczos quadrature, and its outermost eigenvalues.
///
/// Above stands the mean over the probes of `φ(t) = Σₖ wₖ N(t; θₖ, σ)` on a logarithmic axis over a symmetric logarithmic
/// one, below the cumulative density, which is not smoothed; bands reach from the least probe to the greatest. Nodes that
/// are not finite, weights that are not positive, and probes without any other are left out.
#[derive(Debug, Clone, Copy)]
pub struct Density<'a> {
    /// What stands above.
    pub title: &'a str,
    /// Rows of the matrix: a single eigenvalue has the weight `1/dimension`, which decides how far down the density is
    /// drawn.
    pub dimension: usize,
    /// By probe, the nodes and their weights. Weights are divided by their sum.
    pub probes: &'a [Vec<(f64, f64)>],
    /// The width of the normal density around a node, as an eigenvalue. By default it is a width along the drawn axis:
    /// the axis's range by `(m - 1) √(8 ln 1.5)` for `m` nodes to a probe, which is Papyan's choice (2019) with somewhat
    /// more overlap, or, of a node that stands for many eigenvalues, 0.6 of the distance to the next one, if that is more.
    pub sigma: Option<f64>,
    /// The largest eigenvalues, with residuals.
    pub top: &'a [(f64, f64)],
    /// The smallest eigenvalues, with residuals.
    pub bottom: &'a [(f64, f64)],
    /// What stands below, as in `trace 638 ± 12`.
    pub notes: &'a [String],
}

impl Density<'_> {
    /// Draws the density.
    pub fn figure(&self) -> Figure {
        let outer = || self.top.iter().chain(self.bottom).copied().filter(|(t, _)| t.abs() < 1e150);
        let quadrature =
            Quadrature::new(self.probes, self.dimension, self.sigma, &outer().map(|t| t.0).collect::<Vec<_>>());
        let (mut figure, room) = page((900, 560), self.title, &self.key(&quadrature), self.notes);

        let width = quadrature.width;
        let nodes = quadrature.nodes().chain(outer().map(|t| Node { at: t.0, weight: 0.0, width }));
        let wide = nodes.flat_map(|n| [-5.0, 5.0].map(|z| quadrature.beside(n, z)));
        let x = Axis::of(quadrature.scale, wide, 0.01, "eigenvalue");
        let places = quadrature.places(&x);
        let curve = quadrature.density(&places);
        let least = self.floor(&quadrature, &curve);
        let most = curve.iter().map(|c| c.mean).fold(0.0, f64::max);
        let density = Axis::new(Scale::Log, least, 3.0 * most, "density");
        let share = Axis::new(Scale::Linear, 0.0, 1.0, "cumulative");

        // A strip for the labels of eigenvalues, the density, a gap, the cumulative density.
        let strip = if outer().next().is_some() { 1.5 * TICK } else { 0.0 };
        let middle = room.top + strip + 0.68 * (room.height() - strip);
        let above = Rect { top: room.top + strip, bottom: middle - 16.0, ..room };
        let below = Rect { top: middle, ..room };
        let bare = Axis { name: String::new(), ..x.clone() };
        let margin = f64::max(
            Panel::within(above, bare.clone(), density.clone(), 0.0, false).margin(),
            Panel::within(below, x.clone(), share.clone(), 0.0, true).margin(),
        );
        let above = Panel::within(above, bare, density, margin, false);
        let below = Panel::within(below, x, share, margin, true);

        above.grid(&mut figure);
        let floor = above.y.lo;
        let floored = |c: &Spread| {
            let (least, most) = (c.least.max(floor), c.most.max(floor));
            Spread { mean: c.mean.max(0.2 * floor), least, most, ..*c }
        };
        let raised: Vec<Spread> = curve.iter().map(floored).collect();
        let under: Vec<_> = raised.iter().map(|c| (c.at, c.mean, floor)).collect();
        above.band(&mut figure, &under, sheer(BLUE, 0.14));
        above.band(&mut figure, &raised.iter().map(|c| (c.at, c.least, c.most)).collect::<Vec<_>>(), sheer(BLUE, 0.26));
        above.line(&mut figure, raised.iter().map(|c| (c.at, c.mean)), Pen::new(BLUE, 1.6));
        self.rug(&mut figure, &above);
        above.frame(&mut figure, false);

        below.grid(&mut figure);
        if !quadrature.probes.is_empty() {
            let steps = quadrature.cumulative(&below.x);
            below.band(
                &mut figure,
                &steps.iter().map(|c| (c.at, c.least, c.most)).collect::<Vec<_>>(),
                sheer(BLUE, 0.26),
            );
            below.line(&mut figure, steps.iter().map(|c| (c.at, c.mean)), Pen::new(BLUE, 1.6));
            let (least, most) = quadrature.negative();
            let at = (below.rect.left + 10.0, below.rect.top + 1.5 * TICK);
            let text = format!("{:.1} to {:.1} % below 0", 100.0 * least, 100.0 * most);
            if quadrature.nodes().any(|n| n.at < 0.0) {
                figure.text(words(at, Anchor::Start, TICK, INK, &text));
            }
        }
        below.frame(&mut figure, true);
        figure
    }

    fn key(&self, quadrature: &Quadrature) -> Vec<(Marker, String)> {
        let mut key = Vec::new();
        let probes = quadrature.probes.len();
        if probes > 0 {
            let nodes = quadrature.probes.iter().map(Vec::len).max().unwrap_or(0);
            let probe = if probes == 1 { "1 probe".into() } else { format!("mean of {probes} probes") };
            let nodes = if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") };
            key.push((Marker::Line(Pen::new(BLUE, 1.6)), format!("{probe} with {nodes}")));
        }
        if probes > 1 {
            key.push((Marker::Band(sheer(BLUE, 0.3)), "range over the probes".into()));
        }
        let (top, bottom) = (self.top.len(), self.bottom.len());
        if top + bottom > 0 {
            let residual = self.top.iter().chain(self.bottom).map(|t| t.1).fold(0.0, f64::max);
            let which = match (top, bottom) {
                (_, 0) => format!("{top} largest eigenvalues"),
                (0, _) => format!("{bottom} smallest eigenvalues"),
                _ => format!("{top} largest and {bottom} smallest eigenvalues"),
            };
            key.push((Marker::Tick(RED), format!("{which}, residuals ≤ {}", number(round_up(residual)))));
        }
        key
    }

    /// How far down the density is drawn: to a tenth of the peak of a single eigenvalue at the outer end.
    fn floor(&self, quadrature: &Quadrature, curve: &[Spread]) -> f64 {
        let peak = curve.iter().map(|c| c.mean).fold(0.0, f64::max);
        let ends = curve.first().into_iter().chain(curve.last()).map(|c| c.at);
        let alone = |at| quadrature.kernel(at, Node { at, weight: 1.0, width: quadrature.width });
        let single = ends.map(alone).fold(f64::INFINITY, f64::min);
        (0.1 * single / self.dimension.max(1) as f64).clamp(1e-14 * peak, 1e-3 * peak)
    }

    /// The outer eigenvalues as ticks along the upper edge, the outermost with labels.
    fn rug(&self, figure: &mut Figure, panel: &Panel) {
        let Rect { top, bottom, .. } = panel.rect;
        let mut taken: Vec<Rect> = Vec::new();
        // The greatest first, then the least, so that these have the room for labels.
        let mut values: Vec<(f64, bool)> = self.top.iter().map(|t| (t.0, true)).collect();
        values.extend(self.bottom.iter().map(|t| (t.0, false)));
        values.retain(|(t, _)| panel.x.holds(*t));
        values.sort_by(|a, b| b.1.cmp(&a.1).then(if a.1 { b.0.total_cmp(&a.0) } else { a.0.total_cmp(&b.0) }));
        for (i, &(t, is_top)) in values.iter().enumerate() {
            let x = crisp(panel.px(t));
            figure.line(vec![(x, top), (x, top + 9.0)], RED, 1.4);
            let name = match (i, is_top) {
                (0, true) => format!("λ₁ = {}", number(t)),
                _ => number(t),
            };
            // Within the paper, beside the tick if need be.
            let half = 0.53 * font::width(&name, TICK);
            let at = x.clamp(panel.rect.left - 30.0 + half, panel.rect.right + 14.0 - half);
            let label = words((at, top - 5.0), Anchor::Middle, TICK, RED, &name);
            let bounds = label.bounds();
            let roomy = Rect { left: bounds.left - 4.0, right: bounds.right + 4.0, ..bounds };
            if !taken.iter().any(|other| other.overlaps(&roomy)) {
                taken.push(bounds);
                figure.line(vec![(x, top + 9.0), (x, bottom)], sheer(FAINT, 0.35), 1.0);
                figure.text(label);
            }
        }
    }
}

/// The least number of two digits that is not less.
fn round_up(x: f64) -> f64 {
    if !(x > 0.0 && x.is_finite()) {
        return x;
    }
    let unit = 10f64.powf(x.log10().floor() - 1.0);
    (x / unit - 1e-9).ceil() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residuals_are_rounded_up() {
        for (x, y) in [(0.00131, 0.0014), (2e-3, 2e-3), (99.2, 100.0), (0.0, 0.0)] {
            assert!((round_up(x) - y).abs() < 1e-9, "{x}");
        }
    }
}

//! Stochastic Lanczos quadrature: nodes and weights, smoothed and summed up.

use std::f64::consts::TAU;

use super::axis::{Axis, Scale};

/// What is drawn at a place: mean, least and greatest over the probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub at: f64,
    pub mean: f64,
    pub least: f64,
    pub most: f64,
}

/// A node of a probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Node {
    pub at: f64,
    pub weight: f64,
    /// Of the normal density around it, along the axis or as an eigenvalue.
    pub width: f64,
}

/// The nodes and how they are smoothed.
pub struct Quadrature {
    pub probes: Vec<Vec<Node>>,
    pub scale: Scale,
    /// The width of a single eigenvalue.
    pub width: f64,
    along_axis: bool,
}

impl Quadrature {
    /// The quadrature of a matrix of so many rows, drawn on an axis that is to hold the eigenvalues `outer` too.
    pub fn new(probes: &[Vec<(f64, f64)>], dimension: usize, sigma: Option<f64>, outer: &[f64]) -> Self {
        let probes: Vec<_> = probes.iter().filter_map(|probe| normalized(probe)).collect();
        let nodes = || probes.iter().flatten().map(|n| n.0).chain(outer.iter().copied());
        let most = nodes().fold(0.0, |most: f64, t| most.max(t.abs()));
        let scale = Scale::Symlog { knee: knee(&probes, most) };
        let places = || nodes().map(|t| scale.forward(t));
        let range = places().fold(f64::NEG_INFINITY, f64::max) - places().fold(f64::INFINITY, f64::min);
        let count = probes.iter().map(Vec::len).max().unwrap_or(0).max(2);
        let default = range / ((count - 1) as f64 * (8.0 * 1.5f64.ln()).sqrt());
        let (width, along_axis) = match sigma {
            Some(sigma) if sigma.is_finite() && sigma > 0.0 => (sigma.max(1e-12 * most), false),
            _ => (if default.is_finite() && default > 1e-9 { default } else { 0.05 }, true),
        };
        let single = 10.0 / dimension.max(1) as f64;
        let node = |probe: &[(f64, f64)], i: usize| {
            let (at, weight) = probe[i];
            let apart = |j: usize| probe.get(j).map_or(0.0, |n| (scale.forward(n.0) - scale.forward(at)).abs());
            let next = match (apart(i.wrapping_sub(1)), apart(i + 1)) {
                (a, b) if a.min(b) > 0.0 => a.min(b),
                (a, b) => a.max(b),
            };
            let spread = if along_axis && weight > single { 0.6 * next } else { 0.0 };
            Node { at, weight, width: spread.max(width) }
        };
        let probes = probes.iter().map(|probe| (0..probe.len()).map(|i| node(probe, i)).collect()).collect();
        Quadrature { probes, scale, width, along_axis }
    }

    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        self.probes.iter().flatten().copied()
    }

    /// The normal density around a node.
    pub fn kernel(&self, t: f64, node: Node) -> f64 {
        let (z, slope) = match self.along_axis {
            true => ((self.scale.forward(t) - self.scale.forward(node.at)) / node.width, self.scale.slope(t)),
            false => ((t - node.at) / node.width, 1.0),
        };
        if z.abs() > 8.0 { 0.0 } else { slope * (-0.5 * z * z).exp() / (node.width * TAU.sqrt()) }
    }

    /// The place `z` widths from a node.
    pub fn beside(&self, node: Node, z: f64) -> f64 {
        match self.along_axis {
            true => self.scale.inverse(self.scale.forward(node.at) + z * node.width),
            false => node.at + z * node.width,
        }
    }

    /// Where the density is drawn: evenly along the axis, and closely about nodes that may be narrower than that.
    pub fn places(&self, axis: &Axis) -> Vec<f64> {
        let even = (0..=800).map(|i| axis.at(f64::from(i) / 800.0));
        let near = |node| (-15..=15).map(move |i| self.beside(node, 0.4 * f64::from(i)));
        let nodes = self.nodes().filter(|_| !self.along_axis);
        let mut places: Vec<f64> = even.chain(nodes.flat_map(near)).filter(|&t| axis.holds(t)).collect();
        places.sort_by(f64::total_cmp);
        places
    }

    pub fn density(&self, places: &[f64]) -> Vec<Spread> {
        let of = |t: f64| {
            let each = self.probes.iter().map(move |probe| probe.iter().map(|n| n.weight * self.kernel(t, *n)).sum());
            spread(t, each)
        };
        places.iter().map(|&t| of(t)).collect()
    }

    /// The share of eigenvalues up to each node, just before and just behind it.
    pub fn cumulative(&self, axis: &Axis) -> Vec<Spread> {
        let mut at: Vec<f64> = self.nodes().map(|n| n.at).collect();
        at.sort_by(f64::total_cmp);
        at.dedup_by(|b, a| axis.share(*b) - axis.share(*a) < 2.5e-4);
        let up_to = |t: f64, last: f64| {
            let each =
                self.probes.iter().map(move |probe| probe.iter().filter(|n| n.at <= last).map(|n| n.weight).sum());
            spread(t, each)
        };
        let mut steps = vec![up_to(axis.lo, f64::NEG_INFINITY)];
        for (i, &t) in at.iter().enumerate() {
            steps.push(Spread { at: t, ..steps[steps.len() - 1] });
            // Nodes that are drawn at one place are one step.
            let last = at.get(i + 1).map_or(f64::INFINITY, |next| next.next_down());
            steps.push(up_to(t, last));
        }
        steps.push(Spread { at: axis.hi, ..steps[steps.len() - 1] });
        steps
    }

    /// Between which shares of the eigenvalues are below 0, in the mean over the probes. By the inequalities of Chebyshev,
    /// Markov and Stieltjes the weights up to a node, with and without its own, bound the share up to it, so that a
    /// place between two nodes is certain but for the weights of both.
    pub fn negative(&self) -> (f64, f64) {
        let bounds = self.probes.iter().map(|probe| {
            let below = probe.partition_point(|n| n.at < 0.0);
            let sum = |nodes: &[Node]| nodes.iter().map(|n| n.weight).sum::<f64>();
            (sum(&probe[..below.saturating_sub(1)]), sum(&probe[..probe.len().min(below + 1)]))
        });
        let n = self.probes.len() as f64;
        bounds.fold((0.0, 0.0), |mean, b| (mean.0 + b.0 / n, mean.1 + b.1 / n))
    }
}

fn spread(at: f64, each: impl Iterator<Item = f64>) -> Spread {
    let (mut n, mut sum, mut least, mut most) = (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for v in each {
        (n, sum, least, most) = (n + 1.0, sum + v, v.min(least), v.max(most));
    }
    Spread { at, mean: sum / n, least, most }
}

/// A probe without what is no node, in order, its weights divided by their sum.
fn normalized(probe: &[(f64, f64)]) -> Option<Vec<(f64, f64)>> {
    let mut nodes: Vec<_> = probe.iter().copied().filter(|(t, w)| t.abs() < 1e150 && *w > 0.0 && *w < 1e150).collect();
    nodes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let sum: f64 = nodes.iter().map(|n| n.1).sum();
    (sum > 0.0).then(|| nodes.iter().map(|(t, w)| (*t, w / sum)).collect())
}

/// Where the axis turns logarithmic: at the size that half of the eigenvalues do not reach, within four decades of the
/// greatest and at least one below.
fn knee(probes: &[Vec<(f64, f64)>], most: f64) -> f64 {
    let mut sizes: Vec<(f64, f64)> = probes.iter().flatten().map(|(t, w)| (t.abs(), *w)).collect();
    sizes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut left = 0.5 * probes.len() as f64;
    let half = sizes.iter().find(|(_, w)| {
        left -= w;
        left <= 0.0
    });
    let most = if most > 0.0 { most } else { 1.0 };
    half.map_or(0.0, |h| h.0).clamp(1e-4 * most, 0.1 * most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The integral of the drawn mean over the drawn range.
    fn integral(probes: &[Vec<(f64, f64)>], sigma: Option<f64>) -> f64 {
        let quadrature = Quadrature::new(probes, 1000, sigma, &[]);
        let wide = quadrature.nodes().flat_map(|n| [-5.0, 5.0].map(|z| quadrature.beside(n, z)));
        let axis = Axis::of(quadrature.scale, wide, 0.01, "");
        let curve = quadrature.density(&quadrature.places(&axis));
        let u = |t: f64| quadrature.scale.forward(t);
        let per_u = |c: &Spread| c.mean / quadrature.scale.slope(c.at);
        curve.windows(2).map(|ab| 0.5 * (per_u(&ab[0]) + per_u(&ab[1])) * (u(ab[1].at) - u(ab[0].at))).sum()
    }

    #[test]
    fn smoothed_quadrature_has_the_integral_one() {
        let one = vec![(-0.5, 0.1), (0.0, 0.6), (0.02, 0.2), (3.0, 0.09), (150.0, 0.01)];
        let two = vec![(-0.4, 0.3), (0.01, 1.5), (148.0, 0.2)];
        for sigma in [None, Some(0.5), Some(0.01), Some(1e-4), Some(30.0)] {
            for probes in
                [vec![one.clone()], vec![one.clone(), two.clone()], vec![vec![(7.0, 1.0)]], vec![vec![(0.0, 3.0)]]]
            {
                let sum = integral(&probes, sigma);
                assert!((sum - 1.0).abs() < 2e-3, "{sigma:?} {probes:?}: {sum}");
            }
        }
    }

    #[test]
    fn cumulative_density_climbs_from_zero_to_one() {
        let probes = [vec![(-1.0, 0.25), (0.0, 0.5), (9.0, 0.25)], vec![(-2.0, 1.0), (8.0, 1.0)]];
        let quadrature = Quadrature::new(&probes, 1000, None, &[]);
        let axis = Axis::new(quadrature.scale, -3.0, 10.0, "");
        let steps = quadrature.cumulative(&axis);
        assert!(steps.windows(2).all(|ab| ab[0].at <= ab[1].at && ab[0].mean <= ab[1].mean));
        let end = Spread { at: 10.0, mean: 1.0, least: 1.0, most: 1.0 };
        assert_eq!((steps[0].mean, steps[steps.len() - 1]), (0.0, end));
        let (least, most) = quadrature.negative();
        assert!((least - 0.0).abs() < 1e-12 && (most - 0.875).abs() < 1e-12);
    }
}

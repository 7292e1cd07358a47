//! Axes: from values to positions, and which ticks are labelled.

use std::f64::consts::LN_10;

/// How numbers are spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    Linear,
    /// Common logarithm; what is not positive is infinitely far down.
    Log,
    /// `asinh(x / knee) / ln 10`: linear near 0, logarithmic outside, smooth all over. A decade is one unit beyond the knee.
    Symlog {
        knee: f64,
    },
}

impl Scale {
    pub fn forward(self, x: f64) -> f64 {
        match self {
            Scale::Linear => x,
            Scale::Log if x.is_nan() => f64::NAN,
            Scale::Log => x.max(0.0).log10(),
            Scale::Symlog { knee } => (x / knee).asinh() / LN_10,
        }
    }

    pub fn inverse(self, u: f64) -> f64 {
        match self {
            Scale::Linear => u,
            Scale::Log => 10f64.powf(u),
            Scale::Symlog { knee } => knee * (u * LN_10).sinh(),
        }
    }

    /// The derivative of [`Scale::forward`].
    pub fn slope(self, x: f64) -> f64 {
        match self {
            Scale::Linear => 1.0,
            Scale::Log => 1.0 / (x * LN_10),
            Scale::Symlog { knee } => 1.0 / (x.hypot(knee) * LN_10),
        }
    }
}

/// A range of numbers along a side of a panel.
#[derive(Debug, Clone)]
pub struct Axis {
    pub scale: Scale,
    pub lo: f64,
    pub hi: f64,
    pub name: String,
    /// Ticks only at whole numbers.
    pub whole: bool,
}

/// A number that is marked on an axis, with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub label: String,
}

/// No number beyond this is drawn, so that sums and ratios of drawn numbers are finite.
const MOST: f64 = 1e150;

impl Axis {
    /// An axis from `lo` to `hi`, made wider where they are too close to tell apart.
    pub fn new(scale: Scale, lo: f64, hi: f64, name: &str) -> Self {
        let (mut lo, mut hi) = match (lo.is_finite(), hi.is_finite()) {
            (true, true) => (lo.min(hi).clamp(-MOST, MOST), hi.max(lo).clamp(-MOST, MOST)),
            _ if scale == Scale::Log => (0.1, 1.0),
            _ => (0.0, 1.0),
        };
        match scale {
            Scale::Log => {
                hi = if hi > 0.0 { hi.max(1.0 / MOST) } else { 1.0 };
                lo = if lo > 0.0 { lo.max(1.0 / MOST) } else { hi / 10.0 };
                if hi / lo < 1.2 {
                    (lo, hi) = (lo / 1.5, hi * 1.5);
                }
            }
            _ => {
                let size = lo.abs().max(hi.abs());
                if hi - lo <= 1e-9 * size || hi == lo {
                    let half = if size > 1.0 / MOST { 0.1 * size } else { 1.0 };
                    (lo, hi) = (lo - half, hi + half);
                }
            }
        }
        Axis { scale, lo, hi, name: name.into(), whole: false }
    }

    /// An axis of the finite numbers among `values`, with a share of its length as room on both sides.
    pub fn of(scale: Scale, values: impl IntoIterator<Item = f64>, room: f64, name: &str) -> Self {
        let drawn = values.into_iter().filter(|v| v.is_finite() && (scale != Scale::Log || *v > 0.0));
        let (lo, hi) = drawn.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (v.min(lo), v.max(hi)));
        let bare = Axis::new(scale, lo, hi, name);
        let (a, b) = (scale.forward(bare.lo), scale.forward(bare.hi));
        let room = room * (b - a);
        Axis::new(scale, scale.inverse(a - room), scale.inverse(b + room), name)
    }

    /// The same axis with ticks only at whole numbers.
    pub fn whole(self) -> Self {
        Axis { whole: true, ..self }
    }

    /// Where a number lies, from 0 at `lo` to 1 at `hi`.
    pub fn share(&self, x: f64) -> f64 {
        let (a, b) = (self.scale.forward(self.lo), self.scale.forward(self.hi));
        (self.scale.forward(x) - a) / (b - a)
    }

    /// The number at a share of the axis.
    pub fn at(&self, share: f64) -> f64 {
        let (a, b) = (self.scale.forward(self.lo), self.scale.forward(self.hi));
        self.scale.inverse(a + share * (b - a))
    }

    pub fn holds(&self, x: f64) -> bool {
        (-1e-9..=1.0 + 1e-9).contains(&self.share(x))
    }

    /// The labelled ticks, so that `fits` for every two neighbours and, of a scale of powers, at even distances.
    pub fn ticks(&self, most: usize, fits: impl Fn(&Tick, &Tick) -> bool) -> Vec<Tick> {
        let all_fit = |ticks: &[Tick]| ticks.windows(2).all(|ab| fits(&ab[0], &ab[1]));
        if self.scale != Scale::Linear {
            let decades = self.decades(1, &[1.0]).len();
            // With few powers of ten the numbers between them have labels too.
            let mantissas: &[&[f64]] = &[&[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
            let skip = if decades > 3 { 2 } else { 0 };
            for steps in mantissas.iter().skip(skip) {
                let ticks = labelled(self.decades(1, steps));
                if ticks.len() > 2 && ticks.len() <= most.max(3) && all_fit(&ticks) {
                    return ticks;
                }
            }
            for stride in 2..320 {
                let ticks = labelled(self.decades(stride, &[1.0]));
                if ticks.len() > 2 && ticks.len() <= most.max(3) && all_fit(&ticks) {
                    return ticks;
                }
            }
        }
        for count in (1..=most.max(2)).rev() {
            let ticks = self.even(count);
            if all_fit(&ticks) {
                return ticks;
            }
        }
        Vec::new()
    }

    /// The unlabelled ticks between those of powers of ten.
    pub fn minor(&self) -> Vec<f64> {
        let decades = self.decades(1, &[1.0]).len();
        match self.scale {
            Scale::Linear => Vec::new(),
            _ if decades > 7 => self.decades(1, &[1.0]),
            _ => self.decades(1, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
        }
    }

    /// The numbers `±m · 10^k` on the axis, well beyond the knee, and 0, in order, for the `k` divisible by `stride`.
    fn decades(&self, stride: i32, mantissas: &[f64]) -> Vec<f64> {
        let least = match self.scale {
            Scale::Symlog { knee } => 2.0 * knee,
            _ => self.lo,
        };
        let most = self.lo.abs().max(self.hi.abs());
        let (from, to) = (least.max(1.0 / MOST).log10().floor() as i32, most.max(1.0 / MOST).log10().ceil() as i32);
        let powers = (from..=to).filter(|k| k % stride == 0);
        let sizes: Vec<f64> = powers
            .flat_map(|k| mantissas.iter().map(move |m| m * 10f64.powi(k)))
            .filter(|&v| v >= least * (1.0 - 1e-9))
            .collect();
        let below = sizes.iter().rev().map(|v| -v);
        below.chain([0.0]).chain(sizes.iter().copied()).filter(|&v| self.holds(v)).collect()
    }

    /// About `count` multiples of 1, 2 or 5 times a power of ten.
    fn even(&self, count: usize) -> Vec<Tick> {
        let step = step((self.hi - self.lo) / count as f64).max(if self.whole { 1.0 } else { 0.0 });
        let (from, to) = ((self.lo / step - 1e-6).ceil() as i64, (self.hi / step + 1e-6).floor() as i64);
        let at: Vec<f64> = (from..=to).map(|i| i as f64 * step).collect();
        let most = self.lo.abs().max(self.hi.abs());
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        let label = |v: f64| match v {
            0.0 => "0".into(),
            _ if (1e-3..1e5).contains(&most) => minus(format!("{v:.decimals$}")),
            _ => number(v),
        };
        at.into_iter().map(|v| Tick { at: v, label: label(v) }).collect()
    }
}

/// The least of 1, 2, 5 times a power of ten that is not less than `x`.
pub fn step(x: f64) -> f64 {
    let x = if x.is_finite() && x > 0.0 { x.clamp(1.0 / MOST, MOST) } else { 1.0 };
    let power = 10f64.powi(x.log10().floor() as i32);
    let steps = [1.0, 2.0, 5.0, 10.0].map(|m| m * power);
    steps.into_iter().find(|s| *s >= x * (1.0 - 1e-9)).unwrap_or(steps[3])
}

/// Ticks at numbers `±m · 10^k`, with labels that are all plain or all powers of ten.
pub fn labelled(at: Vec<f64>) -> Vec<Tick> {
    let sizes = || at.iter().map(|v| v.abs()).filter(|&v| v > 0.0);
    let is_power = |v: f64| (v.log10() - v.log10().round()).abs() < 1e-6;
    // Powers of ten are short; other numbers are plain as long as can be.
    let least = if sizes().all(is_power) { 9e-3 } else { 9e-5 };
    let plain = sizes().all(|v| (least..1.1e4).contains(&v));
    let label = |v: f64| match v.abs() < 1e-3 && plain && v != 0.0 {
        true => minus(format!("{v:.5}").trim_end_matches('0').into()),
        false if plain => number(v),
        false => power(v),
    };
    at.into_iter().map(|at| Tick { at, label: label(at) }).collect()
}

fn minus(text: String) -> String {
    text.replace('-', "−")
}

fn raised(k: i32) -> String {
    let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raise = |c: char| c.to_digit(10).map_or('⁻', |d| digits[d as usize]);
    k.to_string().chars().map(raise).collect()
}

/// A number `±m · 10^k` with its power of ten, as in −10⁻³ or 2×10⁵.
fn power(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return number(v);
    }
    let mut k = v.abs().log10().floor() as i32;
    let mut m = v.abs() / 10f64.powi(k);
    if m > 9.9995 {
        (m, k) = (1.0, k + 1);
    }
    let sign = if v < 0.0 { "−" } else { "" };
    let m = number(m);
    match (m.as_str(), k) {
        ("1", 0) => format!("{sign}1"),
        ("1", 1) => format!("{sign}10"),
        ("1", _) => format!("{sign}10{}", raised(k)),
        (_, 0) => format!("{sign}{m}"),
        _ => format!("{sign}{m}×10{}", raised(k)),
    }
}

/// A number for people, in four digits.
pub fn number(v: f64) -> String {
    let size = v.abs();
    match v {
        0.0 => "0".into(),
        _ if v.is_nan() => "not a number".into(),
        _ if v.is_infinite() => if v > 0.0 { "∞" } else { "−∞" }.into(),
        _ if !(1e-3..99_995.0).contains(&size) => power(v),
        _ => {
            let decimals = (3.0 - size.log10().floor()).clamp(0.0, 6.0) as usize;
            let text = format!("{v:.decimals$}");
            let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            minus(text.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMLOG: Scale = Scale::Symlog { knee: 0.01 };

    #[test]
    fn symlog_is_linear_near_zero_and_logarithmic_outside() {
        let u = |x| SYMLOG.forward(x);
        assert_eq!(u(0.0), 0.0);
        assert!((u(1e-4) / u(5e-5) - 2.0).abs() < 1e-4);
        assert!((u(1000.0) - u(100.0) - 1.0).abs() < 1e-8);
        for x in [-300.0, -0.02, -1e-9, 0.0, 3e-3, 0.5, 1e12] {
            assert!((SYMLOG.inverse(u(x)) - x).abs() <= 1e-12 * x.abs(), "{x}");
            assert_eq!(u(-x), -u(x));
            let h = 1e-6 * f64::max(x.abs(), 0.01);
            let difference = (u(x + h) - u(x - h)) / (2.0 * h);
            assert!((difference / SYMLOG.slope(x) - 1.0).abs() < 1e-7, "{x}");
        }
    }

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        let labels = |axis: Axis| axis.ticks(12, |_, _| true).into_iter().map(|t| t.label).collect::<Vec<_>>();
        assert_eq!(labels(Axis::new(SYMLOG, -2.0, 150.0, "")), ["−1", "−0.1", "0", "0.1", "1", "10", "100"]);
        assert_eq!(labels(Axis::new(Scale::Log, 0.8, 30.0, "")), ["1", "2", "5", "10", "20"]);
        assert_eq!(labels(Axis::new(Scale::Log, 5e-9, 3.0, "")).last().map(String::as_str), Some("1"));
        assert_eq!(labels(Axis::new(Scale::Log, 5e-5, 3.0, ""))[0], "10⁻⁴");
        assert_eq!(labels(Axis::new(Scale::Log, 2e-4, 0.02, ""))[..3], ["0.0002", "0.0005", "0.001"]);
        let even = labels(Axis::new(Scale::Linear, -1.0, 1.0, ""));
        assert_eq!((even[0].as_str(), even.len()), ("−1.0", 11));
        assert_eq!(Axis::new(Scale::Linear, 0.0, 1.0, "").ticks(3, |_, _| true).len(), 3);
        assert!(Axis::new(Scale::Linear, 0.0, 1.0, "").ticks(9, |_, _| false).len() < 2);
    }

    #[test]
    fn axes_of_any_numbers_have_a_length() {
        let odd = [f64::NAN, f64::NEG_INFINITY, f64::MAX, f64::MIN, 0.0, -0.0, 5e-324, 1.0, 1.0 + 1e-16, -3.0];
        for (lo, hi) in odd.iter().flat_map(|a| odd.iter().map(move |b| (*a, *b))) {
            for scale in [Scale::Linear, Scale::Log, SYMLOG] {
                let axis = Axis::new(scale, lo, hi, "");
                assert!(axis.lo < axis.hi && axis.share(axis.hi) == 1.0, "{scale:?} {lo} {hi}: {axis:?}");
                assert!(axis.ticks(8, |_, _| true).len() < 20, "{axis:?}");
                assert!(!Axis::of(scale, [lo, hi], 0.1, "").share(0.5).is_nan());
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [(0.0, "0"), (195.59, "195.6"), (-0.5, "−0.5"), (2e5, "2×10⁵"), (1e-4, "10⁻⁴"), (-1e6, "−10⁶")];
        for (v, text) in numbers {
            assert_eq!(number(v), text);
        }
        assert_eq!((number(99_999.0), number(12_000.0)), ("10⁵".into(), "12000".into()));
        assert_eq!([0.3, 7.0, 1.0, f64::NAN].map(step), [0.5, 10.0, 1.0, 1.0]);
    }
}

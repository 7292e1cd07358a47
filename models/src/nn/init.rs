//! Initializers of parameters.

use hillshade_engine::{philox, shape::count};

/// An initializer. Fans are those of a dense weight `[in, out]` or a convolution's `[kh, kw, ci, co]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// All of one value.
    Constant(f64),
    /// Normal with this standard deviation.
    Normal {
        /// The standard deviation.
        std: f64,
    },
    /// Normal with variance `gain²/fan_in` (LeCun et al. 1998); σ_w of mean-field theory (Poole et al. 2016).
    Scaled {
        /// The gain.
        gain: f64,
    },
    /// Normal with variance `2/fan_in` (He et al. 2015): keeps the variance through ReLU layers.
    KaimingNormal,
    /// Normal with variance `2/fan_out`: keeps the variance of gradients.
    KaimingNormalOut,
    /// Uniform in `±√(6/fan_in)`, of the same variance.
    KaimingUniform,
    /// Normal with variance `2/(fan_in + fan_out)` (Glorot and Bengio 2010).
    XavierNormal,
    /// Uniform in `±√(6/(fan_in + fan_out))`, of the same variance.
    XavierUniform,
    /// Uniform in `±1/√fan_in`, PyTorch's default for biases and dense layers; the fan is given.
    Uniform {
        /// Fan-in of the layer.
        fan_in: usize,
    },
    /// `gain` times orthonormal columns, or rows where there are fewer of them (Saxe et al. 2014).
    Orthogonal {
        /// The gain.
        gain: f64,
    },
}

impl Init {
    /// Draws a parameter. The numbers depend on seed, name and shape alone.
    pub fn draw(self, shape: &[usize], seed: u64, name: &str) -> Vec<f32> {
        let n = count(shape);
        let outs = shape.last().copied().unwrap_or(1);
        let [fan_in, fan_out] = fans(shape);
        let draw = Draw { seed, name: fnv(name) };
        let normal = |variance: f64| (0..n).map(|i| (variance.sqrt() * draw.normal(i)) as f32).collect();
        let uniform = |bound: f64| (0..n).map(|i| (bound * (2.0 * draw.unit(i, 0) - 1.0)) as f32).collect();
        match self {
            Init::Zeros => vec![0.0; n],
            Init::Ones => vec![1.0; n],
            Init::Constant(value) => vec![value as f32; n],
            Init::Normal { std } => normal(std * std),
            Init::Scaled { gain } => normal(gain * gain / fan_in),
            Init::KaimingNormal => normal(2.0 / fan_in),
            Init::KaimingNormalOut => normal(2.0 / fan_out),
            Init::KaimingUniform => uniform((6.0 / fan_in).sqrt()),
            Init::XavierNormal => normal(2.0 / (fan_in + fan_out)),
            Init::XavierUniform => uniform((6.0 / (fan_in + fan_out)).sqrt()),
            Init::Uniform { fan_in } => uniform(1.0 / (fan_in.max(1) as f64).sqrt()),
            Init::Orthogonal { gain } => orthogonal(n / outs.max(1), outs, gain, |i| draw.normal(i)),
        }
    }

    /// The root of the mean square length of a filter, of which the last axis of `shape` counts the outputs.
    pub(crate) fn length(self, shape: &[usize]) -> f64 {
        let [fan_in, fan_out] = fans(shape);
        let square = match self {
            Init::Zeros => 0.0,
            Init::Ones => fan_in,
            Init::Constant(value) => fan_in * value * value,
            Init::Normal { std } => fan_in * std * std,
            Init::Scaled { gain } => gain * gain,
            Init::KaimingNormal | Init::KaimingUniform => 2.0,
            Init::KaimingNormalOut => 2.0 * fan_in / fan_out,
            Init::XavierNormal | Init::XavierUniform => 2.0 * fan_in / (fan_in + fan_out),
            Init::Uniform { fan_in: given } => fan_in / (3.0 * given.max(1) as f64),
            Init::Orthogonal { gain } => {
                gain * gain * (fan_in / shape.last().map_or(1.0, |&outs| outs as f64)).min(1.0)
            }
        };
        square.sqrt()
    }
}

/// Values that lead to an output, and outputs to which a value leads.
fn fans(shape: &[usize]) -> [f64; 2] {
    let outs = shape.last().copied().unwrap_or(1).max(1);
    let receptive: usize = shape.iter().rev().skip(2).product();
    [(count(shape) / outs).max(1) as f64, (outs * receptive) as f64]
}

struct Draw {
    seed: u64,
    name: u32,
}

impl Draw {
    /// Uniform in (0, 1), of 32 random bits.
    fn unit(&self, i: usize, word: usize) -> f64 {
        const PURPOSE: u32 = u32::from_be_bytes(*b"init");
        let words = philox([i as u32, self.name, 0, PURPOSE], [self.seed as u32, (self.seed >> 32) as u32]);
        (f64::from(words[word]) + 0.5) / 4_294_967_296.0
    }

    /// Standard normal (Box and Muller 1958).
    fn normal(&self, i: usize) -> f64 {
        (-2.0 * self.unit(i, 0).ln()).sqrt() * (std::f64::consts::TAU * self.unit(i, 1)).cos()
    }
}

/// FNV-1a, 32 bits.
fn fnv(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// `gain` times a `[rows, columns]` matrix whose shorter side is orthonormal: Gram and Schmidt, twice.
fn orthogonal(rows: usize, columns: usize, gain: f64, normal: impl Fn(usize) -> f64) -> Vec<f32> {
    let (count, len) = (rows.min(columns), rows.max(columns));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    for i in 0..count {
        let mut v: Vec<f64> = (0..len).map(|j| normal(i * len + j)).collect();
        for _ in 0..2 {
            for u in &vectors {
                let along: f64 = u.iter().zip(&v).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(u).for_each(|(v, u)| *v -= along * u);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        vectors.push(v);
    }
    let at = |r: usize, c: usize| if rows >= columns { vectors[c][r] } else { vectors[r][c] };
    (0..rows * columns).map(|i| (gain * at(i / columns, i % columns)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variances_are_those_of_the_fans() {
        let shape = [3, 3, 32, 64];
        for (init, variance) in [
            (Init::KaimingNormal, 2.0 / 288.0),
            (Init::KaimingUniform, 2.0 / 288.0),
            (Init::KaimingNormalOut, 2.0 / 576.0),
            (Init::Scaled { gain: 3.0 }, 9.0 / 288.0),
            (Init::Normal { std: 0.1 }, 0.01),
            (Init::XavierNormal, 2.0 / (288.0 + 576.0)),
            (Init::XavierUniform, 2.0 / (288.0 + 576.0)),
        ] {
            let (drawn, n) = (init.draw(&shape, 1, "w"), 18432.0);
            let mean = drawn.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let var = drawn.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
            assert!(mean.abs() < 4.0 * (variance / n).sqrt(), "{init:?} mean {mean}");
            assert!((var / variance - 1.0).abs() < 0.05, "{init:?} variance {var}, expected {variance}");
        }
    }

    #[test]
    fn orthogonal_is_orthonormal_on_its_shorter_side() {
        for [rows, columns] in [[7, 4], [4, 7]] {
            let w = Init::Orthogonal { gain: 1.0 }.draw(&[rows, columns], 3, "w");
            let at = |r: usize, c: usize| f64::from(w[r * columns + c]);
            let n = rows.min(columns);
            for (i, j) in (0..n * n).map(|k| (k / n, k % n)) {
                let dot: f64 = match rows >= columns {
                    true => (0..rows).map(|r| at(r, i) * at(r, j)).sum(),
                    false => (0..columns).map(|c| at(i, c) * at(j, c)).sum(),
                };
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn lengths_of_filters_are_those_that_are_drawn() {
        for shape in [vec![3, 3, 8, 64], vec![96, 32], vec![32, 96]] {
            for init in [
                Init::Ones,
                Init::Constant(0.3),
                Init::Normal { std: 0.1 },
                Init::Scaled { gain: 1.5 },
                Init::KaimingNormal,
                Init::KaimingNormalOut,
                Init::XavierUniform,
                Init::Uniform { fan_in: 7 },
                Init::Orthogonal { gain: 2.0 },
            ] {
                let filters = shape[shape.len() - 1] as f64;
                let square: f64 = init.draw(&shape, 3, "w").iter().map(|&v| f64::from(v).powi(2)).sum();
                let ratio = (square / filters).sqrt() / init.length(&shape);
                assert!((ratio - 1.0).abs() < 0.05, "{init:?} {shape:?}: {ratio}");
            }
        }
    }

    #[test]
    fn draws_depend_on_seed_and_name() {
        let draw = |seed, name| Init::KaimingNormal.draw(&[8, 8], seed, name);
        assert!(draw(1, "a") == draw(1, "a") && draw(1, "a") != draw(2, "a") && draw(1, "a") != draw(1, "b"));
    }
}

//! Mixup: images mixed in pairs.

use crate::data::batch::Draws;

/// What draws are for.
const MIXUP: u32 = u32::from_be_bytes(*b"mixu");

/// How the images of a batch are mixed: `x[i] ← λ x[i] + (1 − λ) x[partner[i]]`, and so are the losses against their labels
/// (Zhang et al. 2018).
#[derive(Debug, Clone, PartialEq)]
pub struct Mixup {
    /// `λ`, 0 to 1: the share that is kept.
    pub kept: f32,
    /// `[n]`: a permutation of the batch.
    pub partner: Vec<u32>,
}

impl Mixup {
    /// Draws `λ` from the beta distribution with both parameters `alpha`, above 0 and at most 4, and a permutation of `n`
    /// images. They depend on the seed and the step alone. Source: Jöhnk 1964, for the distribution.
    pub fn draw(alpha: f64, seed: u64, step: u64, n: usize) -> Mixup {
        let mut draws = Draws::new(seed, step as u32, (step >> 32) as u32, MIXUP);
        let kept = loop {
            let [a, b] = [draws.unit(), draws.unit()].map(|u| u.powf(alpha.recip()));
            match a + b {
                0.0 => break f64::from(u8::from(draws.unit() < 0.5)),
                sum if sum <= 1.0 => break a / sum,
                _ => {}
            }
        };
        Mixup { kept: kept as f32, partner: draws.permutation(n) }
    }

    /// Mixes the images of a batch, and gives the labels of those that were mixed in.
    pub fn mix(&self, images: &mut [f32], labels: &[u32]) -> Vec<u32> {
        let size = images.len() / labels.len().max(1);
        let own = images.to_vec();
        for (x, &partner) in images.chunks_mut(size.max(1)).zip(&self.partner) {
            let other = &own[partner as usize * size..][..size];
            x.iter_mut().zip(other).for_each(|(x, other)| *x = self.kept * *x + (1.0 - self.kept) * other);
        }
        self.partner.iter().map(|&p| labels[p as usize]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_the_distribution_s_moments() {
        for alpha in [0.2, 1.0, 4.0] {
            let draws: Vec<f64> = (0..20_000).map(|step| Mixup::draw(alpha, 3, step, 1).kept.into()).collect();
            assert!(draws.iter().all(|v| (0.0..=1.0).contains(v)));
            let mean = draws.iter().sum::<f64>() / 2e4;
            let variance = draws.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2e4;
            // Beta(α, α) has the variance 1/(4 (2α + 1)); five standard errors of the mean.
            let want = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 5.0 * (want / 2e4f64).sqrt(), "{alpha}: mean {mean}");
            assert!((variance / want - 1.0).abs() < 0.05, "{alpha}: variance {variance}, expected {want}");
        }
        assert_eq!(Mixup::draw(0.3, 1, 5, 40), Mixup::draw(0.3, 1, 5, 40));
        assert_ne!(Mixup::draw(0.3, 1, 5, 40), Mixup::draw(0.3, 1, 6, 40));
    }

    #[test]
    fn images_are_mixed_with_their_partners() {
        let mut images = [0.0, 1.0, 10.0, 20.0, 5.0, 7.0];
        let others = Mixup { kept: 0.75, partner: vec![2, 0, 1] }.mix(&mut images, &[3, 4, 5]);
        assert_eq!(images, [1.25, 2.5, 7.5, 15.25, 6.25, 10.25]);
        assert_eq!(others, [5, 3, 4]);
    }
}

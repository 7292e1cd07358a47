//! The order of an epoch, and batches: normalized, cropped and flipped by draws that belong to the image alone.

use hillshade_engine::philox;
use rayon::prelude::*;

use crate::data::dataset::{Dataset, Images};

/// What draws are for: word 3 of the counter, so that no two purposes share a draw.
const PERMUTATION: u32 = u32::from_be_bytes(*b"perm");
const AUGMENTATION: u32 = u32::from_be_bytes(*b"augm");
const SHIFT: u32 = u32::from_be_bytes(*b"shif");

/// `0, 1, …, n - 1` in an order drawn for the epoch; each of the `n!` orders has the same chance.
///
/// `n` is at most 2³² - 1, as far as indices reach; a greater one counts as that. Source: Fisher and Yates, as in
/// Durstenfeld 1964, algorithm 235.
pub fn permutation(seed: u64, epoch: u32, n: usize) -> Vec<u32> {
    Draws::new(seed, 0, epoch, PERMUTATION).permutation(n)
}

/// How many tokens later the sequences of an epoch begin, below `context`, each as likely.
pub(crate) fn shift(seed: u64, epoch: u32, context: usize) -> usize {
    Draws::new(seed, 0, epoch, SHIFT).below(u32::try_from(context).unwrap_or(u32::MAX).max(1)) as usize
}

/// Random changes of training images; the default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Augment {
    /// Pixels of zero margin on all four sides, out of which a window of the image's own size is cut at random: a shift
    /// by `-crop` to `crop` each way. At most the image's height and width count.
    pub crop: usize,
    /// Whether every other image, at random, is mirrored left to right.
    pub flip: bool,
}

/// Images ready for a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[n, h, w, c]`: `(p / 255 - mean) / std` by channel; margins that a crop let in are 0.
    pub x: Vec<f32>,
    /// `[n]`: indices of classes.
    pub labels: Vec<u32>,
}

impl Dataset {
    /// The images at `index`, normalized by the training moments, and changed at random as `augment` says: how, with
    /// which seed, in which epoch.
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | images | `[m, h, w, c]` | of this data set: its `train` or `test` |
    /// | index | `[n]` | 0 to m - 1, repeats allowed |
    /// | x | `[n, h, w, c]` | |
    /// | labels | `[n]` | 0 to classes - 1 |
    ///
    /// The draws depend on the seed, the epoch and the image's index alone: the same image is changed the same way in
    /// whatever batch it comes, on any number of threads.
    ///
    /// # Panics
    ///
    /// As slices do, when an index is not below the number of images.
    pub fn batch(&self, images: &Images, index: &[u32], augment: Option<(Augment, u64, u32)>) -> Batch {
        let size: usize = images.shape.iter().product();
        let scale = self.scale();
        let mut x = vec![0.0; index.len() * size];
        x.par_chunks_mut(size.max(1)).zip(index).for_each(|(x, &i)| {
            let window = augment.map_or_else(Window::default, |(augment, seed, epoch)| {
                Window::draw(augment, images.shape, Draws::new(seed, i, epoch, AUGMENTATION))
            });
            window.cut(x, &images.pixels[i as usize * size..][..size], images.shape, &scale);
        });
        Batch { x, labels: index.iter().map(|&i| images.labels[i as usize]).collect() }
    }

    /// `(p / 255 - mean) / std` for each channel and each of the 256 values of a pixel.
    fn scale(&self) -> Vec<[f32; 256]> {
        let moments = self.mean.iter().zip(&self.std);
        moments.map(|(mean, std)| std::array::from_fn(|p| (p as f32 / 255.0 - mean) / std)).collect()
    }
}

/// Where in an image a batch looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Window {
    /// Rows down from the image's first, negative into the margin.
    down: isize,
    /// Columns right from the image's first.
    right: isize,
    /// Whether the window is mirrored.
    mirrored: bool,
}

impl Window {
    /// Draws a window; each of the three draws is made whether it is used or not, so that options do not interfere.
    fn draw(augment: Augment, [h, w, _]: [usize; 3], mut draws: Draws) -> Window {
        let mut shift = |extent: usize| {
            let margin = augment.crop.min(extent).min(i32::MAX as usize) as u32;
            draws.below(2 * margin + 1) as isize - margin as isize
        };
        let (down, right) = (shift(h), shift(w));
        Window { down, right, mirrored: draws.below(2) == 1 && augment.flip }
    }

    /// Writes what is seen through the window to `x`, which is 0, both `[h, w, c]`.
    fn cut(self, x: &mut [f32], image: &[u8], [h, w, c]: [usize; 3], scale: &[[f32; 256]]) {
        let inside = |at: usize, shift: isize, extent: usize| at.checked_add_signed(shift).filter(|&at| at < extent);
        for i in 0..h {
            let Some(from_i) = inside(i, self.down, h) else { continue };
            for j in 0..w {
                let seen = if self.mirrored { w - 1 - j } else { j };
                let Some(from_j) = inside(seen, self.right, w) else { continue };
                let pixel = &image[(from_i * w + from_j) * c..][..c];
                for ((x, &p), scale) in x[(i * w + j) * c..][..c].iter_mut().zip(pixel).zip(scale) {
                    *x = scale[usize::from(p)];
                }
            }
        }
    }
}

/// A stream of random words: Philox by counter (block, item, epoch, purpose), its key being the seed.
pub(crate) struct Draws {
    key: [u32; 2],
    item: [u32; 3],
    /// The last block of four words.
    block: [u32; 4],
    /// Words taken so far.
    taken: u64,
}

impl Draws {
    pub(crate) fn new(seed: u64, item: u32, epoch: u32, purpose: u32) -> Draws {
        Draws { key: [seed as u32, (seed >> 32) as u32], item: [item, epoch, purpose], block: [0; 4], taken: 0 }
    }

    fn word(&mut self) -> u32 {
        let at = (self.taken % 4) as usize;
        if at == 0 {
            let [item, epoch, purpose] = self.item;
            self.block = philox([(self.taken / 4) as u32, item, epoch, purpose], self.key);
        }
        self.taken += 1;
        self.block[at]
    }

    /// A number in (0, 1), of 32 random bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (f64::from(self.word()) + 0.5) / 4_294_967_296.0
    }

    /// `0, 1, …, n - 1` in any order.
    pub(crate) fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..u32::MAX).take(n).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.below(i as u32 + 1) as usize);
        }
        order
    }

    /// An integer from 0 to `bound - 1`, each as likely; `bound` at least 1.
    ///
    /// The high half of word × bound, words that would favour some results being passed over. Source: Lemire 2019,
    /// "Fast random integer generation in an interval", algorithm 5.
    fn below(&mut self, bound: u32) -> u32 {
        loop {
            let product = u64::from(self.word()) * u64::from(bound);
            if product as u32 >= bound.wrapping_neg() % bound {
                return (product >> 32) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of 2×3 pixels in two channels, each byte different from its neighbours'.
    fn sample(n: u8) -> Dataset {
        let pixels = (0..n).flat_map(|i| (0..12).map(move |at| i.wrapping_mul(37).wrapping_add(at * 5 + 1))).collect();
        let train = Images { shape: [2, 3, 2], pixels, labels: (0..u32::from(n)).map(|i| i % 3).collect() };
        Dataset::new("sample", vec![], train.clone(), train)
    }

    #[test]
    fn seeds_and_epochs_give_other_orders_and_the_same_ones_again() {
        for n in [0, 1, 2, 5, 1000] {
            let mut order = permutation(7, 3, n);
            order.sort();
            assert!(order.into_iter().eq(0..n as u32), "n = {n}");
        }
        let order = permutation(7, 3, 100);
        assert_eq!(order, permutation(7, 3, 100));
        for (seed, epoch) in [(7, 4), (8, 3), (7 | 1 << 32, 3), (3, 7)] {
            assert_ne!(order, permutation(seed, epoch, 100), "seed {seed}, epoch {epoch}");
        }
        assert_eq!(permutation(0, 0, 10), [1, 3, 2, 9, 0, 4, 7, 6, 8, 5]);
    }

    #[test]
    fn each_order_has_the_same_chance() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            *counts.entry(permutation(1, epoch, 4)).or_insert(0) += 1;
        }
        // 24 cells of 1000: a deviation of five standard ones is 155.
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|&count: &i32| (count - 1000).abs() < 155), "{counts:?}");
    }

    /// Without passing words over, the multiples of 3 would come twice as often below 3 × 2³⁰.
    #[test]
    fn bounded_draws_are_not_biased() {
        let mut draws = Draws::new(5, 0, 0, 0);
        let mut counts = [0i32; 3];
        (0..3000).for_each(|_| counts[(draws.below(3 << 30) % 3) as usize] += 1);
        assert!(counts.iter().all(|count| (count - 1000).abs() < 130), "{counts:?}");
        assert!((0..100).all(|_| draws.below(1) == 0));
    }

    #[test]
    fn batches_are_normalized_by_channel() {
        let data = sample(4);
        let batch = data.batch(&data.train, &[2, 0, 2], None);
        assert_eq!((batch.x.len(), batch.labels), (36, vec![2, 0, 2]));
        for (at, &x) in batch.x.iter().enumerate() {
            let p = data.train.pixels[[2, 0, 2][at / 12] * 12 + at % 12];
            assert_eq!(x, (f32::from(p) / 255.0 - data.mean[at % 2]) / data.std[at % 2], "element {at}");
        }
        assert_eq!(batch.x[..12], batch.x[24..]);
        let all = data.batch(&data.train, &[0, 1, 2, 3], None).x;
        let channel = || all.iter().step_by(2).map(|&x| f64::from(x));
        let (mean, square) = (channel().sum::<f64>() / 24.0, channel().map(|x| x * x).sum::<f64>() / 24.0);
        assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-6, "{mean}, {square}");
        assert!(data.batch(&data.train, &[], None).x.is_empty());
    }

    #[test]
    fn windows_shift_and_mirror() {
        let scale = [std::array::from_fn(|p| p as f32)];
        let seen = |down, right, mirrored| {
            let mut x = [0.0; 6];
            Window { down, right, mirrored }.cut(&mut x, &[1, 2, 3, 4, 5, 6], [2, 3, 1], &scale);
            x.map(|x| x as u8)
        };
        assert_eq!([seen(0, 0, false), seen(0, 0, true)], [[1, 2, 3, 4, 5, 6], [3, 2, 1, 6, 5, 4]]);
        assert_eq!([seen(1, 0, false), seen(0, -1, false)], [[4, 5, 6, 0, 0, 0], [0, 1, 2, 0, 4, 5]]);
        assert_eq!([seen(-1, 1, false), seen(-1, 1, true)], [[0, 0, 0, 2, 3, 0], [0, 0, 0, 0, 3, 2]]);
        assert_eq!(seen(2, -3, true), [0; 6]);
    }

    #[test]
    fn every_shift_and_both_sides_are_drawn() {
        let window = |crop, flip, i| Window::draw(Augment { crop, flip }, [8, 8, 1], Draws::new(1, i, 0, AUGMENTATION));
        let all: Vec<Window> = (0..5000).map(|i| window(2, true, i)).collect();
        for shift in -2..=2 {
            let count = |of: fn(&Window) -> isize| all.iter().filter(|window| of(window) == shift).count();
            let (down, right) = (count(|window| window.down), count(|window| window.right));
            assert!(down.abs_diff(1000) < 150 && right.abs_diff(1000) < 150, "{shift}: {down}, {right}");
        }
        let mirrored = all.iter().filter(|window| window.mirrored).count();
        assert!(mirrored.abs_diff(2500) < 180, "{mirrored}");
        for (i, &both) in (0..).zip(&all) {
            assert_eq!(window(2, false, i), Window { mirrored: false, ..both });
            assert_eq!(window(0, true, i), Window { mirrored: both.mirrored, ..Window::default() });
        }
        let far = window(usize::MAX, false, 1);
        assert!(far.down.abs() <= 8 && far.right.abs() <= 8, "{far:?}");
    }

    #[test]
    fn an_image_is_changed_the_same_way_in_every_batch() {
        let data = sample(40);
        let augment = Augment { crop: 1, flip: true };
        let batch = |index: &[u32], seed, epoch| data.batch(&data.train, index, Some((augment, seed, epoch))).x;
        let index: Vec<u32> = (0..40).collect();
        let all = batch(&index, 9, 2);
        assert_eq!(batch(&[17, 3, 17], 9, 2), [17, 3, 17].map(|i| &all[i * 12..][..12]).concat());
        assert!(batch(&index, 9, 3) != all && batch(&index, 8, 2) != all);
        assert!(all.contains(&0.0), "no margin was let in");
        let plain = data.batch(&data.train, &[5], None);
        assert_eq!(plain, data.batch(&data.train, &[5], Some((Augment::default(), 9, 2))));
    }
}

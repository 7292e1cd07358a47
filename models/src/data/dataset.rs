//! Labelled images, and the scale of their pixels.

/// Labelled images of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Height, width, channels (1 grey, 3 red, green, blue), each at least 1.
    pub shape: [usize; 3],
    /// `[n, h, w, c]`, channels last, 0 to 255.
    pub pixels: Vec<u8>,
    /// `[n]`, each an index into [`Dataset::classes`].
    pub labels: Vec<u32>,
}

impl Images {
    /// The number of images `n`.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Images to learn from, images to be tested on, and the scale of their pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The name under which it was opened.
    pub name: String,
    /// What each label stands for.
    pub classes: Vec<String>,
    /// The images to learn from.
    pub train: Images,
    /// The images to be tested on, of the same shape.
    pub test: Images,
    /// `[c]`: the mean of `p / 255` over the training pixels of each channel, 0 to 1.
    pub mean: Vec<f32>,
    /// `[c]`: the standard deviation of `p / 255` about that mean, 1/255 to 1/2.
    pub std: Vec<f32>,
}

impl Dataset {
    /// A data set of images in memory: measures [`mean`](Self::mean) and [`std`](Self::std) over `train`.
    ///
    /// Sums are exact, in integers. A deviation below one step of the byte scale (1/255), as in a constant channel, is
    /// raised to it. The mean of no image is 0.
    pub fn new(name: impl Into<String>, classes: Vec<String>, train: Images, test: Images) -> Dataset {
        let (mean, std) = (0..train.shape[2]).map(|channel| moments(&train, channel)).unzip();
        Dataset { name: name.into(), classes, train, test, mean, std }
    }

    /// Keeps the first `n` training images, or all where there are no more. [`mean`](Self::mean) and [`std`](Self::std)
    /// stay what they are, those of all images that there were, so that each image gives the same numbers as before.
    pub fn limit(&mut self, n: usize) {
        self.train.pixels.truncate(self.train.shape.iter().product::<usize>().saturating_mul(n));
        self.train.labels.truncate(n);
    }
}

/// Mean and standard deviation of one channel, in units of 255.
fn moments(images: &Images, channel: usize) -> (f32, f32) {
    let (mut n, mut sum, mut squares) = (0u64, 0u64, 0u64);
    for &p in images.pixels.iter().skip(channel).step_by(images.shape[2]) {
        n += 1;
        sum += u64::from(p);
        squares += u64::from(p) * u64::from(p);
    }
    let count = n.max(1) as f64;
    let spread = u128::from(n) * u128::from(squares) - u128::from(sum) * u128::from(sum);
    let std = (spread as f64).sqrt() / count;
    ((sum as f64 / count / 255.0) as f32, (std.max(1.0) / 255.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_training_pixels_by_channel() {
        let pixels = vec![0, 7, 51, 7, 102, 7, 255, 7];
        let train = Images { shape: [1, 2, 2], pixels, labels: vec![0, 1] };
        let test = Images { shape: [1, 2, 2], pixels: vec![9; 4], labels: vec![1] };
        let data = Dataset::new("two", vec!["a".into(), "b".into()], train, test);
        assert_eq!((data.train.len(), data.test.len(), data.test.is_empty()), (2, 1, false));
        // 0, 0.2, 0.4, 1: mean 0.4, variance (0.16 + 0.04 + 0 + 0.36) / 4.
        assert_eq!(data.mean, [0.4, 7.0 / 255.0]);
        assert_eq!(data.std, [0.14f64.sqrt() as f32, 1.0 / 255.0]);
    }

    #[test]
    fn the_first_images_keep_the_scale_of_all() {
        let train = Images { shape: [1, 2, 1], pixels: vec![1, 2, 3, 4, 250, 255], labels: vec![2, 1, 0] };
        let whole = Dataset::new("three", vec![], train.clone(), train);
        let mut first = whole.clone();
        first.limit(2);
        assert_eq!((first.train.pixels.as_slice(), first.train.labels.as_slice()), (&[1, 2, 3, 4][..], &[2, 1][..]));
        assert_eq!((&first.test, &first.mean, &first.std), (&whole.test, &whole.mean, &whole.std));
        first.limit(9);
        assert_eq!(first.train.len(), 2);
    }

    #[test]
    fn no_images_have_finite_moments() {
        let none = Images { shape: [2, 2, 1], pixels: vec![], labels: vec![] };
        let data = Dataset::new("none", vec![], none.clone(), none);
        assert_eq!((data.mean, data.std), (vec![0.0], vec![1.0 / 255.0]));
    }
}

//! Labelled images and texts: the data sets that Hillshade opens, and the batches it draws from them.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

mod batch;
mod cifar;
mod digits;
mod folder;
mod mixup;
mod mnist;
mod text;
mod tokenizer;

pub use batch::{Augment, Batch, permutation};
pub use mixup::Mixup;
pub use text::{Sequences, Text};
pub use tokenizer::{Tokenizer, Vocabulary};

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

/// Opens a text, of which `spec` is `text:FILE`; without a vocabulary, its characters are the tokens.
///
/// # Errors
///
/// [`Error::Missing`], [`Error::Io`], [`Error::Format`] for a file that is not UTF-8, and the tokenizer's.
pub fn open_text(spec: &str, vocabulary: Option<&Vocabulary>) -> Result<Text> {
    match spec.strip_prefix(TEXT).filter(|path| !path.is_empty()) {
        Some(path) => Text::open(spec, Path::new(path), vocabulary),
        None => {
            Err(Error::Argument { what: "data set".into(), expected: "text:FILE".into(), found: format!("{spec:?}") })
        }
    }
}

/// What the names of texts begin with.
pub const TEXT: &str = "text:";

/// Opens a data set of images by name.
///
/// | `spec` | what |
/// |---|---|
/// | `digits` | 1,797 images 8×8×1 of handwritten digits, inside the program |
/// | `mnist` | the four IDX files of MNIST or of a set made like it, plain or `.gz` |
/// | `cifar10` | the binary version of CIFAR-10, as files or as its `.tar.gz` |
/// | `folder` | images by class: `train/CLASS/*` and `test/CLASS/*`, or `CLASS/*` of which every fifth is for testing |
///
/// `name:PATH` gives the folder within `spec` and goes before `dir`; `folder` needs one of them. Where `mnist` and
/// `cifar10` have neither, they are looked for as folders of their names in the one that the variable `HILLSHADE_DATA`
/// names, or, if it is not set, in `data`. The same files give the same data set, bit for bit.
///
/// # Errors
///
/// [`Error::Name`] for a name not in the table, [`Error::Argument`] for a path missing or too many, [`Error::Missing`]
/// for files that are not there, [`Error::Io`] for those that cannot be read, and [`Error::Format`] for files or
/// folders that do not hold what they should.
pub fn open(spec: &str, dir: Option<&Path>) -> Result<Dataset> {
    let argument =
        |expected: &str, found: String| Error::Argument { what: "data set".into(), expected: expected.into(), found };
    let (name, path) = match spec.split_once(':') {
        Some((_, "")) => return Err(argument("a path after the colon", format!("{spec:?}"))),
        Some((name, path)) => (name, Some(Path::new(path))),
        None => (spec, None),
    };
    let given = path.or(dir);
    match name {
        "digits" if path.is_some() => Err(argument("digits alone, which needs no files", format!("{spec:?}"))),
        "digits" => Ok(digits::load()),
        "mnist" => mnist::load(&place(name, given)),
        "cifar10" => cifar::load(&place(name, given)),
        "folder" => match given {
            Some(dir) => folder::load(dir),
            None => Err(argument("folder:PATH", "no path".into())),
        },
        _ => {
            let known = "digits, mnist, cifar10, folder:PATH, text:FILE".into();
            Err(Error::Name { what: "data set", name: name.into(), known })
        }
    }
}

/// The folder given, else the one of this name where the user keeps data.
fn place(name: &str, given: Option<&Path>) -> PathBuf {
    let root = || std::env::var_os("HILLSHADE_DATA").filter(|root| !root.is_empty());
    given.map_or_else(|| root().map_or_else(|| "data".into(), PathBuf::from).join(name), Path::to_path_buf)
}

/// The bytes of a file.
fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::Io { what: "read", path: path.into(), source })
}

/// The bytes within gzip bytes, of one member or several.
fn gunzip(path: &Path, packed: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match flate2::bufread::MultiGzDecoder::new(packed).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(cause) => Err(format(path, "gzip data", format!("{} bytes that are not: {cause}", packed.len()))),
    }
}

/// A complaint about what is at `path`.
fn format(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Format { path: path.into(), expected: expected.into(), found: found.into() }
}

/// The classes `0` to `9`.
fn digit_classes() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

/// The folder of real data for tests; says that the test is skipped where there is none.
#[cfg(test)]
fn real_data(test: &str) -> Option<PathBuf> {
    let root = std::env::var_os("HILLSHADE_DATA").map(PathBuf::from);
    if root.is_none() {
        println!("{test}: skipped, HILLSHADE_DATA is not set");
    }
    root
}

/// The message of an error, with `DIR` for the folder and `/` between names whatever the system.
#[cfg(test)]
fn told(result: Result<Dataset>, dir: &Path) -> String {
    let message = result.expect_err("something to complain about").to_string();
    message.replace(&dir.display().to_string(), "DIR").replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(spec: &str, dir: Option<&Path>) -> String {
        told(open(spec, dir), Path::new("there"))
    }

    #[test]
    fn wrong_specs_say_what_is_known() {
        let known = "digits, mnist, cifar10, folder:PATH, text:FILE";
        assert_eq!(message("minst", None), format!("expected a data set among {known}, found \"minst\""));
        assert_eq!(message("mnist:", None), "data set: expected a path after the colon, found \"mnist:\"");
        assert_eq!(message("folder", None), "data set: expected folder:PATH, found no path");
        assert_eq!(
            message("digits:x", None),
            "data set: expected digits alone, which needs no files, found \"digits:x\""
        );
    }

    #[test]
    fn the_path_in_the_spec_goes_before_the_folder() {
        assert!(message("mnist:here", Some(Path::new("there"))).contains("at here/train-images-idx3-ubyte, "));
        assert!(message("cifar10", Some(Path::new("there"))).contains("DIR/cifar-10-binary.tar.gz"));
        assert!(open("digits", Some(Path::new("there"))).is_ok());
        assert_eq!(place("mnist", Some(Path::new("here"))), Path::new("here"));
        assert!(place("mnist", None).ends_with("mnist"));
    }

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

    #[test]
    fn bad_gzip_is_told() {
        let error = gunzip(Path::new("x.gz"), b"plain text").expect_err("not gzip").to_string();
        assert!(error.starts_with("x.gz: expected gzip data, found 10 bytes that are not: "), "{error}");
    }
}

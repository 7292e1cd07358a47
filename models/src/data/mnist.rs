//! MNIST and sets made like it: four IDX files, plain or gzip.

use std::path::{Path, PathBuf};

use crate::{
    data::{dataset::*, digits::digit_classes, files::*},
    error::*,
};

/// Reads the four files in `dir`; a plain file goes before its `.gz`.
pub(crate) fn load(dir: &Path) -> Result<Dataset> {
    let train = part(dir, "train")?;
    let test = part(dir, "t10k")?;
    if test.shape != train.shape {
        let [expected, found] = [train.shape, test.shape].map(|[h, w, _]| format!("{h}×{w}"));
        return Err(Error::format(dir, format!("test images of {expected} pixels, as for training"), found));
    }
    Ok(Dataset::new("mnist", digit_classes(), train, test))
}

/// The images and labels whose files begin with `stem`.
fn part(dir: &Path, stem: &str) -> Result<Images> {
    let (path, bytes) = file(dir, &format!("{stem}-images-idx3-ubyte"))?;
    let ([n, h, w], pixels) = idx(&path, bytes)?;
    if n == 0 || h == 0 || w == 0 {
        return Err(Error::format(&path, "at least one image of one pixel", format!("{n} images of {h}×{w} pixels")));
    }
    let (path, bytes) = file(dir, &format!("{stem}-labels-idx1-ubyte"))?;
    let ([count], labels) = idx(&path, bytes)?;
    if count != n {
        return Err(Error::format(&path, format!("{n} labels, one for each image"), count));
    }
    if let Some(i) = labels.iter().position(|&label| label > 9) {
        return Err(Error::format(&path, "labels from 0 to 9", format!("{} for image {i}", labels[i])));
    }
    Ok(Images { shape: [h, w, 1], pixels, labels: labels.into_iter().map(u32::from).collect() })
}

/// Finds and reads a file, unpacking it where it ends in `.gz`.
fn file(dir: &Path, name: &str) -> Result<(PathBuf, Vec<u8>)> {
    let (plain, packed) = (dir.join(name), dir.join(format!("{name}.gz")));
    if plain.exists() {
        return read(&plain).map(|bytes| (plain, bytes));
    }
    if packed.exists() {
        return gunzip(&packed, &read(&packed)?).map(|bytes| (packed, bytes));
    }
    let what = "the MNIST files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
                t10k-labels-idx1-ubyte, each plain or .gz, in one folder (mnist:PATH or HILLSHADE_DATA/mnist)";
    Err(Error::Missing { what: what.into(), looked: vec![plain, packed] })
}

/// The extents and the data of an IDX file of unsigned bytes in `D` dimensions.
///
/// The file is big-endian: 0, 0, the type (8), `D`, then `D` extents of four bytes, then the data, last index fastest.
/// Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998.
fn idx<const D: usize>(path: &Path, mut bytes: Vec<u8>) -> Result<([usize; D], Vec<u8>)> {
    let header = 4 + 4 * D;
    let words: Vec<u32> =
        bytes.chunks_exact(4).take(1 + D).map(|b| b.iter().fold(0, |word, &b| word << 8 | u32::from(b))).collect();
    let magic = 0x800 | D as u32;
    if let Some(&found) = words.first().filter(|&&found| found != magic) {
        let expected = format!("the magic number {magic:#010x} (IDX, unsigned bytes, {D} dimensions)");
        return Err(Error::format(path, expected, format!("{found:#010x}")));
    }
    if words.len() < 1 + D {
        return Err(Error::format(path, format!("a header of {header} bytes"), format!("{} bytes", bytes.len())));
    }
    let extents: [usize; D] = std::array::from_fn(|i| words[1 + i] as usize);
    // Three extents of 32 bits: the product fits 96 bits.
    let size = header as u128 + extents.iter().map(|&extent| extent as u128).product::<u128>();
    if bytes.len() as u128 != size {
        let expected = format!("{size} bytes for extents {extents:?}");
        return Err(Error::format(path, expected, format!("{} bytes", bytes.len())));
    }
    bytes.drain(..header);
    Ok((extents, bytes))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;
    use crate::data::files::{real_data, told, written};

    fn encode(extents: &[u32], data: &[u8]) -> Vec<u8> {
        let words = std::iter::once(0x800 | extents.len() as u32).chain(extents.iter().copied());
        words.flat_map(u32::to_be_bytes).chain(data.iter().copied()).collect()
    }

    /// A good set of three training images and one test image of 2×3 pixels, the test files packed.
    fn sample() -> tempfile::TempDir {
        written(&[
            ("train-images-idx3-ubyte", encode(&[3, 2, 3], &(0..18).collect::<Vec<u8>>())),
            ("train-labels-idx1-ubyte", encode(&[3], &[9, 0, 4])),
            ("t10k-images-idx3-ubyte.gz", gzip(&encode(&[1, 2, 3], &[7; 6]))),
            ("t10k-labels-idx1-ubyte.gz", gzip(&encode(&[1], &[2]))),
        ])
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        packed.write_all(bytes).and_then(|()| packed.finish()).expect("memory")
    }

    /// The complaint after one file of the good set is replaced, with `DIR` for the folder.
    fn complaint(name: &str, bytes: &[u8]) -> String {
        let dir = sample();
        fs::write(dir.path().join(name), bytes).expect("a file");
        told(load(dir.path()), dir.path())
    }

    #[test]
    fn plain_and_packed_files_are_read() {
        let data = load(sample().path()).expect("good files");
        assert_eq!(data.train, Images { shape: [2, 3, 1], pixels: (0..18).collect(), labels: vec![9, 0, 4] });
        assert_eq!(data.test, Images { shape: [2, 3, 1], pixels: vec![7; 6], labels: vec![2] });
        assert_eq!((data.name.as_str(), data.classes.len()), ("mnist", 10));
    }

    #[test]
    fn bad_files_are_told() {
        let (images, labels) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
        let magic = "the magic number 0x00000803 (IDX, unsigned bytes, 3 dimensions), found 0x00000801";
        let all = "[4294967295, 4294967295, 4294967295]";
        let large = format!("79228162458924105385300197391 bytes for extents {all}, found 16 bytes");
        for (name, bytes, message) in [
            (images, encode(&[18], &[0; 18]), magic),
            (images, encode(&[3, 2, 3], &[0; 17]), "34 bytes for extents [3, 2, 3], found 33 bytes"),
            (images, encode(&[3, 2, 3], &[0; 19]), "34 bytes for extents [3, 2, 3], found 35 bytes"),
            (images, vec![0, 0], "a header of 16 bytes, found 2 bytes"),
            (images, encode(&[3, 2, 3], &[])[..15].into(), "a header of 16 bytes, found 15 bytes"),
            (images, encode(&[u32::MAX; 3], &[]), large.as_str()),
            (images, encode(&[0, 2, 3], &[]), "at least one image of one pixel, found 0 images of 2×3 pixels"),
            (labels, encode(&[2], &[9, 0]), "3 labels, one for each image, found 2"),
            (labels, encode(&[3], &[9, 0, 10]), "labels from 0 to 9, found 10 for image 2"),
        ] {
            assert_eq!(complaint(name, &bytes), format!("DIR/{name}: expected {message}"));
        }
        let test = gzip(&encode(&[1, 3, 2], &[7; 6]));
        let shape = complaint("t10k-images-idx3-ubyte.gz", &test);
        assert!(shape.ends_with("DIR: expected test images of 2×3 pixels, as for training, found 3×2"), "{shape}");
        let cut = complaint("t10k-images-idx3-ubyte.gz", &test[..test.len() - 9]);
        assert!(cut.starts_with("DIR/t10k-images-idx3-ubyte.gz: expected gzip data, found"), "{cut}");
    }

    #[test]
    fn missing_and_unreadable_files_are_named() {
        let dir = Path::new("no/such");
        let error = told(load(dir), dir);
        let looked = "found nothing at DIR/train-images-idx3-ubyte, DIR/train-images-idx3-ubyte.gz";
        assert!(error.contains("t10k-labels-idx1-ubyte") && error.ends_with(looked), "{error}");

        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("train-images-idx3-ubyte")).expect("a folder");
        let error = told(load(dir.path()), dir.path());
        assert!(error.starts_with("expected to read DIR/train-images-idx3-ubyte, found: "), "{error}");
    }

    #[test]
    fn the_real_files() {
        let Some(root) = real_data("mnist") else { return };
        let data = load(&root.join("mnist")).expect("MNIST");
        assert_eq!((data.train.len(), data.test.len(), data.train.shape), (60_000, 10_000, [28, 28, 1]));
        assert_eq!(data.train.labels[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
        assert!((data.mean[0] - 0.1307).abs() < 1e-4 && (data.std[0] - 0.3081).abs() < 1e-4);
    }
}

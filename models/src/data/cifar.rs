//! CIFAR-10 in its binary version: a folder of files, or the archive that they come in.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    data::{dataset::*, files::*},
    error::*,
};

/// Bytes of one colour plane of 32×32 pixels.
const PLANE: usize = 32 * 32;

/// Bytes of a record: the label, then the red, green and blue planes.
const RECORD: usize = 1 + 3 * PLANE;

/// The files that may hold training images.
const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];

/// The file of test images.
const TEST: &str = "test_batch.bin";

/// The file of class names, one per line.
const CLASSES: &str = "batches.meta.txt";

/// The class names where that file is not there.
const STANDARD: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The members of CIFAR-10 that are there, by name.
type Files = BTreeMap<String, (PathBuf, Vec<u8>)>;

/// Reads the files in `path`, in `cifar-10-batches-bin/` or `cifar-10-binary.tar.gz` below it, or the archive `path`.
pub(crate) fn load(path: &Path) -> Result<Dataset> {
    let folders = [path.to_path_buf(), path.join("cifar-10-batches-bin")];
    let archive = if path.is_file() { path.to_path_buf() } else { path.join("cifar-10-binary.tar.gz") };
    let folder = folders.iter().find(|folder| TRAIN.iter().chain([&TEST]).any(|name| folder.join(name).exists()));
    let files = match folder {
        Some(folder) => stored(folder)?,
        None if archive.exists() => archived(&archive)?,
        None => {
            let what = format!(
                "the CIFAR-10 files data_batch_1.bin to data_batch_5.bin (at least one) and {TEST}, or their archive \
                 (cifar10:PATH or HILLSHADE_DATA/cifar10)"
            );
            return Err(Error::Missing { what, looked: folders.into_iter().chain([archive]).collect() });
        }
    };
    let home = folder.unwrap_or(&archive);
    let train = images(home, &files, &TRAIN)?;
    let test = images(home, &files, &[TEST])?;
    Ok(Dataset::new("cifar10", classes(&files)?, train, test))
}

/// Reads the members that lie in a folder.
fn stored(folder: &Path) -> Result<Files> {
    let paths = TRAIN.iter().chain(&[TEST, CLASSES]).map(|&name| (name, folder.join(name)));
    let there = paths.filter(|(_, path)| path.exists());
    there.map(|(name, path)| Ok((name.into(), (path.clone(), read(&path)?)))).collect()
}

/// Reads the members that lie in a `.tar.gz`, in whatever folder within it.
fn archived(path: &Path) -> Result<Files> {
    let bytes = gunzip(path, &read(path)?)?;
    let broken = |cause: std::io::Error| Error::format(path, "a tar archive in gzip", cause);
    let mut files = Files::new();
    for member in tar::Archive::new(&bytes[..]).entries().map_err(broken)? {
        let mut member = member.map_err(broken)?;
        let inner = member.path().map_err(broken)?.into_owned();
        let name = inner.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if TRAIN.contains(&name) || [TEST, CLASSES].contains(&name) {
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).map_err(broken)?;
            files.insert(name.into(), (path.join(&inner), bytes));
        }
    }
    Ok(files)
}

/// The records of those of the named files that are there, in order, at least one; planes become channels.
fn images(home: &Path, files: &Files, names: &[&str]) -> Result<Images> {
    let mut images = Images { shape: [32, 32, 3], pixels: vec![], labels: vec![] };
    for (path, bytes) in names.iter().filter_map(|&name| files.get(name)) {
        if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
            let expected = format!("one or more records of {RECORD} bytes");
            return Err(Error::format(path, expected, format!("{} bytes", bytes.len())));
        }
        images.pixels.reserve(bytes.len() / RECORD * 3 * PLANE);
        for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
            if record[0] > 9 {
                return Err(Error::format(path, "labels from 0 to 9", format!("{} in record {i}", record[0])));
            }
            images.labels.push(u32::from(record[0]));
            let (red, rest) = record[1..].split_at(PLANE);
            let (green, blue) = rest.split_at(PLANE);
            images.pixels.extend(red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]));
        }
    }
    if images.is_empty() {
        let expected = if names == TRAIN { "at least one of data_batch_1.bin to data_batch_5.bin" } else { TEST };
        return Err(Error::format(home, expected, format!("only {:?}", files.keys().collect::<Vec<_>>())));
    }
    Ok(images)
}

/// The ten class names.
fn classes(files: &Files) -> Result<Vec<String>> {
    let Some((path, bytes)) = files.get(CLASSES) else { return Ok(STANDARD.map(String::from).to_vec()) };
    let text = String::from_utf8_lossy(bytes);
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
    if names.len() == 10 { Ok(names) } else { Err(Error::format(path, "ten class names", names.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::files::{real_data, told, written};

    /// A record whose red plane counts up, green is `green` and blue is 255.
    fn record(label: u8, green: u8) -> Vec<u8> {
        let red = (0..PLANE).map(|at| at as u8);
        std::iter::once(label).chain(red).chain([green; PLANE]).chain([255; PLANE]).collect()
    }

    /// Three training images in two files, one test image.
    fn sample() -> [(&'static str, Vec<u8>); 3] {
        [
            ("data_batch_1.bin", [record(3, 1), record(9, 2)].concat()),
            ("data_batch_4.bin", record(0, 3)),
            ("test_batch.bin", record(5, 4)),
        ]
    }

    fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        let mut archive = tar::Builder::new(packed);
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            let path = format!("cifar-10-batches-bin/{name}");
            archive.append_data(&mut header, path, &bytes[..]).expect("memory");
        }
        archive.into_inner().and_then(|packed| packed.finish()).expect("memory")
    }

    /// The complaint about the good set with some files replaced or added, with `DIR` for the folder.
    fn complaint(changed: &[(&'static str, Vec<u8>)]) -> String {
        let dir = written(&[&sample()[..], changed].concat());
        told(load(dir.path()), dir.path())
    }

    #[test]
    fn folders_and_archives_hold_the_same() {
        let flat = written(&sample());
        let data = load(flat.path()).expect("a folder");
        assert_eq!((data.train.labels.as_slice(), data.test.labels.as_slice()), (&[3, 9, 0][..], &[5][..]));
        assert_eq!(data.train.pixels.len(), 3 * 32 * 32 * 3);
        let pixel = |n: usize, at: usize| &data.train.pixels[(n * PLANE + at) * 3..][..3];
        assert_eq!([pixel(0, 0), pixel(1, 33), pixel(2, 1023)], [[0, 1, 255], [33, 2, 255], [255, 3, 255]]);
        assert_eq!(data.classes, STANDARD);

        let below = written(&sample().map(|(name, bytes)| (format!("cifar-10-batches-bin/{name}"), bytes)));
        let packed = written(&[("cifar-10-binary.tar.gz", archive(&sample()))]);
        assert!(load(below.path()).expect("a folder below") == data);
        assert!(load(packed.path()).expect("an archive in a folder") == data);
        assert!(load(&packed.path().join("cifar-10-binary.tar.gz")).expect("an archive") == data);
    }

    #[test]
    fn class_names_are_read_where_they_are() {
        let ten = [(CLASSES, b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n".to_vec())];
        let dir = written(&[&sample()[..], &ten].concat());
        assert_eq!(load(dir.path()).expect("ten names").classes.concat(), "abcdefghij");
        let error = complaint(&[(CLASSES, b"a\nb\n".to_vec())]);
        assert_eq!(error, "DIR/batches.meta.txt: expected ten class names, found 2");
    }

    #[test]
    fn bad_files_are_told() {
        let odd = [record(3, 1), vec![0]].concat();
        let records = "DIR/data_batch_1.bin: expected one or more records of 3073 bytes, found";
        assert_eq!(complaint(&[("data_batch_1.bin", odd.clone())]), format!("{records} 3074 bytes"));
        assert_eq!(complaint(&[("data_batch_1.bin", vec![])]), format!("{records} 0 bytes"));
        let label = [record(3, 1), record(10, 1)].concat();
        let expected = "DIR/test_batch.bin: expected labels from 0 to 9, found 10 in record 1";
        assert_eq!(complaint(&[("test_batch.bin", label)]), expected);

        let packed = written(&[("x.tar.gz", archive(&[("test_batch.bin", odd)]))]);
        let error = told(load(&packed.path().join("x.tar.gz")), packed.path());
        let end = "expected at least one of data_batch_1.bin to data_batch_5.bin, found only [\"test_batch.bin\"]";
        assert!(error.ends_with(end), "{error}");
    }

    #[test]
    fn missing_or_broken_archives_are_told() {
        let dir = Path::new("no/such");
        let error = told(load(dir), dir);
        let looked = "found nothing at DIR, DIR/cifar-10-batches-bin, DIR/cifar-10-binary.tar.gz";
        assert!(error.contains("at least one") && error.ends_with(looked), "{error}");
        let dir = written(&sample()[..2]);
        let error = told(load(dir.path()), dir.path());
        assert!(error.starts_with("DIR: expected test_batch.bin, found only [\"data_batch_1.bin\", "), "{error}");

        let whole = archive(&sample());
        let dir = written(&[("cut.tar.gz", whole[..whole.len() / 2].to_vec())]);
        let error = told(load(&dir.path().join("cut.tar.gz")), dir.path());
        assert!(error.starts_with("DIR/cut.tar.gz: expected gzip data, found"), "{error}");
    }

    #[test]
    fn the_real_archive() {
        let Some(root) = real_data("cifar10") else { return };
        let data = load(&root.join("cifar10")).expect("CIFAR-10");
        let count = |images: &Images, class| images.labels.iter().filter(|&&label| label == class).count();
        assert_eq!(data.train.shape, [32, 32, 3]);
        for class in 0..10 {
            let (train, test) = (count(&data.train, class), count(&data.test, class));
            assert!(train >= 1000 && test >= 200, "class {class}: {train}, {test}");
        }
        for (mean, published) in data.mean.iter().zip([0.4914, 0.4822, 0.4465]) {
            assert!((mean - published).abs() < 0.01, "{:?}", data.mean);
        }
    }
}

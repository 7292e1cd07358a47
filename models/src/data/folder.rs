//! Any folder of images by class.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use crate::{data::dataset::*, error::*};

/// The endings of image files, whatever their case; the content decides on the decoder.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "pgm", "ppm"];

/// Of the files of a class without folders for training and testing, every so many-th is for testing.
const FIFTH: usize = 5;

/// An image on disk and the index of its class.
type Labelled = (PathBuf, u32);

/// A decoded image: one channel if its file is grey, else three.
struct Picture {
    size: [usize; 2],
    channels: usize,
    pixels: Vec<u8>,
}

/// Reads `dir/train/CLASS/*` and `dir/test/CLASS/*`, or else `dir/CLASS/*` of which every fifth file is for testing.
///
/// Classes and files are taken in the order of their names; hidden ones are passed over, and so are files that are no
/// images by their ending. Samples of 16 bits become 8, transparency is dropped.
pub(crate) fn load(dir: &Path) -> Result<Dataset> {
    if !dir.is_dir() {
        return Err(Error::Missing { what: "a folder of images by class".into(), looked: vec![dir.into()] });
    }
    let [train, test] = ["train", "test"].map(|part| dir.join(part));
    let (names, train, test) = if !folders(&train)?.is_empty() || !folders(&test)?.is_empty() {
        let (names, train) = labelled(&train)?;
        let (found, tested) = labelled(&test)?;
        if found != names {
            let expected = format!("the classes of the training images, {}", names.join(", "));
            return Err(Error::format(&test, expected, found.join(", ")));
        }
        (names, train, tested)
    } else {
        let (names, all) = labelled(dir)?;
        let (train, test) = every_fifth(all);
        (names, train, test)
    };
    if test.is_empty() {
        let expected = format!("a class of at least {FIFTH} images, every {FIFTH}th being for testing");
        return Err(Error::format(dir, expected, "none"));
    }
    let count = train.len();
    let files = [train, test].concat();
    // All files in parallel; of several bad ones, the first is told of.
    let pictures: Vec<Result<Picture>> = files.par_iter().map(|(path, _)| picture(path)).collect();
    let pictures = pictures.into_iter().collect::<Result<Vec<_>>>()?;
    let shape = common_shape(&files, &pictures)?;
    let labels: Vec<u32> = files.into_iter().map(|(_, class)| class).collect();
    let part = |range: std::ops::Range<usize>| Images {
        shape,
        pixels: pictures[range.clone()].iter().flat_map(|picture| widen(picture, shape[2])).collect(),
        labels: labels[range].to_vec(),
    };
    Ok(Dataset::new("folder", names, part(0..count), part(count..labels.len())))
}

/// The class names and the images of `dir/CLASS/*`; no class is empty.
fn labelled(dir: &Path) -> Result<(Vec<String>, Vec<Labelled>)> {
    let classes = folders(dir)?;
    if classes.is_empty() {
        return Err(Error::format(dir, "a folder of images for each class", "no folder"));
    }
    let (mut names, mut files) = (vec![], vec![]);
    for (class, folder) in (0u32..).zip(&classes) {
        let images: Vec<PathBuf> = entries(folder)?.into_iter().filter(|path| is_image(path)).collect();
        if images.is_empty() {
            return Err(Error::format(folder, format!("images ({}) of a class", ENDINGS.join(", ")), "none"));
        }
        names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        files.extend(images.into_iter().map(|path| (path, class)));
    }
    Ok((names, files))
}

/// Parts files, sorted by class, into those for training and every fifth of each class.
fn every_fifth(files: Vec<Labelled>) -> (Vec<Labelled>, Vec<Labelled>) {
    let classes = files.chunk_by(|a, b| a.1 == b.1);
    let nth: Vec<usize> = classes.flat_map(|class| 1..=class.len()).collect();
    let (test, train): (Vec<_>, Vec<_>) = files.into_iter().zip(nth).partition(|(_, nth)| nth.is_multiple_of(FIFTH));
    let files = |part: Vec<(Labelled, usize)>| part.into_iter().map(|(file, _)| file).collect();
    (files(train), files(test))
}

/// What is in a folder and not hidden, in the order of names.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = vec![];
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The folders in a folder; none if there is no such folder.
fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let all = if dir.is_dir() { entries(dir)? } else { vec![] };
    Ok(all.into_iter().filter(|path| path.is_dir()).collect())
}

/// Whether a path is a file that ends like an image.
fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending)) && path.is_file()
}

/// Decodes one file.
fn picture(path: &Path) -> Result<Picture> {
    let reader = image::ImageReader::open(path).and_then(|reader| reader.with_guessed_format());
    let image = reader.map_err(Error::io("read", path))?.decode();
    let image = image.map_err(|cause| Error::format(path, "an image", cause.to_string().replace('\n', " ")))?;
    let size = [image.height() as usize, image.width() as usize];
    Ok(match image.color().has_color() {
        true => Picture { size, channels: 3, pixels: image.into_rgb8().into_raw() },
        false => Picture { size, channels: 1, pixels: image.into_luma8().into_raw() },
    })
}

/// The shape of all images: grey if every one is; an error for the first of another size.
fn common_shape(files: &[Labelled], pictures: &[Picture]) -> Result<[usize; 3]> {
    let [h, w] = pictures.first().map_or([0, 0], |picture| picture.size);
    if let Some(((path, _), other)) = files.iter().zip(pictures).find(|(_, picture)| picture.size != [h, w]) {
        let expected = format!("{h}×{w} pixels (height × width), as in {}", files[0].0.display());
        return Err(Error::format(path, expected, format!("{}×{}", other.size[0], other.size[1])));
    }
    Ok([h, w, pictures.iter().map(|picture| picture.channels).max().unwrap_or(1)])
}

/// The pixels of a picture in so many channels: grey repeats in each.
fn widen(picture: &Picture, channels: usize) -> impl Iterator<Item = u8> {
    let times = channels / picture.channels;
    picture.pixels.iter().flat_map(move |&p| std::iter::repeat_n(p, times))
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, RgbImage};

    use super::*;
    use crate::data::files::told;

    /// A folder with a 3×2 (height × width) image at each path: grey `i`, or red `i`, green 1, blue 2 at a `.ppm`.
    fn sample(paths: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (i, path) in (0u8..).zip(paths) {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("ppm") => RgbImage::from_pixel(2, 3, image::Rgb([i, 1, 2])).save(path).expect("a file"),
                Some("txt") => fs::write(path, "no image").expect("a file"),
                _ => GrayImage::from_pixel(2, 3, image::Luma([i])).save(path).expect("a file"),
            }
        }
        dir
    }

    /// The complaint about a folder, `DIR`.
    fn complaint(dir: &tempfile::TempDir) -> String {
        told(load(dir.path()), dir.path())
    }

    /// The first byte of each image.
    fn firsts(images: &Images) -> Vec<u8> {
        images.pixels.chunks_exact(images.shape.iter().product()).map(|image| image[0]).collect()
    }

    #[test]
    fn parts_and_classes_are_folders() {
        let dir = sample(&["train/b/x.png", "train/a/y.PGM", "train/a/x.png", "test/a/x.png", "test/b/x.png"]);
        fs::write(dir.path().join("train/a/notes.txt"), "no image").expect("a file");
        fs::write(dir.path().join("train/a/._y.png"), "hidden").expect("a file");
        let data = load(dir.path()).expect("a good folder");
        assert_eq!((data.name.as_str(), data.classes.join(" ")), ("folder", "a b".into()));
        assert_eq!((data.train.shape, data.test.shape), ([3, 2, 1], [3, 2, 1]));
        assert_eq!((firsts(&data.train), data.train.labels), (vec![2, 1, 0], vec![0, 0, 1]));
        assert_eq!((firsts(&data.test), data.test.labels), (vec![3, 4], vec![0, 1]));
    }

    #[test]
    fn every_fifth_of_each_class_is_for_testing() {
        let names: Vec<String> =
            (0..6).map(|i| format!("a/{i}.bmp")).chain((0..5).map(|i| format!("b/{i}.png"))).collect();
        let data = load(sample(&names.iter().map(String::as_str).collect::<Vec<_>>()).path()).expect("a good folder");
        assert_eq!(firsts(&data.train), [0, 1, 2, 3, 5, 6, 7, 8, 9]);
        assert_eq!(data.train.labels, [0, 0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!((firsts(&data.test), data.test.labels), (vec![4, 10], vec![0, 1]));
    }

    #[test]
    fn one_coloured_image_makes_all_coloured() {
        let dir = sample(&["train/a/x.png", "train/a/y.ppm", "test/a/x.jpg"]);
        let data = load(dir.path()).expect("a good folder");
        assert_eq!(data.train.shape, [3, 2, 3]);
        assert_eq!(data.train.pixels, [[0; 18], [1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 2]].concat());
        assert_eq!(data.test.pixels.len(), 18);
    }

    #[test]
    fn another_size_is_refused() {
        let dir = sample(&["train/a/x.png", "train/b/x.png", "test/a/x.png", "test/b/x.png"]);
        GrayImage::new(3, 2).save(dir.path().join("train/b/y.png")).expect("a file");
        let expected = "expected 3×2 pixels (height × width), as in DIR/train/a/x.png, found 2×3";
        assert_eq!(complaint(&dir), format!("DIR/train/b/y.png: {expected}"));
    }

    #[test]
    fn bad_folders_are_told() {
        let images = "images (png, jpg, jpeg, bmp, pgm, ppm) of a class, found none";
        let (none, classes) =
            ("a folder of images for each class, found no folder", "the classes of the training images");
        for (paths, place, expected) in [
            (&["x.png"][..], "DIR", none.into()),
            (&["a/x.png", "b/x.txt"], "DIR/b", images.into()),
            (&["train/a/x.png"], "DIR/test", none.into()),
            (&["train/a/x.png", "train/b/x.png", "test/a/x.png"], "DIR/test", format!("{classes}, a, b, found a")),
            (
                &["a/x.png", "b/x.png"],
                "DIR",
                "a class of at least 5 images, every 5th being for testing, found none".into(),
            ),
        ] {
            assert_eq!(complaint(&sample(paths)), format!("{place}: expected {expected}"));
        }
        let error = told(load(Path::new("no/such")), Path::new("no/such"));
        assert_eq!(error, "expected a folder of images by class, found nothing at DIR");
    }

    #[test]
    fn undecodable_files_are_named() {
        let dir = sample(&["train/a/x.png", "test/a/x.png"]);
        let whole = fs::read(dir.path().join("train/a/x.png")).expect("a file");
        for (name, bytes) in [("y.png", &b"no image"[..]), ("z.png", &whole[..whole.len() / 2])] {
            let path = dir.path().join("train/a").join(name);
            fs::write(&path, bytes).expect("a file");
            let error = complaint(&dir);
            assert!(error.starts_with(&format!("DIR/train/a/{name}: expected an image, found ")), "{error}");
            assert_eq!(error.lines().count(), 1);
            fs::remove_file(path).expect("removed");
        }
    }
}

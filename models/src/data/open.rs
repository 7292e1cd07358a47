//! The data sets that Hillshade opens, by name.

use std::path::{Path, PathBuf};

use crate::data::{cifar, dataset::Dataset, digits, folder, mnist, text::Text, tokenizer::Vocabulary};
use crate::error::*;

/// What the names of texts begin with.
pub const TEXT: &str = "text:";

/// Opens a text, of which `spec` is `text:FILE`; without a vocabulary, its characters are the tokens.
///
/// # Errors
///
/// [`Error::Missing`], [`Error::Io`], [`Error::Format`] for a file that is not UTF-8, and the tokenizer's.
pub fn open_text(spec: &str, vocabulary: Option<&Vocabulary>) -> Result<Text> {
    match spec.strip_prefix(TEXT).filter(|path| !path.is_empty()) {
        Some(path) => Text::open(spec, Path::new(path), vocabulary),
        None => Err(Error::argument("data set", "text:FILE", format!("{spec:?}"))),
    }
}

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
    let refused = |expected: &str| Err(Error::argument("data set", expected, format!("{spec:?}")));
    let (name, path) = match spec.split_once(':') {
        Some((_, "")) => return refused("a path after the colon"),
        Some((name, path)) => (name, Some(Path::new(path))),
        None => (spec, None),
    };
    let given = path.or(dir);
    match name {
        "digits" if path.is_some() => refused("digits alone, which needs no files"),
        "digits" => Ok(digits::load()),
        "mnist" => mnist::load(&place(name, given)),
        "cifar10" => cifar::load(&place(name, given)),
        "folder" => given.map_or_else(|| Err(Error::argument("data set", "folder:PATH", "no path")), folder::load),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::files::told;

    fn message(spec: &str, dir: Option<&Path>) -> String {
        told(open(spec, dir), Path::new("there"))
    }

    #[test]
    fn wrong_specs_say_what_is_known() {
        let known = "digits, mnist, cifar10, folder:PATH, text:FILE";
        assert_eq!(message("minst", None), format!("expected a data set among {known}, found \"minst\""));
        for (spec, told) in [
            ("mnist:", "a path after the colon, found \"mnist:\""),
            ("folder", "folder:PATH, found no path"),
            ("digits:x", "digits alone, which needs no files, found \"digits:x\""),
        ] {
            assert_eq!(message(spec, None), format!("data set: expected {told}"));
        }
    }

    #[test]
    fn the_path_in_the_spec_goes_before_the_folder() {
        assert!(message("mnist:here", Some(Path::new("there"))).contains("at here/train-images-idx3-ubyte, "));
        assert!(message("cifar10", Some(Path::new("there"))).contains("DIR/cifar-10-binary.tar.gz"));
        assert!(open("digits", Some(Path::new("there"))).is_ok());
        assert_eq!(place("mnist", Some(Path::new("here"))), Path::new("here"));
        assert!(place("mnist", None).ends_with("mnist"));
    }
}

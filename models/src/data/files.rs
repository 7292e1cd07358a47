//! Reading files, gzip among them.

use std::{fs, io::Read, path::Path};

use crate::error::*;

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

/// Refuses a path where nothing is.
pub(crate) fn there(what: &str, path: &Path) -> Result<()> {
    match path.exists() {
        true => Ok(()),
        false => Err(Error::Missing { what: what.into(), looked: vec![path.into()] }),
    }
}

/// The bytes within gzip bytes, of one member or several.
pub(crate) fn gunzip(path: &Path, packed: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match flate2::bufread::MultiGzDecoder::new(packed).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(cause) => Err(Error::format(path, "gzip data", format!("{} bytes that are not: {cause}", packed.len()))),
    }
}

/// The folder of real data for tests; says that the test is skipped where there is none.
#[cfg(test)]
pub(crate) fn real_data(test: &str) -> Option<std::path::PathBuf> {
    let root = std::env::var_os("HILLSHADE_DATA").map(Into::into);
    if root.is_none() {
        println!("{test}: skipped, HILLSHADE_DATA is not set");
    }
    root
}

/// The message of an error, with `DIR` for the folder and `/` between names whatever the system.
#[cfg(test)]
pub(crate) fn told<T: std::fmt::Debug>(result: Result<T>, dir: &Path) -> String {
    let message = result.expect_err("something to complain about").to_string();
    message.replace(&dir.display().to_string(), "DIR").replace('\\', "/")
}

/// A folder with these files.
#[cfg(test)]
pub(crate) fn written(files: &[(impl AsRef<Path>, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (path, bytes) in files {
        let path = dir.path().join(path);
        path.parent().map(fs::create_dir_all).expect("a parent").expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_gzip_is_told() {
        let error = gunzip(Path::new("x.gz"), b"plain text").expect_err("not gzip").to_string();
        assert!(error.starts_with("x.gz: expected gzip data, found 10 bytes that are not: "), "{error}");
    }
}

//! Results: JSON in files and on standard output, figures beside it.

use std::path::Path;

use hillshade::{
    models::{Error, write_atomically},
    plot::Figure,
};
use serde::Serialize;

type Result<T> = std::result::Result<T, Error>;

/// JSON for a file, or the error of writing that file: no file is replaced by less than a whole result.
fn encoded(path: &Path, json: serde_json::Result<Vec<u8>>) -> Result<Vec<u8>> {
    json.map_err(|e| Error::Io { what: "write", path: path.into(), source: e.into() })
}

/// Replaces a file by a result as indented JSON.
pub fn write_json(path: &Path, result: &impl Serialize) -> Result<()> {
    write_atomically(path, &encoded(path, serde_json::to_vec_pretty(result))?)
}

/// Replaces a file by what a measurement has so far, as JSON on one line.
pub fn write_part(path: &Path, part: &impl Serialize) -> Result<()> {
    write_atomically(path, &encoded(path, serde_json::to_vec(part))?)
}

/// A result as one line of JSON, for a file of such lines.
pub fn json_line(path: &Path, result: &impl Serialize) -> Result<String> {
    let json = encoded(path, serde_json::to_vec(result))?;
    Ok(String::from_utf8(json).expect("JSON is UTF-8") + "\n")
}

/// Prints a result as one line of JSON.
pub fn print_json(result: &impl Serialize) -> super::Result<()> {
    super::print(json_line(Path::new("standard output"), result)?.trim_end())
}

/// Replaces `<name>.svg` and `<name>.png` in a folder.
pub fn write_figure(folder: &Path, name: &str, figure: &Figure) -> Result<()> {
    write_atomically(&folder.join(format!("{name}.svg")), figure.svg().as_bytes())?;
    write_atomically(&folder.join(format!("{name}.png")), &figure.png())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    #[test]
    fn what_is_no_json_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spectrum.json");
        write_json(&path, &[1.5]).expect("a file");
        let good = fs::read(&path).expect("a file");
        // Keys of JSON are strings.
        let none = BTreeMap::from([((1, 2), 3)]);
        for told in [write_json(&path, &none), write_part(&path, &none), json_line(&path, &none).map(drop)] {
            let told = told.expect_err("no JSON").to_string();
            assert!(told.contains("expected to write") && told.contains("key must be a string"), "{told}");
        }
        assert_eq!(fs::read(&path).expect("the file"), good);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }
}

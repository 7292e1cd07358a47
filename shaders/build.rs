//! Lists the `.wgsl` files: a kernel or a fragment exists by being in a folder of its family.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let (mut kernels, mut fragments) = (Vec::new(), Vec::new());
    collect(&root.join("lib"), &mut fragments)?;
    for folder in folders(&root)?.into_iter().filter(|f| !f.ends_with("lib") && !f.ends_with("src")) {
        collect(&folder, &mut kernels)?;
    }
    let text = format!(
        "/// The kernels, by name.\npub const KERNELS: &[(&str, &str)] = &[{}];\n\
         /// Fragments for `#import`: functions, or whole loops around functions of the kernel, with their bindings.\n\
         pub const FRAGMENTS: &[(&str, &str)] = &[{}];\n",
        list(kernels)?,
        list(fragments)?,
    );
    println!("cargo::rerun-if-changed={}", root.display());
    fs::write(Path::new(&out).join("texts.rs"), text)
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().filter(|p| p.is_dir()).collect())
}

/// The texts in a folder and in those below it.
fn collect(folder: &Path, texts: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, texts)?;
        } else if path.extension().is_some_and(|e| e == "wgsl") {
            texts.push(path);
        }
    }
    Ok(())
}

/// Texts in the order of their names, as tuples of name and `include_str!`. A name is there once, whatever the folder.
fn list(mut texts: Vec<PathBuf>) -> io::Result<String> {
    texts.sort_by(|a, b| a.file_stem().cmp(&b.file_stem()));
    if let Some(two) = texts.windows(2).find(|two| two[0].file_stem() == two[1].file_stem()) {
        return Err(io::Error::other(format!("two texts of one name: {} and {}", two[0].display(), two[1].display())));
    }
    let row = |p: &PathBuf| format!("({:?}, include_str!({p:?}))", p.file_stem().unwrap_or_default());
    Ok(texts.iter().map(row).collect::<Vec<_>>().join(",\n"))
}

//! Lists the `.wgsl` files: a kernel or a fragment exists by being in its folder.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let kernels = list(Path::new(&root))?;
    let fragments = list(&Path::new(&root).join("lib"))?;
    let text = format!(
        "/// The kernels, by name.\npub const KERNELS: &[(&str, &str)] = &[{kernels}];\n\
         /// Fragments for `#import`: functions, or whole loops around functions of the kernel, with their bindings.\n\
         pub const FRAGMENTS: &[(&str, &str)] = &[{fragments}];\n"
    );
    fs::write(Path::new(&out).join("texts.rs"), text)
}

/// The folder's texts in the order of their names, as tuples of name and `include_str!`.
fn list(folder: &Path) -> io::Result<String> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut paths = fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "wgsl"));
    paths.sort();
    let row = |p: &std::path::PathBuf| format!("({:?}, include_str!({p:?}))", p.file_stem().unwrap_or_default());
    Ok(paths.iter().map(row).collect::<Vec<_>>().join(",\n"))
}

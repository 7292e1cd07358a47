//! The handwritten WGSL kernels of Hillshade, as text.
//!
//! Kernels are the `.wgsl` files in the folders of this crate, one entry point `main` each; a new file is listed by itself.
//! `#import name` pastes the text of that name below `lib/` once. Nothing else is assembled: variants are `override` constants.

include!(concat!(env!("OUT_DIR"), "/texts.rs"));

fn find(list: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// The kernel's text with its imports pasted in, or `None` when there is no such kernel.
///
/// # Panics
///
/// When a text imports what does not exist, which a test excludes for all of them.
pub fn compose(name: &str) -> Option<String> {
    Some(expand(find(KERNELS, name)?).expect("a test resolves the imports of all kernels"))
}

/// A text with its imports pasted in.
///
/// # Errors
///
/// The name of a fragment that does not exist.
pub fn expand(text: &str) -> Result<String, String> {
    let (mut out, mut done) = (String::new(), Vec::new());
    paste(text, &mut out, &mut done)?;
    Ok(out)
}

fn paste<'a>(text: &'a str, out: &mut String, done: &mut Vec<&'a str>) -> Result<(), String> {
    for line in text.lines() {
        match line.strip_prefix("#import ") {
            Some(name) if done.contains(&name) => {}
            Some(name) => {
                done.push(name);
                paste(find(FRAGMENTS, name).ok_or_else(|| format!("no fragment \"{name}\" to import"))?, out, done)?;
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_import_resolves() {
        assert!(!KERNELS.is_empty());
        for (name, _) in KERNELS {
            assert!(!compose(name).expect("listed").contains("#import"), "{name}");
        }
    }
}

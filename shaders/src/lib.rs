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
    let mut out = String::new();
    let mut done = Vec::new();
    paste(find(KERNELS, name)?, &mut out, &mut done);
    Some(out)
}

fn paste(text: &'static str, out: &mut String, done: &mut Vec<&'static str>) {
    for line in text.lines() {
        match line.strip_prefix("#import ") {
            Some(name) if done.contains(&name) => {}
            Some(name) => {
                done.push(name);
                paste(find(FRAGMENTS, name).unwrap_or_else(|| panic!("no fragment {name}")), out, done);
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
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

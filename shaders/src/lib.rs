//! The handwritten WGSL kernels of Hillshade, as text.
//!
//! Kernels are the `.wgsl` files in the folders of this crate, one entry point `main` each; a new file is listed by itself.
//! `#import name` pastes the text of that name below `lib/` once, and `#repeat n` … `#end` writes lines out n times,
//! with `$i` and `$(a*i+b)` for their numbers. Nothing else is assembled: variants are `override` constants.

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

/// A text with its imports pasted in and its repetitions written out.
///
/// # Errors
///
/// What is wrong with a directive: a fragment that does not exist, a repetition without number or end.
pub fn expand(text: &str) -> Result<String, String> {
    let (mut out, mut done) = (String::new(), Vec::new());
    paste(text, &mut out, &mut done)?;
    Ok(out)
}

fn paste<'a>(text: &'a str, out: &mut String, done: &mut Vec<&'a str>) -> Result<(), String> {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("#import ") {
            if !done.contains(&name) {
                done.push(name);
                paste(find(FRAGMENTS, name).ok_or_else(|| format!("no fragment \"{name}\" to import"))?, out, done)?;
            }
        } else if let Some(times) = line.strip_prefix("#repeat ") {
            let times: usize = times.parse().map_err(|_| format!("#repeat: expected a number, found \"{times}\""))?;
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "#end").collect();
            (0..times).flat_map(|i| body.iter().map(move |line| numbered(line, i))).for_each(|line| {
                out.push_str(&line);
                out.push('\n');
            });
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(())
}

/// A line of repetition `i`, which stands for `$i`; `$(a*i+b)` is that number.
fn numbered(line: &str, i: usize) -> String {
    let mut parts = line.split("$(");
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (place, rest) = part.split_once(')').unwrap_or((part, ""));
        let number =
            place.split_once("*i+").and_then(|(a, b)| Some(a.parse::<usize>().ok()? * i + b.parse::<usize>().ok()?));
        out.push_str(&number.map_or_else(|| format!("$({place})"), |number| number.to_string()));
        out.push_str(rest);
    }
    out.replace("$i", &i.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_numbered() {
        let text = "a\n#repeat 2\n@binding($(3*i+1)) x$i[i]\n#end\nb";
        assert_eq!(expand(text).as_deref(), Ok("a\n@binding(1) x0[i]\n@binding(4) x1[i]\nb\n"));
        assert!(expand("#repeat x\n#end").is_err() && expand("#import nothing").is_err());
    }

    #[test]
    fn every_import_resolves() {
        assert!(!KERNELS.is_empty());
        for (name, _) in KERNELS {
            assert!(!compose(name).expect("listed").contains("#import"), "{name}");
        }
    }
}

//! The rooms of every crate: which modules there are, that their `use` lines point one way, and that the map shows them.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

/// The crates, each with the modules that may use one another: what one line of the reason says.
const CRATES: [(&str, &[&str]); 4] = [
    // A graph holds ops, ops are written by tensors, tensors are handles on a graph.
    ("engine/src", &["graph"]),
    ("models/src", &[]),
    ("lab/src", &[]),
    ("src", &[]),
];

fn root() -> PathBuf {
    env::var("CARGO_MANIFEST_DIR").map_or_else(|_| PathBuf::from("."), PathBuf::from)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a readable entry").path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.extend(path.extension().is_some_and(|e| e == "rs").then_some(path)),
        }
    }
}

/// A module's path from that of its file: `graph::op` of `graph/op.rs`.
fn module(folder: &Path, path: &Path) -> Vec<String> {
    let inside = path.strip_prefix(folder).expect("it is inside").with_extension("");
    inside.iter().map(|part| part.to_string_lossy().into_owned()).collect()
}

/// The text without comments, and without the unit tests at its end, which may use anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a readable source");
    let own = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    own.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The paths that a tree of a `use` declaration names.
fn leaves(prefix: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
    let (head, inner) = match tree.split_once('{') {
        Some((head, rest)) => (head, Some(rest.rsplit_once('}').map_or(rest, |(inner, _)| inner))),
        None => (tree, None),
    };
    let words = head.split("::").map(|word| word.split(" as ").next().unwrap_or_default().trim().to_string());
    let path: Vec<String> = prefix.iter().cloned().chain(words.filter(|word| !word.is_empty())).collect();
    let Some(inner) = inner else { return found.push(path) };
    let (mut depth, mut from) = (0, 0);
    for (i, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                leaves(&path, &inner[from..i], found);
                from = i + 1;
            }
            _ => {}
        }
    }
    if !inner[from..].trim().is_empty() {
        leaves(&path, &inner[from..], found);
    }
}

/// What a module uses of its crate, as paths from the crate's root.
fn used(own: &[String], code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            // Not the end of another word, and not the `$crate` or `super` in the middle of a path.
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let is_use = code[..at].trim_end().ends_with("use");
            let rest = &code[at + start.len()..];
            let tree = match is_use {
                true => rest.split(';').next().unwrap_or_default().to_string(),
                false => rest.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect(),
            };
            let prefix = match start {
                "super::" => own[..own.len() - 1].to_vec(),
                _ => Vec::new(),
            };
            leaves(&prefix, &tree, &mut found);
        }
    }
    found
}

/// The names of the modules at the top of a crate, in the order of `lib.rs`.
fn rooms(folder: &Path) -> Vec<String> {
    let lib = fs::read_to_string(folder.join("lib.rs")).expect("a crate has a lib.rs");
    let declared = lib.lines().filter_map(|line| {
        let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
        let name: String =
            line.strip_prefix("mod ")?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        Some(name)
    });
    declared.collect()
}

/// A way from a module back to itself.
fn cycle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        at: &str, arrows: &BTreeMap<String, BTreeSet<String>>, path: &mut Vec<String>, done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(from) = path.iter().position(|p| p == at) {
            return Some([&path[from..], &[at.to_string()]].concat());
        }
        if done.contains(at) {
            return None;
        }
        path.push(at.to_string());
        let found = arrows.get(at).into_iter().flatten().find_map(|to| visit(to, arrows, path, done));
        path.pop();
        done.insert(at.to_string());
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|from| visit(from, arrows, &mut Vec::new(), &mut done))
}

#[test]
fn arrows_point_one_way() {
    for (folder, together) in CRATES {
        let folder = root().join(folder);
        let mut files = Vec::new();
        sources(&folder, &mut files);
        let modules: BTreeMap<Vec<String>, PathBuf> =
            files.into_iter().map(|path| (module(&folder, &path), path)).collect();
        assert!(modules.len() > 5, "{} holds modules", folder.display());
        let order = rooms(&folder);
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (own, path) in
            modules.iter().filter(|(own, _)| own.len() > 1 || !["lib", "main"].contains(&own[0].as_str()))
        {
            for to in used(own, &code(path)) {
                let Some(to) = (1..=to.len()).rev().map(|k| to[..k].to_vec()).find(|to| modules.contains_key(to))
                else {
                    continue;
                };
                if to == *own || together.iter().any(|room| own[0] == *room && to[0] == *room) {
                    continue;
                }
                let [below, above] = [&own[0], &to[0]].map(|room| order.iter().position(|r| r == room));
                if let (Some(below), Some(above)) = (below, above) {
                    assert!(
                        above <= below,
                        "{} uses {}: {} is declared after {} in {}/lib.rs",
                        own.join("::"),
                        to.join("::"),
                        to[0],
                        own[0],
                        folder.display(),
                    );
                }
                // A module that holds others may use them, and they it: they are one.
                if !own.starts_with(&to) && !to.starts_with(own) {
                    arrows.entry(own.join("::")).or_default().insert(to.join("::"));
                }
            }
        }
        if let Some(cycle) = cycle(&arrows) {
            panic!("{}: modules use one another in a circle: {}", folder.display(), cycle.join(" -> "));
        }
    }
}

#[test]
fn a_circle_is_found() {
    let arrows = |list: &[(&str, &str)]| {
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        list.iter().for_each(|(from, to)| _ = arrows.entry((*from).into()).or_default().insert((*to).into()));
        arrows
    };
    assert_eq!(cycle(&arrows(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(cycle(&arrows(&[("a", "b"), ("b", "c"), ("c", "b")])), Some(vec!["b".into(), "c".into(), "b".into()]));
    let own = ["ops".to_string(), "norm".into(), "rows".into()];
    let text = "use crate::{error::Result, cpu::{float::{Real, SERIAL}, sums::dot}};\nuse super::frame;\nlet x = crate::tensor::shape::count(&s);";
    let paths: Vec<String> = used(&own, text).into_iter().map(|path| path.join("::")).collect();
    let wanted = [
        "error::Result",
        "cpu::float::Real",
        "cpu::float::SERIAL",
        "cpu::sums::dot",
        "tensor::shape::count",
        "ops::norm::frame",
    ];
    assert_eq!(paths, wanted);
}

#[test]
fn the_engine_has_few_entries() {
    let entries = fs::read_dir(root().join("engine/src")).expect("the engine").count();
    assert!((2..=12).contains(&entries), "{entries} entries at the top of engine/src");
}

/// The folders and files that the map in ARCHITECTURE.md shows exist, and no folder of sources is left out.
#[test]
fn the_map_is_the_tree() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map");
    let map = text.split("```").nth(1).expect("the map is the first block");
    let mut at: Vec<(usize, PathBuf)> = Vec::new();
    let mut shown = BTreeSet::new();
    for line in map.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        let name = line.split_whitespace().next().unwrap_or_default();
        // Lines that go on are indented further than any name.
        if indent > 12 {
            continue;
        }
        at.retain(|(i, _)| *i < indent);
        let parent = at.last().map_or_else(root, |(_, path)| path.clone());
        let path = parent.join(name.trim_end_matches('/'));
        assert!(path.exists(), "ARCHITECTURE.md shows {}, which is not there", path.display());
        shown.insert(path.clone());
        at.push((indent, path));
    }
    for (folder, _) in CRATES {
        for entry in fs::read_dir(root().join(folder)).expect("a crate's sources") {
            let path = entry.expect("a readable entry").path();
            assert!(!path.is_dir() || shown.contains(&path), "ARCHITECTURE.md does not show {}", path.display());
        }
    }
}

//! Finds the pages, and takes them apart.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Markdown file that is ours.
pub fn pages() -> Vec<PathBuf> {
    let found = files("", ".md");
    assert!(found.len() >= 12, "only {found:?}");
    found
}

/// The Makefile and what it includes.
pub struct Makefiles(String);

impl Makefiles {
    pub fn read() -> Self {
        let included = files("", ".mk");
        assert!(included.len() >= 2, "only {included:?}");
        Self(read("Makefile") + &included.iter().map(read).collect::<String>())
    }

    /// Whether this is a target, or `get-TOOL,TOOL` of tools that can be had so.
    pub fn has(&self, target: &str) -> bool {
        let is_line = |line: &str| self.0.lines().any(|found| found == line);
        let is_tool = |tool: &str| {
            let rules = ["deb", "get"].map(|kind| format!("\n{kind}.{tool} "));
            rules.iter().any(|rule| self.0.contains(rule))
        };
        match target.strip_prefix("get-") {
            Some(tools) => tools.split(',').all(is_tool),
            None => is_line(&format!(".PHONY: {target}")),
        }
    }
}

/// All files in this folder whose name ends so, by their path from the root.
pub fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            let kind = entry.file_type().expect("a type");
            let other = name.starts_with('.') || ["target", "node_modules"].contains(&&*name);
            if kind.is_dir() && !other {
                folders.push(path);
            } else if kind.is_file() && name.ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A heading's address, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

pub fn anchors(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// What stands in code on a page: fenced blocks, and between backticks.
pub fn code(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            found.push(line.trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

//! A Fluent Bit configuration, as far as inputs need it: sections with their properties, and the
//! values of variables. This module reads the classic format with `@SET` and `@INCLUDE`;
//! [`crate::yaml`] reads YAML. It knows no option of any plugin.

use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::yaml;

/// A section, as written in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    pub properties: Vec<(String, String)>,
    /// Properties with which Fluent Bit does not start, each with the reason.
    pub problems: Vec<(String, String)>,
    /// Properties that some releases read in an unexpected way, each with a sentence.
    pub warnings: Vec<(String, String)>,
}

impl Section {
    pub fn new(name: &str, properties: Vec<(String, String)>) -> Self {
        Self {
            name: name.to_owned(),
            properties,
            ..Self::default()
        }
    }

    pub fn warn(&mut self, property: &str, sentence: &str) {
        let warning = (property.to_owned(), sentence.to_owned());
        self.warnings.push(warning);
    }

    /// Returns the value of a property. The case of a name does not matter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .properties
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
pub struct Conf {
    pub sections: Vec<Section>,
    pub environment: Environment,
    /// Warnings outside the properties of inputs.
    pub warnings: Vec<String>,
    /// Whether there is a `service` section. In YAML, Fluent Bit refuses a second one, even in
    /// another file.
    pub(crate) has_service: bool,
    /// The files that were read. A file that is included again is an error, so reading always ends.
    seen: Vec<PathBuf>,
}

impl Conf {
    /// Reads a file and all files that it includes.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut conf = Self::default();
        match yaml::is_yaml(path) {
            true => conf.add_yaml(path)?,
            false => conf.add(path, path.parent().unwrap_or(Path::new("")))?,
        }
        Ok(conf)
    }

    /// Relative includes start in `root`, the folder of the first file.
    fn add(&mut self, path: &Path, root: &Path) -> Result<(), String> {
        let text = self.open(path)?;
        self.add_text(&String::from_utf8_lossy(&text), path, root)
    }

    pub(crate) fn add_yaml(&mut self, path: &Path) -> Result<(), String> {
        let text = self.open(path)?;
        yaml::add(self, &text, path)
    }

    /// Reads a file. A file that was already read is an error.
    fn open(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let failed = |error: io::Error| format!("cannot read {}: {error}", path.display());
        let identity = fs::canonicalize(path).map_err(failed)?;
        if self.seen.contains(&identity) {
            return Err(format!("{} is included twice", path.display()));
        }
        let text = read_file(path).map_err(failed)?;
        self.seen.push(identity);
        Ok(text)
    }

    fn add_text(&mut self, text: &str, path: &Path, root: &Path) -> Result<(), String> {
        // Indentation of a group's header. Lines that are indented deeper belong to the group.
        let mut group = None;
        // The indentation of the section's first property. The other properties must have the same
        // one.
        let mut level: Option<&str> = None;
        for (number, line) in text.lines().enumerate() {
            let failed = |why: &str| format!("{}:{}: {why}", path.display(), number + 1);
            let content = line.trim();
            let indent = line.len() - line.trim_start().len();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if indent == 0 && content.starts_with('@') {
                self.directive(content, root).map_err(|why| failed(&why))?;
            } else if let Some(header) = content.strip_prefix('[') {
                let (name, _) = header
                    .split_once(']')
                    .ok_or_else(|| failed("a section's name ends with ]"))?;
                group = (indent > 0).then_some(indent);
                if indent == 0 {
                    level = None;
                    self.sections.push(Section::new(name, Vec::new()));
                }
            } else if group.is_none_or(|header| indent <= header) {
                group = None;
                let (key, value) = content
                    .split_once(' ')
                    .ok_or_else(|| failed("a property needs a value, after a blank"))?;
                let section = self.sections.last_mut();
                let section =
                    section.ok_or_else(|| failed("a property stands before any section"))?;
                let indentation = &line[..indent];
                match *level.get_or_insert(indentation) {
                    "" => return Err(failed("a property is indented under its section")),
                    first if first != indentation => {
                        return Err(failed(
                            "a property is indented as the first of its section is, by the same blanks or tabs",
                        ));
                    }
                    _ => {}
                }
                let property = (key.to_owned(), value.trim().to_owned());
                section.properties.push(property);
            }
        }
        Ok(())
    }

    fn directive(&mut self, line: &str, root: &Path) -> Result<(), String> {
        let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim();
        if name.eq_ignore_ascii_case("@SET") {
            let (key, value) = rest.split_once('=').ok_or("@SET needs NAME=VALUE")?;
            self.environment.set(key.trim(), value.trim());
            return Ok(());
        }
        if !name.eq_ignore_ascii_case("@INCLUDE") {
            // Fluent Bit ignores other directives.
            return Ok(());
        }
        let path = root.join(rest);
        if !rest.contains('*') {
            // The path is relative to the working directory if such a file exists, and otherwise to
            // the folder of the first file.
            let here = Path::new(rest);
            return self.add(if here.exists() { here } else { &path }, root);
        }
        let pattern = path.to_str().ok_or("a path that is not UTF-8")?;
        let found = glob::glob(pattern).map_err(|error| error.to_string())?;
        let mut any = false;
        for path in found {
            any = true;
            self.add(&path.map_err(|error| error.to_string())?, root)?;
        }
        match any {
            true => Ok(()),
            false => Err(format!("no file matches {pattern}")),
        }
    }
}

/// This is larger than any configuration.
const MAX_FILE: u64 = 4 << 20;

/// Reads only regular files: a device may have no end, and a named pipe may have no writer.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let meta = fs::metadata(path)?;
    // Reading a folder returns an error anyway.
    if !meta.is_file() && !meta.is_dir() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut text)?;
    match text.len() as u64 > MAX_FILE {
        true => Err(io::Error::other("it is larger than 4 MiB")),
        false => Ok(text),
    }
}

/// The values of `${NAME}`: those that the configuration sets, and otherwise those of the process's
/// environment.
#[derive(Debug, Default)]
pub struct Environment(HashMap<String, String>);

impl Environment {
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    fn get(&self, name: &str) -> Option<String> {
        if let Some(value) = self.0.get(name) {
            return Some(value.clone());
        }
        let given = env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        // Fluent Bit sets this variable itself if nobody else has set it.
        given.or_else(|| (name == "HOSTNAME").then(host_name).flatten())
    }

    /// Whether a variable of the text has a default. Not every release supports that.
    pub fn has_default(text: &str) -> bool {
        variables(text).any(|variable| variable.contains(":-"))
    }

    /// Returns a variable of the text whose value the configuration reads from a file.
    pub fn in_file<'t>(&self, text: &'t str) -> Option<&'t str> {
        let is_file = |name: &&str| {
            let value = self.0.get(*name);
            value.is_some_and(|value| value.len() > 7 && value.starts_with("file://"))
        };
        variables(text).find(is_file)
    }

    /// Replaces `${NAME}` by its value, or by nothing if it is not set. Replaces `${NAME:-default}`
    /// by the default if the variable is not set or empty.
    pub fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${")
            && let Some((inside, after)) = after.split_once('}')
        {
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, default),
                None => (inside, ""),
            };
            let value = self.get(name).filter(|value| !value.is_empty());
            out.push_str(before);
            out.push_str(value.as_deref().unwrap_or(default));
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

/// The texts between `${` and `}`.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.split("${").skip(1);
    starts.filter_map(|start| Some(start.split_once('}')?.0))
}

fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Conf, String> {
        let mut conf = Conf::default();
        conf.add_text(text, Path::new("test.conf"), Path::new(""))?;
        Ok(conf)
    }

    #[test]
    fn sections_and_their_properties() {
        let text = "# a comment\n[SERVICE]\n    Flush 1\n\n[INPUT]\n  # another\n    Name   kubeletstats  \n    \
                    Namespace a b\n    [a group]\n        Name other\n    Tag t\n";
        let conf = read(text).expect("the configuration is well-formed");
        assert_eq!(conf.sections.len(), 2);
        let input = &conf.sections[1];
        assert_eq!(input.name, "INPUT");
        assert_eq!(input.get("NAME"), Some("kubeletstats"));
        assert_eq!(input.get("namespace"), Some("a b"));
        assert_eq!(input.properties.len(), 3);
        assert_eq!(
            read("[INPUT]\n    Name\n").expect_err("the configuration is refused"),
            "test.conf:2: a property needs a value, after a blank"
        );
        assert_eq!(
            read("[INPUT\n").expect_err("the configuration is refused"),
            "test.conf:1: a section's name ends with ]"
        );
    }

    #[test]
    fn variables() {
        let conf = read("@SET  A = one two\n@set B=\n").expect("the configuration is well-formed");
        let expand = |text| conf.environment.expand(text);
        assert_eq!(expand("x ${A}-${NO_SUCH_VARIABLE_HERE}ms"), "x one two-ms");
        assert_eq!(
            expand("${B:-d}${NO_SUCH_VARIABLE_HERE:-e}${A:-f}"),
            "deone two"
        );
        assert_eq!(expand("plain ${A"), "plain ${A");
        assert_eq!(expand("${}${=}"), "");
    }

    #[test]
    fn damage_is_no_panic() {
        let shipped = include_str!("../../fluent-bit.conf");
        for (at, _) in shipped.char_indices() {
            // The result does not matter, but nothing may panic. An include finds no file.
            let _ = read(&shipped[..at]);
            let _ = read(&shipped[at..]);
            for odd in ["[", "]", "${", "}", "\t", "\u{0}", "\r\n "] {
                let (before, after) = shipped.split_at(at);
                if let Ok(conf) = read(&format!("{before}{odd}{after}")) {
                    let values = conf.sections.iter().flat_map(|section| &section.properties);
                    values.for_each(|(_, value)| drop(conf.environment.expand(value)));
                }
            }
        }
    }
}

//! Settings as text: the classic configuration file and `${ENV}` in it. Knows no plugin.

use anyhow::{Context, Result, anyhow, bail};
use std::path::Path;
use std::str::FromStr;
use std::{env, fs};

/// A `[KIND]` with its options. Kinds, names and keys are in lower case here.
pub struct Section {
    pub kind: String,
    pub name: String,
    pub options: Vec<(String, String)>,
}

impl Section {
    pub fn new(kind: &str, name: &str) -> Section {
        let (kind, name) = (kind.to_ascii_lowercase(), name.to_ascii_lowercase());
        let options = Vec::new();
        Section {
            kind,
            name,
            options,
        }
    }

    pub fn set(&mut self, key: &str, value: &str) {
        match key.to_ascii_lowercase() {
            key if key == "name" => self.name = value.to_ascii_lowercase(),
            key => self.options.push((key, value.to_owned())),
        }
    }

    /// An option's last value; an empty one counts as not set.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.options.iter().rfind(|(k, _)| k == key);
        found.map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    pub fn parse<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        let parsed = self.get(key).map(str::parse).transpose();
        parsed.map_err(|_| anyhow!("[config] {} has a bad value of '{key}'", self.kind))
    }
}

/// The first value of a `[SERVICE]` option.
pub fn service<T: FromStr>(sections: &[Section], key: &str) -> Result<Option<T>> {
    let mut services = sections.iter().filter(|s| s.kind == "service");
    let section = services.find(|s| s.get(key).is_some());
    section.map_or(Ok(None), |section| section.parse(key))
}

/// Reads a file in the classic format, and the plugins file that it names.
pub fn read(path: &Path) -> Result<Vec<Section>> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("[config] {shown}"))?;
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let header = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
        let property = line.split_once(char::is_whitespace);
        match (header, property, sections.last_mut()) {
            (Some(kind), _, _) => sections.push(Section::new(kind, "")),
            (None, Some((key, value)), Some(section)) => section.set(key, &expand(value.trim())),
            _ => bail!("[config] error in {shown}:{number}: neither a section nor a property"),
        }
    }
    if let Some(name) = service::<String>(&sections, "plugins_file")? {
        sections.extend(read(&path.with_file_name(name))?);
    }
    Ok(sections)
}

/// Replaces each `${NAME}`; an unset one becomes nothing.
fn expand(text: &str) -> String {
    if let Some((before, rest)) = text.split_once("${")
        && let Some((name, after)) = rest.split_once('}')
    {
        return before.to_owned() + &env::var(name).unwrap_or_default() + &expand(after);
    }
    text.to_owned()
}

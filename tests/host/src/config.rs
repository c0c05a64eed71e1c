//! Settings as text: the sections of a configuration, as the command reads it. This
//! module knows no plugin.

use std::{path::Path, str::FromStr};

use anyhow::{Result, anyhow};
use kubeletstats_cli::conf::Conf;

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

    /// Returns an option's last value. An empty value counts as not set.
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

/// Reads a file in either format, and the plugins file that it names.
pub fn read(path: &Path) -> Result<Vec<Section>> {
    let conf = Conf::read(path).map_err(|why| anyhow!("[config] {why}"))?;
    let mut sections = Vec::new();
    for found in &conf.sections {
        if let Some((_, why)) = found.problems.first() {
            return Err(anyhow!("[config] {why}"));
        }
        let mut section = Section::new(&found.name, "");
        for (key, value) in &found.properties {
            section.set(key, &conf.environment.expand(value));
        }
        sections.push(section);
    }
    if let Some(name) = service::<String>(&sections, "plugins_file")? {
        sections.extend(read(&path.with_file_name(name))?);
    }
    Ok(sections)
}

//! Finds the inputs for a command, from the command line and the configuration. Each has
//! the options that Fluent Bit would pass to the plugin.

use std::path::{Path, PathBuf};

use kubeletstats_cli::{
    conf::{Conf, Environment, Section},
    properties::{self, Handling},
    yaml,
};
use kubeletstats_core::{
    options::{Config, OPTIONS},
    text::printable,
};

use crate::watchdog;

/// The paths of the configuration in the image. The first one that exists is read.
pub const DEFAULT_FILES: [&str; 2] = [
    "/fluent-bit/etc/fluent-bit.yaml",
    "/fluent-bit/etc/fluent-bit.conf",
];

const PLUGIN: &str = "kubeletstats";

/// One input, with the properties that the user wrote.
#[derive(Debug)]
pub struct Input {
    /// Where its options are from.
    pub origin: String,
    options: Vec<(String, String)>,
    /// A sentence for each property that has no effect, or not in every release.
    pub warnings: Vec<String>,
    /// Why Fluent Bit itself does not start.
    refused: Option<String>,
}

impl Input {
    /// Variables in `properties` are already replaced.
    fn new(origin: String, properties: Vec<(String, String)>) -> Self {
        let mut input = Self {
            origin,
            options: Vec::new(),
            warnings: Vec::new(),
            refused: None,
        };
        for (name, value) in properties {
            match properties::handling(&name, value.trim()) {
                Handling::Plugin => input.options.push((name, value)),
                Handling::FluentBit => {}
                Handling::NoEffect(instead) => {
                    let name = printable(&name, 80);
                    let line = format!("{name} has no effect on this input: {instead}");
                    input.warnings.push(line);
                }
                Handling::Refused(why) => {
                    input.refused.get_or_insert(why);
                }
            }
        }
        input
    }

    /// Reads the options like `cb_init`. With an error, Fluent Bit would not start.
    pub fn config(&self) -> Result<Config, String> {
        if let Some(why) = &self.refused {
            return Err(why.clone());
        }
        for (name, _) in &self.options {
            let is_name = |other: &str| other.eq_ignore_ascii_case(name);
            if !OPTIONS.iter().any(|option| is_name(option.name)) {
                let name = printable(name, 80);
                return Err(format!(
                    "unknown configuration property '{name}': kubeletstats --help lists them"
                ));
            }
            let times = self.options.iter().filter(|(key, _)| is_name(key)).count();
            if times > 1 {
                return Err(format!(
                    "configuration property '{name}' is set {times} times: write one, with commas between items"
                ));
            }
        }
        Config::read(|name| {
            let mut given = self.options.iter();
            let found = given.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        })
        .map_err(|error| error.to_string())
    }
}

/// Returns every input for these arguments. `given` has the arguments of `-p`.
pub fn find(file: Option<PathBuf>, given: &[(String, String)]) -> Result<Vec<Input>, String> {
    let path = file.clone().unwrap_or_else(|| DEFAULT_FILES[0].into());
    watchdog::watch_configuration(&path, || find_unwatched(file, given))
}

fn find_unwatched(file: Option<PathBuf>, given: &[(String, String)]) -> Result<Vec<Input>, String> {
    let default = || {
        let mut paths = DEFAULT_FILES.iter().map(PathBuf::from);
        given.is_empty().then(|| paths.find(|path| path.exists()))?
    };
    match file.or_else(default) {
        Some(path) => in_file(&path, given),
        None => {
            let origin = match given {
                [] => "defaults",
                _ => "command line",
            };
            let given = expanded(given, &Environment::default());
            Ok(vec![Input::new(origin.to_owned(), given)])
        }
    }
}

fn in_file(path: &Path, given: &[(String, String)]) -> Result<Vec<Input>, String> {
    let conf = Conf::read(path)?;
    let is_ours = |section: &&Section| {
        let name = section.get("name").unwrap_or_default();
        let name = conf.environment.expand(name);
        section.name.eq_ignore_ascii_case("INPUT") && name.trim().eq_ignore_ascii_case(PLUGIN)
    };
    let sections: Vec<_> = conf.sections.iter().filter(is_ours).collect();
    if sections.is_empty() {
        let what = match yaml::is_yaml(path) {
            true => format!("input with name: {PLUGIN}"),
            false => format!("[INPUT] with Name {PLUGIN}"),
        };
        return Err(format!(
            "{} has no {what}: name another file with -c, or give options with -p",
            path.display()
        ));
    }
    let count = sections.len();
    let is_given = |name: &str| given.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let inputs = sections.iter().enumerate().map(|(at, section)| {
        let own = section.properties.iter().filter(|(name, _)| !is_given(name));
        let options = expanded(own.clone().chain(given), &conf.environment);
        let path = path.display();
        let origin = match count {
            1 => path.to_string(),
            _ => format!("{path}, input {} of {count}", at + 1),
        };
        let mut input = Input::new(origin, options);
        let mut problems = section.problems.iter().filter(|(name, _)| !is_given(name));
        input.refused = problems.next().map(|(_, why)| why.clone()).or(input.refused);
        for (name, value) in own {
            let name = printable(name, 80);
            if let Some(variable) = conf.environment.in_file(value) {
                let variable = printable(variable, 80);
                return Err(format!(
                    "{path}: {name} comes from a file by the variable {variable}, which is not read here: give the option as -p {name}=VALUE"
                ));
            }
            if Environment::has_default(value) {
                input.warnings.push(format!(
                    "{name} has a variable with a default: Fluent Bit 4.2 and later know that, earlier releases take it for not set"
                ));
            }
        }
        let warnings = section.warnings.iter().filter(|(name, _)| !is_given(name));
        let warnings = warnings.map(|(_, sentence)| sentence);
        input.warnings.extend(conf.warnings.iter().chain(warnings).cloned());
        Ok(input)
    });
    inputs.collect()
}

/// Returns the properties with their variables replaced.
fn expanded<'a>(
    properties: impl IntoIterator<Item = &'a (String, String)>,
    env: &Environment,
) -> Vec<(String, String)> {
    let properties = properties.into_iter();
    let expanded = properties.map(|(name, value)| (name.clone(), env.expand(value)));
    expanded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(options: &[(&str, &str)]) -> Input {
        let options: Vec<_> = options
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        find(None, &options).expect("no file is read").remove(0)
    }

    #[test]
    fn options_are_read_as_fluent_bit_does() {
        let config = input(&[
            ("INTERVAL", "3s"),
            ("Tag", "x"),
            ("storage.type", "filesystem"),
            ("Rate_Gate.Max_Records", "1000"),
        ]);
        let config = config.config().expect("the options are valid");
        assert_eq!(config.interval.as_secs(), 3);
        let refused = |options| {
            input(options)
                .config()
                .expect_err("the options are refused")
        };
        assert_eq!(
            refused(&[("interva", "3s")]),
            "unknown configuration property 'interva': kubeletstats --help lists them"
        );
        assert_eq!(
            refused(&[("interval", "3s"), ("Interval", "4s")]),
            "configuration property 'interval' is set 2 times: write one, with commas between items"
        );
    }
}

//! From the command line and the configuration to the inputs to look at, each
//! with its options as Fluent Bit would hand them to the plugin.

use std::path::{Path, PathBuf};

use flb_in_kubeletstats::{
    error::printable,
    options::{Config, OPTIONS},
};

use crate::conf::{Conf, Environment, Section};

/// Where the image has its configuration.
pub const DEFAULT_FILE: &str = "/fluent-bit/etc/fluent-bit.conf";

const PLUGIN: &str = "kubeletstats";

/// Properties of an input that the host keeps for itself, and prefixes of more.
const HOST_PROPERTIES: &[&str] = &[
    "name",
    "tag",
    "alias",
    "log_level",
    "log_suppress_interval",
    "mem_buf_limit",
    "routable",
    "threaded",
    "listen",
    "host",
    "port",
    "ipv6",
    "tls",
    "rate_window",
];
const HOST_PREFIXES: &[&str] = &["storage.", "thread.", "tls.", "net.", "oauth2", "rate_gate"];

/// One input, with what the user wrote.
#[derive(Debug)]
pub struct Input {
    /// Where its options come from.
    pub origin: String,
    options: Vec<(String, String)>,
}

impl Input {
    /// As `cb_init` would read it; an error is one that stops Fluent Bit.
    pub fn config(&self) -> Result<Config, String> {
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
                    "configuration property '{name}' is set {times} times"
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

/// Every input that the arguments lead to. `given` is what stands after `-p`.
pub fn find(file: Option<PathBuf>, given: &[(String, String)]) -> Result<Vec<Input>, String> {
    let default = || {
        let path = PathBuf::from(DEFAULT_FILE);
        (given.is_empty() && path.exists()).then_some(path)
    };
    match file.or_else(default) {
        Some(path) => in_file(&path, given),
        None => Ok(vec![Input {
            origin: match given {
                [] => "defaults".to_owned(),
                _ => "command line".to_owned(),
            },
            options: plugins_own(given, &Environment::default()),
        }]),
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
        let path = path.display();
        return Err(format!(
            "{path} has no [INPUT] with Name {PLUGIN}: name another file with -c, or give options with -p"
        ));
    }
    let count = sections.len();
    let inputs = sections.iter().enumerate().map(|(at, section)| {
        let mut options = plugins_own(&section.properties, &conf.environment);
        let given = plugins_own(given, &conf.environment);
        options.retain(|(name, _)| !given.iter().any(|(key, _)| key.eq_ignore_ascii_case(name)));
        options.extend(given);
        let path = path.display();
        Input {
            origin: match count {
                1 => path.to_string(),
                _ => format!("{path}, input {} of {count}", at + 1),
            },
            options,
        }
    });
    Ok(inputs.collect())
}

/// Without the host's, and with variables in place.
fn plugins_own(properties: &[(String, String)], env: &Environment) -> Vec<(String, String)> {
    let is_hosts = |name: &str| {
        let name = name.to_ascii_lowercase();
        HOST_PROPERTIES.contains(&name.as_str())
            || HOST_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    properties
        .iter()
        .filter(|(name, _)| !is_hosts(name))
        .map(|(name, value)| (name.clone(), env.expand(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(options: &[(&str, &str)]) -> Input {
        let options: Vec<_> = options
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        find(None, &options).expect("no file").remove(0)
    }

    #[test]
    fn options_are_read_as_fluent_bit_does() {
        let config = input(&[
            ("INTERVAL", "3s"),
            ("Tag", "x"),
            ("storage.type", "filesystem"),
            ("Rate_Gate.Max_Records", "1000"),
        ]);
        let config = config.config().expect("valid");
        assert_eq!(config.interval.as_secs(), 3);
        let refused = |options| input(options).config().expect_err("refused");
        assert_eq!(
            refused(&[("interva", "3s")]),
            "unknown configuration property 'interva': kubeletstats --help lists them"
        );
        assert_eq!(
            refused(&[("interval", "3s"), ("Interval", "4s")]),
            "configuration property 'interval' is set 2 times"
        );
    }
}

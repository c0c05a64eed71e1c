//! Flags of the kit's small programs: `--name value` pairs, and durations as text.

use crate::{Error, Result};
use std::time::Duration;

/// The flags given on a command line, each of them at most once and each with a value.
pub struct Flags(Vec<(String, String)>);

impl Flags {
    /// Accepts only the names in `known`, as `--name value` or `--name=value`.
    pub fn parse(args: impl IntoIterator<Item = String>, known: &[&str]) -> Result<Self> {
        let mut flags: Vec<(String, String)> = Vec::new();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            if !known.contains(&name.as_str()) {
                return Err(Error::new(format!(
                    "unknown argument {name}: expected {}",
                    known.join(", ")
                )));
            }
            let value = inline
                .or_else(|| args.next())
                .ok_or_else(|| Error::new(format!("{name} needs a value")))?;
            if flags.iter().any(|(other, _)| *other == name) {
                return Err(Error::new(format!("{name} was given twice")));
            }
            flags.push((name, value));
        }
        Ok(Self(flags))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn required(&self, name: &str) -> Result<&str> {
        self.get(name)
            .ok_or_else(|| Error::new(format!("{name} is required")))
    }

    /// A flag whose value is a number, absent as `None`.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>> {
        let parse = |value: &str| {
            value.parse().map_err(|_| {
                Error::new(format!(
                    "{name} {value}: expected a whole number within range"
                ))
            })
        };
        self.get(name).map(parse).transpose()
    }

    pub fn duration(&self, name: &str, default: Duration) -> Result<Duration> {
        match self.get(name) {
            Some(value) => parse_duration(value).map_err(|error| error.context(name)),
            None => Ok(default),
        }
    }
}

/// `500ms`, `60s`, `2m`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let refuse = || {
        Error::new(format!(
            "{text}: expected a duration such as 500ms, 60s, 2m"
        ))
    };
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => number
            .checked_mul(60)
            .map(Duration::from_secs)
            .ok_or_else(refuse),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Result<Flags> {
        let args = args.iter().map(|arg| arg.to_string());
        Flags::parse(args, &["--port", "--topic"])
    }

    #[test]
    fn both_spellings_are_read() {
        let flags = flags(&["--port", "9092", "--topic=metrics"]).unwrap();
        assert_eq!(flags.number::<u16>("--port").unwrap(), Some(9092));
        assert_eq!(flags.required("--topic").unwrap(), "metrics");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |args: &[&str]| flags(args).err().map(|error| error.to_string());
        assert_eq!(
            message(&["--prot", "1"]).unwrap(),
            "unknown argument --prot: expected --port, --topic"
        );
        assert_eq!(message(&["--port"]).unwrap(), "--port needs a value");
        assert_eq!(
            message(&["--port=1", "--port=2"]).unwrap(),
            "--port was given twice"
        );
        let flags = flags(&["--port", "70000"]).unwrap();
        assert!(flags.number::<u16>("--port").is_err());
        assert!(flags.required("--topic").is_err());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("500ms").unwrap().as_millis(), 500);
        assert_eq!(parse_duration("60s").unwrap().as_secs(), 60);
        assert_eq!(parse_duration("7").unwrap().as_secs(), 7);
        assert_eq!(parse_duration("2m").unwrap().as_secs(), 120);
        assert!(parse_duration("2h").is_err());
        assert!(parse_duration("s").is_err());
        assert!(parse_duration("-1s").is_err());
    }
}
